from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from sentiment.evaluation.intervals import compare_hits, compare_models, measure_intervals, measure_share
from sentiment.evaluation.metrics import measure

from .rows import make_judged, make_random

STARS = ("1", "2", "3", "4", "5")


@pytest.mark.parametrize("labels", [("no", "yes"), ("calm", "happy", "sad"), STARS])
def test_the_estimates_are_the_metrics(labels):
    judged = make_random(400, labels)
    expected = measure(judged).as_metrics()
    found = measure_intervals(judged)
    assert {name: i.value for name, i in found.items()} == pytest.approx({n: expected[n] for n in found})
    assert ("mean_absolute_error" in found) == (labels == STARS)


def test_a_reject_counts_against_every_metric():
    judged = make_judged([0, 1, 2] * 20, [0, 1, -1] * 20)
    expected = measure(judged).as_metrics()
    found = measure_intervals(judged)
    assert {name: i.value for name, i in found.items()} == pytest.approx({n: expected[n] for n in found})


def test_the_interval_is_that_of_samples_drawn_review_by_review():
    judged = make_random(300)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(200):
        rows = random.integers(300, size=300)
        drawn.append(metrics.f1_score(judged.truth[rows], judged.predicted[rows], average="macro"))
    found = measure_intervals(judged)["f1_macro"]
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


def test_intervals_contain_the_truth_as_often_as_they_claim():
    samples = [measure_intervals(make_random(200, accuracy=0.8, seed=seed)) for seed in range(40)]
    assert np.mean([found["accuracy"].low <= 0.8 <= found["accuracy"].high for found in samples]) >= 0.88


def test_the_calibration_error_that_chance_adds_is_taken_off():
    random = np.random.default_rng(0)
    score = random.uniform(0.5, 1, 300)
    predicted = np.where(random.random(300) < score, 0, 1)
    found = measure_intervals(make_judged(predicted, [0] * 300, ("no", "yes"), score))["ece"]
    assert found.low < found.value / 2
    assert found.low <= found.value <= found.high < 0.1


def test_large_samples_are_drawn_in_blocks(monkeypatch):
    judged = make_random(50)
    whole = measure_intervals(judged)
    monkeypatch.setattr("sentiment.evaluation.intervals._BLOCK_VALUES", 1)
    for name, interval in measure_intervals(judged).items():
        assert asdict(interval) == pytest.approx(asdict(whole[name]))


@given(st.integers(1, 500), st.data())
def test_the_interval_of_a_share_is_that_of_wilson(n, data):
    hits = data.draw(st.integers(0, n))
    found = measure_share(np.arange(n) < hits)
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def make_hits(both, only_first, only_second, neither):
    cells = [(True, True)] * both + [(True, False)] * only_first
    cells += [(False, True)] * only_second + [(False, False)] * neither
    return (np.array(column) for column in zip(*cells, strict=True))


def test_few_differences_are_tested_exactly():
    found = compare_hits(*make_hits(80, 9, 1, 10))
    assert (found.only_first, found.only_second, found.difference.value) == (9, 1, 0.08)
    assert found.p_value == pytest.approx(2 * 11 / 1024)  # at least 9 of 10 heads, or at most 1
    assert found.is_significant


def test_many_differences_are_tested_with_the_continuity_correction():
    # Chi-squared (|40 - 20| - 1)² / 60 = 6.0167 with one degree of freedom.
    assert compare_hits(*make_hits(100, 40, 20, 0)).p_value == pytest.approx(0.01417, abs=1e-5)


def test_equal_models_do_not_differ():
    judged = make_random(100)
    found = compare_models(judged, judged)
    assert (found.p_value, found.difference.value, found.is_significant) == (1.0, 0.0, False)
    assert found.difference.low < 0 < found.difference.high


def test_models_are_compared_on_the_same_reviews_only():
    with pytest.raises(ValueError, match="same reviews"):
        compare_models(make_random(100), make_random(100, seed=1))
    with pytest.raises(ValueError, match="same labels"):
        compare_models(make_random(100, ("no", "yes")), make_random(100, ("yes", "no")))


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_the_comparison_is_symmetric(cells):
    first, second = make_hits(*cells)
    one, other = compare_hits(first, second), compare_hits(second, first)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.difference.low == pytest.approx(-other.difference.high)
    assert one.difference.low <= one.difference.value <= one.difference.high
