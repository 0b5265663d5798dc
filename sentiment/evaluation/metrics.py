"""Measure predictions on labelled reviews, whatever the classes."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn import metrics

from .. import schema
from .calibration import measure_brier, measure_calibration_error
from .judged import JudgedReviews

# Characters that MLflow does not take in the name of a metric.
_REFUSED = re.compile(r"[^\w.\- ]")


@dataclass(frozen=True)
class Evaluation:
    """Hold the metrics of a model on a test set; a rejected review counts as wrong.

    All are in [0, 1], except `mean_absolute_error`, in units of the labels (stars), which only ordinal labels
    have. `roc_auc` is None if a class has no review; with more than two classes it is the mean over the
    classes, each against the others. `ece` is the expected calibration error. `reviews_by_label` counts all
    reviews by their true class. `confusion` counts the scored ones, a row per true class. Rejects are not in
    it, and add nothing to `ece` and `mean_absolute_error`.
    """

    labels: tuple[str, ...]
    rows: int
    accuracy: float
    f1_weighted: float
    f1_macro: float
    f1_by_label: dict[str, float]
    reviews_by_label: dict[str, int]
    roc_auc: float | None
    ece: float
    brier: float
    unsure_share: float
    rejected_share: float
    mean_absolute_error: float | None
    confusion: list[list[int]]

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers by name, for MLflow, which refuses some characters that labels may have."""
        names = ("accuracy", "f1_weighted", "f1_macro", "roc_auc", "ece", "brier")
        others = ("unsure_share", "rejected_share", "mean_absolute_error")
        found = {name: getattr(self, name) for name in (*names, *others)}
        for i, (label, value) in enumerate(self.f1_by_label.items()):
            name = f"f1_label_{_REFUSED.sub('_', label)}"
            found[f"{name}_{i}" if name in found else name] = value
        return {name: float(value) for name, value in found.items() if value is not None}


def measure(judged: JudgedReviews) -> Evaluation:
    """Compute the metrics of at least one review."""
    classes = list(range(len(judged.labels)))
    truth, predicted = judged.truth, judged.predicted
    by_label = metrics.f1_score(truth, predicted, labels=classes, average=None, zero_division=0)
    scored = judged.at(np.flatnonzero(~judged.is_rejected))
    support = np.bincount(truth, minlength=len(classes))
    return Evaluation(
        labels=judged.labels,
        rows=len(truth),
        accuracy=float(judged.is_right.mean()),
        f1_weighted=float(np.average(by_label, weights=support)),
        f1_macro=float(by_label.mean()),
        f1_by_label=dict(zip(judged.labels, map(float, by_label), strict=True)),
        reviews_by_label=dict(zip(judged.labels, map(int, support), strict=True)),
        roc_auc=_measure_roc_auc(truth, judged.probabilities),
        ece=measure_calibration_error(scored.probabilities, scored.truth),
        brier=measure_brier(judged.probabilities, truth),
        unsure_share=float(scored.predictions[schema.UNSURE].sum()) / max(1, len(scored.truth)),
        rejected_share=float(judged.is_rejected.mean()),
        mean_absolute_error=_measure_absolute_error(scored),
        confusion=_count_pairs(scored).tolist(),
    )


def _count_pairs(scored: JudgedReviews) -> np.ndarray:
    """Return the numbers of reviews by true class (rows) and predicted class (columns)."""
    k = len(scored.labels)
    return np.bincount(scored.truth * k + scored.predicted, minlength=k * k).reshape(k, k)


def _measure_roc_auc(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    if len(np.unique(truth)) < probabilities.shape[1]:
        return None
    if probabilities.shape[1] == 2:
        return float(metrics.roc_auc_score(truth, probabilities[:, 1]))
    return float(metrics.roc_auc_score(truth, probabilities, multi_class="ovr"))


def _measure_absolute_error(judged: JudgedReviews) -> float | None:
    """Return the mean distance of the expected value from the true one; None if labels have no values."""
    values = schema.find_label_values(judged.labels)
    if values is None or not len(judged.truth):
        return None
    return float(np.abs(judged.probabilities @ np.array(values) - np.array(values)[judged.truth]).mean())


def tabulate_labels(evaluation: Evaluation) -> pd.DataFrame:
    """Return a row per label, in class order: `precision`, `recall`, `f1` (0 if undefined), `reviews`.

    A reject is among the `reviews` of its label, and lowers its recall and F1.
    """
    confusion = np.array(evaluation.confusion)
    hits, predicted = np.diag(confusion), confusion.sum(axis=0)
    reviews = np.array(list(evaluation.reviews_by_label.values()))
    columns = {
        "precision": hits / np.maximum(1, predicted),
        "recall": hits / np.maximum(1, reviews),
        "f1": list(evaluation.f1_by_label.values()),
        "reviews": reviews,
    }
    return pd.DataFrame(columns, index=pd.Index(evaluation.labels, name="label"))
