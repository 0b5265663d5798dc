"""Measure how sure an estimate is: intervals of metrics, and two models compared on the same reviews."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, chi2, norm

from .. import schema
from .calibration import N_BINS
from .judged import JudgedReviews

CONFIDENCE = 0.95
BOOTSTRAPS = 1_000
# With fewer reviews that only one model gets right, McNemar's test is exact, as is usual.
MIN_APPROXIMATE = 25
# Largest number of values that a block of bootstrap samples holds at a time: 80 MB.
_BLOCK_VALUES = 10_000_000


@dataclass(frozen=True)
class Interval:
    """Hold an estimate and the bounds that contain the true value with a confidence of `CONFIDENCE`."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """Hold how two models differ in accuracy on the same `rows` reviews.

    `only_first` and `only_second` are the numbers of reviews that only one of them gets right. `difference`
    is the accuracy of the first minus that of the second. `p_value` is McNemar's, two-sided.
    """

    rows: int
    only_first: int
    only_second: int
    difference: Interval
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Return True if the models differ, with a confidence of `CONFIDENCE`."""
        return self.p_value < 1 - CONFIDENCE


def measure_share(is_hit: np.ndarray) -> Interval:
    """Return the share of True among at least one bool, with the score interval of Wilson (1927)."""
    n, share = len(is_hit), float(np.mean(is_hit))
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return Interval(share, max(0.0, center - reach), min(1.0, center + reach))


def measure_intervals(judged: JudgedReviews, seed: int = 0) -> dict[str, Interval]:
    """Return bootstrap intervals of the metrics of at least one review, by the names in `Evaluation`.

    They are `accuracy`, `f1_weighted`, `f1_macro`, `ece` and, for ordinal labels, `mean_absolute_error`. The
    bootstrap is the percentile one, for `ece` the basic one, see `_correct_bias`.
    """
    return _resample_classes(judged, seed) | _resample_scores(judged, seed)


def compare_models(first: JudgedReviews, second: JudgedReviews) -> Comparison:
    """Compare two models by McNemar's test (1947) on the same reviews in the same order.

    Below `MIN_APPROXIMATE` reviews that only one model gets right, the test is the exact binomial one; above,
    chi-squared with the continuity correction of Edwards (1948). Raises ValueError for other
    reviews or labels.
    """
    if first.labels != second.labels:
        raise ValueError("expected models with the same labels in the same order, found others")
    if not np.array_equal(first.truth, second.truth):
        raise ValueError("expected the same reviews in the same order, found other true classes")
    return compare_hits(first.is_right, second.is_right)


def compare_hits(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare two models as `compare_models`, by their hits on the same reviews, bool (n,)."""
    n = len(first)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    discordant, gap = only_first + only_second, only_first - only_second
    if discordant < MIN_APPROXIMATE:
        p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    else:
        p_value = float(chi2.sf(max(0, abs(gap) - 1) ** 2 / discordant, 1))
    return Comparison(n, only_first, only_second, _measure_difference(only_first, only_second, n), p_value)


def _measure_difference(only_first: int, only_second: int, n: int) -> Interval:
    """Return the paired difference with the interval of Agresti and Min (2005).

    It adds half a review to each of the four cells, so that it has a width where no review differs.
    """
    total = n + 2
    first, second = (only_first + 0.5) / total, (only_second + 0.5) / total
    center = first - second
    reach = float(norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((first + second - center**2) / total))
    return Interval((only_first - only_second) / n, max(-1.0, center - reach), min(1.0, center + reach))


def _resample_classes(judged: JudgedReviews, seed: int) -> dict[str, Interval]:
    """Return intervals of what follows from the confusion matrix, whose cells are a multinomial sample."""
    k = len(judged.labels)
    # A reject has a column of its own, at the end.
    predicted = np.where(judged.predicted < 0, k, judged.predicted)
    cells = np.bincount(judged.truth * (k + 1) + predicted, minlength=k * (k + 1))
    n = int(cells.sum())
    samples = np.random.default_rng(seed).multinomial(n, cells / n, size=BOOTSTRAPS)
    matrices = np.concatenate([cells[None], samples]).reshape(-1, k, k + 1)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    support = matrices.sum(axis=2)
    f1 = 2 * hits / np.maximum(1, support + matrices.sum(axis=1)[:, :k])
    return {
        "accuracy": _make_interval(hits.sum(axis=1) / n),
        "f1_weighted": _make_interval((f1 * support).sum(axis=1) / n),
        "f1_macro": _make_interval(f1.mean(axis=1)),
    }


def _resample_scores(judged: JudgedReviews, seed: int) -> dict[str, Interval]:
    """Return intervals of what follows from the probabilities: `ece` and `mean_absolute_error`."""
    judged = judged.at(np.flatnonzero(~judged.is_rejected))
    if not len(judged.truth):
        return {"ece": Interval(0.0, 0.0, 0.0)}
    scores = judged.scores
    is_right = judged.probabilities.argmax(axis=1) == judged.truth
    bins = np.minimum((scores * N_BINS).astype(int), N_BINS - 1)
    columns = np.zeros((len(scores), N_BINS + 1))
    columns[np.arange(len(scores)), bins] = is_right - scores
    values = schema.find_label_values(judged.labels)
    if values is not None:
        levels = np.array(values)
        columns[:, -1] = np.abs(judged.probabilities @ levels - levels[judged.truth])
    means = _resample_means(columns, seed)
    found = {"ece": _correct_bias(_make_interval(np.abs(means[:, :-1]).sum(axis=1)))}
    return found if values is None else found | {"mean_absolute_error": _make_interval(means[:, -1])}


def _resample_means(columns: np.ndarray, seed: int) -> np.ndarray:
    """Return the means of the columns, and below them those of each bootstrap sample."""
    n = len(columns)
    random = np.random.default_rng(seed)
    found = [columns.mean(axis=0)[None]]
    block = max(1, _BLOCK_VALUES // n)
    for first in range(0, BOOTSTRAPS, block):
        samples = min(block, BOOTSTRAPS - first)
        drawn = random.integers(n, size=(samples, n)) + np.arange(samples)[:, None] * n
        # How often each review is in each sample.
        counts = np.bincount(drawn.ravel(), minlength=samples * n).reshape(samples, n)
        found.append(counts.astype(np.float64) @ columns / n)
    return np.concatenate(found)


def _correct_bias(drawn: Interval) -> Interval:
    """Return the interval of the basic bootstrap, extended to contain the estimate.

    Chance adds to the calibration error of a sample, and again to that of a sample of the sample. The basic
    bootstrap takes this second addition off the first.
    """
    low, high = 2 * drawn.value - drawn.high, 2 * drawn.value - drawn.low
    return Interval(drawn.value, min(drawn.value, max(0.0, low)), max(drawn.value, high))


def _make_interval(values: np.ndarray) -> Interval:
    """Return the first value, with the quantiles of the others."""
    low, high = np.quantile(values[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(values[0]), float(low), float(high))
