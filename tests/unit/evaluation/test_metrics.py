import numpy as np
import pandas as pd
import pytest

from sentiment import schema
from sentiment.evaluation.baselines import measure_baselines
from sentiment.evaluation.calibration import (
    fit_calibration,
    measure_brier,
    measure_calibration_error,
    measure_coverage,
)
from sentiment.evaluation.metrics import measure, tabulate_labels
from sentiment.inference.calibration import Calibration, CoveragePoint, find_min_score
from tests.factories import make_judged

TRUTH = [1, 0, 1, 0]


def test_figures_of_two_classes():
    found = measure(make_judged(TRUTH, [[0.1, 0.9], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]]))
    assert (found.rows, found.accuracy, found.confusion) == (4, 0.75, [[2, 0], [1, 1]])
    assert found.f1_by_label == pytest.approx({"negative": 0.8, "positive": 2 / 3})
    assert found.f1_macro == pytest.approx((0.8 + 2 / 3) / 2)
    assert found.roc_auc == 1.0  # 0.9 and 0.4 against 0.2 and 0.3
    assert found.mean_absolute_error is None
    assert found.as_metrics()["f1_label_negative"] == pytest.approx(0.8)
    assert "mean_absolute_error" not in found.as_metrics()


def test_labels_with_characters_that_mlflow_refuses_have_metrics_of_their_own():
    judged = make_judged([0, 1, 2], [[1, 0, 0], [0, 1, 0], [0, 1, 0]], ("don't", "don,t", "macro"))
    found = measure(judged).as_metrics()
    assert {k: v for k, v in found.items() if "label" in k} == pytest.approx(
        {"f1_label_don_t": 1.0, "f1_label_don_t_1": 2 / 3, "f1_label_macro": 0.0}
    )
    assert found["f1_macro"] == pytest.approx(5 / 9)


def test_rejects_add_nothing_to_the_calibration_error():
    rows = [[0.1, 0.9], None, [0.9, 0.1], None]
    found = measure(make_judged([1, 0, 0, 1], rows))
    assert (found.rejected_share, found.ece) == (0.5, pytest.approx(0.1))
    assert measure(make_judged([0, 1], [None, None])).ece == 0


def test_rejects_do_not_make_the_share_of_unsure_predictions_smaller():
    judged = make_judged([1, 0, 0, 1], [[0.1, 0.9], [0.5, 0.5], None, None])
    judged.predictions[schema.UNSURE] = [False, True, False, False]
    assert measure(judged).unsure_share == 0.5
    assert measure(make_judged([0, 1], [None, None])).unsure_share == 0


def test_a_rejected_text_counts_as_wrong():
    found = measure(make_judged(TRUTH, [[0.1, 0.9], [0.9, 0.1], None, [0.9, 0.1]]))
    assert found.accuracy == 0.75
    assert found.confusion == [[2, 0], [0, 1]]
    assert found.f1_by_label["positive"] == pytest.approx(2 / 3)


def test_ordinal_labels_have_a_mean_absolute_error():
    judged = make_judged([0, 4], [[1, 0, 0, 0, 0], [0, 0, 0.5, 0.5, 0]], schema.STAR_LABELS)
    assert measure(judged).mean_absolute_error == pytest.approx((0 + 1.5) / 2)
    assert measure(judged).roc_auc is None, "three classes have no review"


def test_labels_are_tabulated_from_the_confusion():
    judged = make_judged([0] * 8 + [1] * 12, [[1, 0]] * 6 + [[0, 1]] * 2 + [[1, 0]] * 3 + [[0, 1]] * 9)
    table = tabulate_labels(measure(judged))
    assert table.index.tolist() == ["negative", "positive"]
    assert list(table.loc["negative"]) == pytest.approx([6 / 9, 6 / 8, 12 / 17, 8])
    assert list(table.loc["positive"]) == pytest.approx([9 / 11, 9 / 12, 18 / 23, 12])


def test_a_reject_lowers_recall_and_f1_of_its_label_alike():
    found = measure(make_judged([0, 0, 1, 1], [[1, 0], None, [0, 1], [0, 1]]))
    table = tabulate_labels(found)
    assert list(table.loc["negative"]) == pytest.approx([1, 1 / 2, 2 / 3, 2])
    assert dict(table["f1"]) == found.f1_by_label


def test_a_label_that_never_occurs_has_figures_of_zero():
    table = tabulate_labels(measure(make_judged([0] * 5, [[1, 0]] * 5)))
    assert list(table.loc["positive"]) == [0, 0, 0, 0]


def test_baselines_are_the_majority_and_the_sign_of_the_lexicon():
    test = pd.DataFrame({"text": ["I love it", "I hate it", "The box", "Terrible"], "label": [1, 0, 1, 1]})
    found = measure_baselines([1, 1, 0], test, schema.POLARITY_LABELS)
    assert found["majority"].accuracy == 0.75
    assert found["lexicon"].accuracy == 0.75  # "The box" has no word of it: the majority


def test_the_lexicon_knows_a_neutral_class_and_no_stars():
    test = pd.DataFrame({"text": ["I love it", "I hate it", "The box"], "label": [2, 0, 1]})
    assert measure_baselines([1], test, schema.THREE_WAY_LABELS)["lexicon"].accuracy == 1.0
    assert list(measure_baselines([1], test, schema.STAR_LABELS)) == ["majority"]


def make_uncalibrated(n: int, calibration: Calibration, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right once they are calibrated, and classes drawn by the right ones."""
    random = np.random.default_rng(0)
    right = random.dirichlet(np.ones(n_classes), n)
    truth = np.array([random.choice(n_classes, p=row) for row in right])
    return calibration.invert().apply(right), truth


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize(("temperature", "power"), [(0.5, 1), (1.0, 1), (2.5, 1), (1.5, 2.5), (0.8, 0.6)])
def test_the_calibration_of_wrong_scores_is_found(n_classes, temperature, power):
    probabilities, truth = make_uncalibrated(6_000, Calibration(temperature, power), n_classes)
    found = fit_calibration(probabilities, truth)
    # Two parameters are less certain than one.
    near = 0.08 if power == 1 else 0.2
    assert found.temperature == pytest.approx(temperature, rel=near)
    assert (found.power == 1) == (power == 1)
    assert found.power == pytest.approx(power, rel=near)
    scaled = found.apply(probabilities)
    assert measure_calibration_error(scaled, truth) < 0.03
    assert (scaled.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert measure_brier(scaled, truth) <= measure_brier(probabilities, truth) + 1e-6
    assert found.invert().apply(scaled) == pytest.approx(probabilities)


def test_the_power_one_is_temperature_scaling():
    right = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    powers = right ** (1 / 2.5)
    assert Calibration(2.5).apply(right) == pytest.approx(powers / powers.sum(axis=1, keepdims=True))


def test_a_calibration_keeps_certain_and_unknown_rows():
    rows = np.array([[0.0, 1.0], [np.nan, np.nan]])
    assert Calibration(0.5, 3).apply(rows) == pytest.approx(rows, nan_ok=True)


def test_few_reviews_change_no_score():
    assert fit_calibration(*make_uncalibrated(99, Calibration(3.0), 2)) == Calibration()


def test_the_brier_score_of_two_classes_is_the_usual_one():
    assert measure_brier(np.array([[0.2, 0.8], [0.4, 0.6]]), np.array([1, 0])) == pytest.approx(
        (0.2**2 + 0.6**2) / 2
    )


def test_coverage_counts_what_has_at_least_a_score():
    points = measure_coverage(np.array([0.6, 0.9, 0.9, 0.7]), np.array([False, True, True, True]))
    assert [(p.min_score, p.coverage, p.accuracy) for p in points] == [
        (0.6, 1.0, 0.75), (0.7, 0.75, 1.0), (0.9, 0.5, 1.0)
    ]  # fmt: skip
    # The rule of Clopper and Pearson: n hits of n have the bound 0.05 ** (1 / n).
    assert [round(p.accuracy_low, 6) for p in points][1:] == [round(0.05 ** (1 / n), 6) for n in (3, 2)]


def test_the_lowest_score_that_proves_an_accuracy_is_taken():
    points = [CoveragePoint(0.5, 1.0, 0.9, 0.88), CoveragePoint(0.8, 0.7, 0.97, 0.96)]
    assert find_min_score(points, 0.85) == 0.5
    assert find_min_score(points, 0.95) == 0.8
    with pytest.raises(ValueError, match=r"proved at most 0\.960"):
        find_min_score(points, 0.97)
    with pytest.raises(ValueError, match="no accuracy of this model was measured"):
        find_min_score([], 0.5)
