"""A word weighs what the label's probability loses without it."""

import pytest

from sentiment import schema
from sentiment.models.occlusion import MAX_PARTS, cut_parts, leave_out, measure_weights

LABELS = schema.POLARITY_LABELS


def predict(negative, stage=schema.ENCODER):
    label = schema.NEGATIVE if negative >= 0.5 else schema.POSITIVE
    score = max(negative, 1 - negative)
    probabilities = [negative, 1 - negative]
    return {"label": label, "score": score, "stage": stage, "probabilities": probabilities}


def test_each_word_is_left_out_once():
    text = " not  good\n"
    assert leave_out(text, cut_parts(text)) == ["   good\n", " not  \n"]


def test_a_long_text_has_at_most_so_many_parts():
    text = "word " * (3 * MAX_PARTS + 1)
    parts = cut_parts(text)
    assert len(parts) <= MAX_PARTS
    assert "".join(text[part.start : part.end] for part in parts).count("word") == 3 * MAX_PARTS + 1


def test_a_weight_is_the_loss_of_the_label_that_was_given():
    assert measure_weights(predict(0.75), [predict(0.25), predict(0.875)], LABELS) == [0.5, -0.125]


def test_a_part_that_another_stage_decides_is_compared_with_the_median_of_that_stage():
    """The whole text has 0.9995 by the linear stage, and the encoder never gives more than 0.97."""
    without = [predict(value) for value in (0.97, 0.97, 0.5)] + [predict(0.99, schema.LINEAR)]
    found = measure_weights(predict(0.9995, schema.LINEAR), without, LABELS)
    assert found == pytest.approx([0, 0, 0.47, 0.0095])


def test_nothing_that_is_left_has_equal_probabilities():
    blank = {"label": None, "score": None, "stage": None, "probabilities": None}
    assert measure_weights(predict(0.75), [blank], LABELS) == [0.25]
