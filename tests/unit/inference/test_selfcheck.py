"""The check, when a model is loaded, that its engine computes correctly."""

import numpy as np
import pytest

from sentiment.inference.selfcheck import (
    SENTENCES,
    SENTENCES_KEPT,
    SelfCheck,
    compare_probabilities,
    load_self_check,
    make_self_check,
    save_self_check,
)

EXPECTED = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])


def test_an_engine_that_gives_the_same_is_right():
    deviation = compare_probabilities(EXPECTED, EXPECTED.copy(), 0.01)
    assert (deviation.flips, deviation.mean_shift, deviation.is_within_bounds) == (0, 0, True)


def test_one_flipped_label_is_one_too_many():
    found = EXPECTED.copy()
    found[3] = found[3][::-1]
    deviation = compare_probabilities(EXPECTED, found, max_mean_shift=1)
    assert (deviation.flips, deviation.is_within_bounds) == (1, False)
    assert "1 of 4 labels" in str(deviation)


@pytest.mark.parametrize(("shift", "is_right"), [(0.0099, True), (0.0101, False)])
def test_the_mean_shift_has_a_bound(shift, is_right):
    deviation = compare_probabilities(EXPECTED, EXPECTED + np.array([-shift, shift]), max_mean_shift=0.01)
    assert deviation.mean_shift == pytest.approx(shift)
    assert deviation.is_within_bounds is is_right


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_a_flip(broken):
    found = EXPECTED.copy()
    found[0, 0] = broken
    deviation = compare_probabilities(EXPECTED, found, max_mean_shift=1)
    assert (deviation.flips, deviation.is_within_bounds) == (1, False)
    assert np.isfinite(deviation.mean_shift)


def test_sentences_that_prove_most_are_kept_in_their_order_and_survive_a_file(tmp_path):
    rows = [np.array([2, i + 5, 3], dtype=np.int32) for i in range(len(SENTENCES))]

    def classify(chosen):
        sure = np.array([0.575 + (row[1] - 5) / 100 for row in chosen])  # the later the surer
        return np.stack([1 - sure, sure], axis=1)

    check = make_self_check(lambda texts: rows, classify, 0.02)
    # The first three are too near a tie; of the others the surest prove least.
    assert check.texts == list(SENTENCES[3 : 3 + SENTENCES_KEPT])
    assert check.ids == [row.tolist() for row in rows[3 : 3 + SENTENCES_KEPT]]
    assert check.compare(classify).is_within_bounds
    assert not check.compare(lambda chosen: classify(chosen)[:, ::-1]).is_within_bounds
    assert load_self_check(tmp_path) is None
    save_self_check(check, tmp_path)
    assert load_self_check(tmp_path) == check


def test_the_sentences_are_distinct_and_of_many_lengths():
    assert len(set(SENTENCES)) == len(SENTENCES) >= SENTENCES_KEPT
    lengths = [len(sentence.split()) for sentence in SENTENCES]
    assert min(lengths) == 1
    assert max(lengths) > 30


def test_a_check_knows_its_bound():
    check = SelfCheck(["a"], [[2, 3]], [[0.1, 0.9]], max_mean_shift=0.5)
    assert check.compare(lambda rows: np.array([[0.4, 0.6]])).is_within_bounds
