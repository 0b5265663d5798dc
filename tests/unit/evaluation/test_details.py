import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.evaluation.details import find_details, reduce_details
from sentiment.evaluation.slices import find_slices

from .rows import make_judged

ODD = st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.integers())
DATES = st.sampled_from(["2024-03-31", "last week", "", None, 1711843200, 1711843200000.0, 2024, "5.0"])


def list_slices(judged):
    return [(part.name, part.value, part.rows.tolist()) for part in find_slices(judged)]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["text", "label"], {}),
        (["Product_Category", "RATING"], {"category": "Product_Category", "stars": "RATING"}),
        (["date", "timestamp", "review_date"], {"date": "review_date"}),
        (["Title", "title"], {"title": "Title"}),
        (["date", "date", "timestamp"], {"date": "timestamp"}),
    ],
)
def test_the_first_name_that_one_column_has_counts(columns, found):
    assert find_details(columns) == found


def test_of_a_text_column_no_value_is_shown():
    assert find_details(["product", "title"], ["title", "product"]) == {"title": "title"}


@given(st.lists(st.tuples(ODD, ODD, DATES, ODD), min_size=1))
def test_reduced_details_give_the_same_slices(rows):
    details = dict(
        zip(("category", "stars", "date", "title"), map(list, zip(*rows, strict=True)), strict=True)
    )
    n = len(rows)
    reduced = reduce_details(details)
    given = make_judged([0] * n, [0] * n, **{name: pd.Series(v, dtype=object) for name, v in details.items()})
    assert list_slices(given) == list_slices(make_judged([0] * n, [0] * n, **reduced))


@pytest.mark.parametrize(
    "value", [["2024"], {"day": 1}, True, "\ud800", 1e300, 10**16, -5, "99999-01-01", b"\x80"]
)
def test_a_value_that_is_no_date_is_null(value):
    assert reduce_details({"date": [value, "2024-03-31"]})["date"].isna().tolist() == [True, False]


def test_a_text_that_cannot_be_encoded_is_shown_without_its_parts():
    assert reduce_details({"category": ["a\ud800"]})["category"].tolist() == ["a?"]


def test_no_warning_quotes_a_value_of_another_time_zone():
    """Warnings are errors in tests."""
    assert reduce_details({"date": ["2024-03-31 10:00 AEDT"]})["date"].dt.month.tolist() == [3]
