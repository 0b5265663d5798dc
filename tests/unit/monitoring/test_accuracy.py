"""The estimate is as accurate as its scores, once labels have made them true."""

import pandas as pd
import pytest

from sentiment.evaluation.profile import IS_RIGHT, Profile
from sentiment.monitoring.accuracy import choose_known, estimate_accuracy
from sentiment.monitoring.realised import Labelled, add_up, choose_labels, join_labels, measure_nights
from tests.unit.monitoring.made import make_night, make_reference, make_rows


@pytest.mark.parametrize("options", [{}, {"inflated": 0.1}, {"sure": 3.0}])
def test_the_estimate_is_the_accuracy_if_the_reviews_are_alike(options):
    rows = make_rows(n=8_000, seed=1, **options)
    found = estimate_accuracy(
        make_night(n=8_000, seed=1, **options), make_reference(n=8_000, seed=2, **options)
    )
    assert found.value == pytest.approx(rows[IS_RIGHT].mean(), abs=0.015)
    assert found.low < rows[IS_RIGHT].mean() < found.high


def test_a_harder_mix_lowers_the_estimate():
    known = make_reference(n=8_000, seed=2)
    easy, hard = make_night(seed=1), make_night(seed=1, sure=2.0)
    assert estimate_accuracy(hard, known).value < estimate_accuracy(easy, known).value - 0.05


def test_without_known_rows_the_scores_are_taken_as_they_are():
    rows = make_rows(n=500)
    for known in (None, make_night(), make_reference(n=20)):
        found = estimate_accuracy(make_night(n=500), known)
        assert found.value == pytest.approx(rows["score"].mean())


def test_the_interval_is_wider_with_fewer_rows():
    known = make_reference(n=5_000)
    widths = [
        found.high - found.low
        for found in (estimate_accuracy(make_night(n=n), known) for n in (100, 1_000, 10_000))
    ]
    assert widths == sorted(widths, reverse=True)
    # Ten times the rows do not help if the known rows are few.
    assert widths[2] > widths[1] / 3


def test_no_rows_have_no_estimate():
    assert estimate_accuracy(Profile(), make_reference()) is None


def test_late_labels_replace_the_test_set_once_there_are_enough():
    test_set, few, many = make_reference(n=2_000), make_reference(n=999), make_reference(n=1_000)
    assert choose_known(test_set, None) is test_set
    assert choose_known(test_set, few) is test_set
    assert choose_known(test_set, many) is many
    assert choose_known(None, few) is None


def test_labels_are_joined_by_id_and_nulls_and_rejects_left_out():
    scored = make_rows(n=4).assign(
        id=[1, 2, 3, 4],
        label=["positive", "negative", "positive", "negative"],
    )
    labels = pd.DataFrame(
        {"id": ["1", "2", "3", "4", "9"], "truth": ["positive", "positive", None, None, "negative"]}
    )
    known, several = choose_labels(labels, ["id"])
    joined = join_labels(scored, known, ["id"])
    assert several == 0
    assert dict(zip(joined.rows["id"], joined.rows[IS_RIGHT], strict=True)) == {"1": True, "2": False}
    [row] = measure_nights({"night": joined, "empty": Labelled(joined.rows[:0])}, "tonight").values()
    assert (row["realised_accuracy"], row["realised_rows"], row["measured_on"]) == (0.5, 2, "tonight")


def test_a_review_with_several_labels_counts_once_and_not_if_they_differ():
    labels = pd.DataFrame({"id": [1, 1, 2, 2], "truth": ["positive", "positive", "positive", "negative"]})
    known, several = choose_labels(labels, ["id"])
    assert (known.to_dict("records"), several) == ([{"id": "1", "truth": "positive"}], 1)


def test_labelled_rows_of_other_models_do_not_count():
    old = Labelled(make_rows(n=30).assign(model_version="0"))
    new = Labelled(make_rows(n=40))
    assert add_up([old, new], "1").scored_rows == 40
    assert add_up([old], "1") is None
