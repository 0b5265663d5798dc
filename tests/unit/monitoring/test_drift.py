"""Drift is found if it is more than chance and large enough, at any number of rows."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import ks_2samp

from sentiment.monitoring.drift import (
    adjust_p_values,
    find_drift,
    is_persistent,
    measure_chance,
    measure_psi,
)
from sentiment.monitoring.figures import (
    REPEATED,
    Distribution,
    add_distributions,
    list_distributions,
)
from tests.unit.monitoring.made import make_night


def find(night, reference):
    drifts = find_drift(list_distributions(night), {"model": list_distributions(reference)})
    return {drift.figure for drift in drifts if drift.is_drifted}, drifts


def test_the_same_reviews_do_not_drift():
    assert find(make_night(seed=1), make_night(seed=2))[0] == set()


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"positive": 0.7}, "label"),
        ({"chars": 150.0}, "n_chars"),
        ({"sure": 2.0}, "score"),
    ],
)
def test_a_change_is_found_in_its_figure(change, figure):
    assert figure in find(make_night(seed=1, **change), make_night(seed=2))[0]


def test_repeated_texts_and_rejects_drift():
    night = make_night(n=1_000)
    doubled = dataclasses.replace(
        night.merge(night), rejects={"null_text": 300}, labels=night.labels, scores=night.scores
    )
    assert {REPEATED, "reject_reason"} <= find(doubled, make_night(seed=2))[0]


def test_a_change_that_does_not_matter_is_no_drift_however_many_rows():
    drifted, drifts = find(make_night(n=100_000, positive=0.52), make_night(n=100_000, seed=2))
    [label] = [drift for drift in drifts if drift.figure == "label"]
    assert drifted == set()
    assert (label.p_value, label.category is not None) == (None, True)
    assert 0.01 < label.effect < label.min_effect


def test_few_rows_are_not_compared():
    assert find(make_night(n=99), make_night(n=1_000))[1] == []


@pytest.mark.parametrize("rows", [200, 2_000])
def test_chance_alone_is_as_rare_as_it_should_be(rows):
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    p_values = [
        measure_chance(rng.multinomial(rows, shares), rng.multinomial(1_500, shares), True, rng, 200)
        for _ in range(300)
    ]
    # 300 draws: the share below 0.1 has a standard error of 0.017.
    assert 0.04 < np.mean(np.array(p_values) <= 0.1) < 0.16


def test_ks_is_that_of_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 8, 500), rng.integers(0, 7, 400)
    made = [
        Distribution({str(i): int((values == i).sum()) for i in range(8)}, True, 0.06)
        for values in (first, second)
    ]
    [drift] = find_drift({"x": made[0]}, {"model": {"x": made[1]}})
    assert drift.ks == pytest.approx(ks_2samp(first, second).statistic)
    assert drift.value == pytest.approx(first.mean())


def test_psi_of_a_known_case():
    expected = (0.6 - 0.5) * np.log(0.6 / 0.5) + (0.4 - 0.5) * np.log(0.4 / 0.5)
    assert measure_psi(np.array([0.6, 0.4]), np.array([0.5, 0.5])) == pytest.approx(expected)
    assert measure_psi(np.array([1.0, 0.0]), np.array([0.5, 0.5])) < 10


def test_holm():
    assert adjust_p_values([0.01, None, 0.04, 0.03]) == pytest.approx([0.04, None, 0.09, 0.09], abs=1e-12)
    assert adjust_p_values([]) == []


@pytest.mark.parametrize(
    ("nights", "is_alarm"),
    [
        ([True], False),
        ([True, True], True),
        ([True, False, True], True),
        ([True, False, False, True], False),
        ([True, True, False], False),
        ([], False),
    ],
)
def test_two_of_three_nights_make_an_alarm(nights, is_alarm):
    assert is_persistent(nights) is is_alarm


def test_texts_that_two_nights_have_are_not_repeated():
    night = list_distributions(make_night(n=500))
    total = add_distributions([night, night])
    assert total[REPEATED].counts == {REPEATED: 0, "no": 1_000}
    assert total["label"].rows == 1_000
