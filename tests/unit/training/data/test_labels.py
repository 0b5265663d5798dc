import pandas as pd
import pytest

from sentiment.errors import UnusableLabelsError
from sentiment.training.data.labels import parse_labels


@pytest.mark.parametrize(
    ("raw", "ids"),
    [
        ([0, 1, 1], [0, 1, 1]),
        ([1, 2, 2], [0, 1, 1]),
        (["1", "2", None], [0, 1, None]),
        ([1.0, 0.0, None], [1, 0, None]),
        ([True, False], [1, 0]),
        (["True", "false"], [1, 0]),
        (["negative", "Positive", " POS ", "neg", ""], [0, 1, 1, 0, None]),
        ([1, 1], [1, 1]),  # one class: told apart later, from the split
    ],
)
def test_the_usual_spellings_become_class_ids(raw, ids):
    parsed = parse_labels(pd.Series(raw, name="label"))
    assert [None if pd.isna(value) else int(value) for value in parsed] == ids


@pytest.mark.parametrize("raw", [[0, 1, 2], [1, 2, 3, 4, 5], [-1, 1], [0.5, 1.0]])
def test_other_numbers_are_refused(raw):
    with pytest.raises(UnusableLabelsError, match="0/1 or 1/2"):
        parse_labels(pd.Series(raw, name="stars"))


def test_text_chosen_for_a_label_is_refused_without_quoting_it():
    with pytest.raises(UnusableLabelsError, match="label column 'text'") as caught:
        parse_labels(pd.Series(["a secret review", "another"], name="text"))
    assert "secret" not in str(caught.value)


def test_a_value_that_is_neither_number_nor_text_is_refused():
    with pytest.raises(UnusableLabelsError):
        parse_labels(pd.Series([["positive"], ["negative"]], name="label"))
