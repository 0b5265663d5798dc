import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.evaluation import slices
from sentiment.evaluation.slices import SliceResult, find_slices, find_worst, measure_slices

from .rows import make_judged, make_random


def list_values(judged, name):
    return {part.value: part.rows.tolist() for part in find_slices(judged) if part.name == name}


def test_lengths_have_fixed_edges():
    judged = make_judged([0] * 5, [0] * 5, n_tokens=[16, 17, 3, 512, 600])
    assert list_values(judged, "tokens") == {"0-16": [0, 2], "17-32": [1], "257-512": [3], "over 512": [4]}


def test_a_reject_has_no_tokens_and_is_in_the_shortest_slice():
    judged = make_judged([0, 0], [-1, 0], n_tokens=[0, 20])
    assert list_values(judged, "tokens") == {"0-16": [0], "17-32": [1]}


def test_a_value_that_all_reviews_share_is_no_slice():
    assert find_slices(make_judged([0, 1], [0, 1], category="books")) == ()


@pytest.mark.parametrize("column", ["category", "Product_Category", "MAIN_CATEGORY", "product"])
def test_categories_are_found_in_any_case(column):
    judged = make_judged([0] * 3, [0] * 3, **{column: ["b", "a", None]})
    assert list_values(judged, "category") == {"(none)": [2], "a": [1], "b": [0]}


@pytest.mark.parametrize("values", [[5, 1], [5.0, 1.0], ["5", "1"], ["5.0", "1.0"], [5, "1.0"]])
def test_stars_have_one_spelling(values):
    assert list_values(make_judged([0, 0], [0, 0], rating=values), "stars") == {"1": [1], "5": [0]}


@pytest.mark.parametrize(
    "values",
    [
        ["2024-03-31", "2024-04-01"],
        pd.to_datetime(["2024-03-31", "2024-04-01"]),
        pd.to_datetime(["2024-03-31", "2024-04-01"], utc=True),
        [1711843200, 1711929600],
        [1711843200000, 1711929600000],
        ["1711843200", "1711929600.0"],
        [1711843200, "2024-04-01"],
        [20240331, 20240401],
        [datetime.date(2024, 3, 31), "April 1, 2024"],
    ],
)
def test_dates_are_cut_into_months(values):
    judged = make_judged([0, 0], [0, 0], timestamp=values)
    assert list_values(judged, "month") == {"2024-03": [0], "2024-04": [1]}


def test_a_date_that_is_none_is_a_slice_of_its_own():
    judged = make_judged([0, 0], [0, 0], date=["2024-03-31", "last week"])
    assert list_values(judged, "month") == {"2024-03": [0], "(none)": [1]}


def test_many_months_are_cut_into_years():
    dates = pd.date_range("2020-01-15", periods=25, freq="31D")
    judged = make_judged([0] * 25, [0] * 25, review_date=dates)
    assert list(list_values(judged, "year")) == ["2020", "2021", "2022"]


def test_titles_are_there_or_not():
    judged = make_judged([0] * 4, [0] * 4, title=["Good", None, " ", float("nan")])
    assert list_values(judged, "title") == {"no": [1, 2, 3], "yes": [0]}


def test_rare_values_are_one_slice():
    values = [f"c{i}" for i in range(100)] + ["c0"] * 3
    found = list_values(make_judged([0] * 103, [0] * 103, category=values), "category")
    assert len(found) == slices.MAX_VALUES
    assert found["c0"] == [0, 100, 101, 102]
    assert len(found["71 other values"]) == 71


def test_values_that_are_lists_are_shown_as_text():
    judged = make_judged([0, 0], [0, 0], category=[["a", "b"], "x" * 50])
    assert list(list_values(judged, "category")) == ["['a', 'b']", "x" * 39 + "…"]


@given(st.lists(st.tuples(st.integers(0, 700), st.booleans(), st.sampled_from("ab ")), min_size=1))
def test_the_slices_of_a_name_contain_each_review_once(rows):
    n_tokens, truncated, category = zip(*rows, strict=True)
    n = len(rows)
    judged = make_judged([0] * n, [0] * n, n_tokens=n_tokens, truncated=truncated, category=category)
    found = find_slices(judged)
    for name in {part.name for part in found}:
        assert sorted(np.concatenate([p.rows for p in found if p.name == name])) == list(range(n))


def test_small_slices_are_found_but_not_judged():
    judged = make_random(100, category=["a"] * 29 + ["b"] * 71)
    assert [part.is_judged for part in find_slices(judged)] == [False, True]
    assert [result.value for result in measure_slices(judged)] == ["b"]


def test_a_slice_has_its_own_accuracy():
    category = ["a"] * 40 + ["b"] * 60
    judged = make_judged([0] * 100, [0] * 30 + [1] * 10 + [0] * 60, category=category)
    first, second = measure_slices(judged)
    assert (first.rows, first.accuracy, second.accuracy) == (40, 0.75, 1.0)
    assert first.low < 0.75 < first.high


def test_the_worst_slice_is_surely_worse():
    tiny = SliceResult("category", "a", 30, 0.70, 0.52, 0.83)
    large = SliceResult("category", "b", 900, 0.75, 0.72, 0.78)
    assert find_worst([tiny, large]) == large
    assert find_worst([]) is None
