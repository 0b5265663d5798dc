"""Fit and measure calibration: how far scores are from the share of reviews that they get right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import beta, chi2

from ..inference.calibration import Calibration, CoveragePoint

# As in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
N_BINS = 15
# One-sided confidence of `CoveragePoint.accuracy_low`.
CONFIDENCE = 0.95
# With fewer reviews a temperature is mostly noise.
MIN_ROWS = 100
# Bounds of the fit, which is of the logarithms.
_TEMPERATURES = (0.05, 20.0)
_POWERS = (0.25, 5.0)
# A power is fitted only if a likelihood-ratio test is significant at this level.
_SIGNIFICANCE = 0.01
_MAX_POINTS = 200
# Below it a probability has no finite logarithm.
_SMALLEST = 1e-300


def fit_calibration(probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
    """Fit temperature and power by least log loss.

    `probabilities` are float64 (n, K), uncalibrated; rows that are not finite must be left out. The power is
    1 unless a likelihood-ratio test shows that another one is better. For fewer than `MIN_ROWS` reviews the
    result is the identity.
    """
    if len(truth) < MIN_ROWS:
        return Calibration()
    rows = np.arange(len(truth))
    bounds = [tuple(np.log(limits)) for limits in (_TEMPERATURES, _POWERS)]

    def measure_loss(logarithms: Sequence[float]) -> float:
        found = Calibration(*(float(np.exp(value)) for value in logarithms)).apply(probabilities)
        return -float(np.log(np.maximum(found[rows, truth], _SMALLEST)).mean())

    plain = minimize_scalar(lambda value: measure_loss([value]), bounds=bounds[0], method="bounded")
    both = minimize(measure_loss, [plain.x, 0.0], method="Nelder-Mead", bounds=bounds)
    is_better = 2 * len(truth) * (plain.fun - both.fun) > chi2.ppf(1 - _SIGNIFICANCE, 1)
    return Calibration(*np.exp(both.x).tolist()) if is_better else Calibration(float(np.exp(plain.x)))


@dataclass(frozen=True)
class ScoreBin:
    """Hold the mean score of the reviews in one bin, their accuracy, and their share of all reviews."""

    score: float
    accuracy: float
    share: float


def measure_calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the expected calibration error of the score: `N_BINS` bins of equal width, weighted by rows."""
    return sum(abs(found.accuracy - found.score) * found.share for found in list_bins(probabilities, truth))


def list_bins(probabilities: np.ndarray, truth: np.ndarray) -> list[ScoreBin]:
    """Return the bins of scores that have reviews, lowest first."""
    scores, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((scores * N_BINS).astype(int), N_BINS - 1)
    found = []
    for number in np.unique(bins):
        rows = bins == number
        found.append(ScoreBin(float(scores[rows].mean()), float(is_right[rows].mean()), float(rows.mean())))
    return found


def measure_brier(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return half the mean squared distance from the true class, in [0, 1]."""
    target = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - target) ** 2).sum(axis=1).mean() / 2)


def measure_coverage(scores: np.ndarray, is_right: np.ndarray) -> tuple[CoveragePoint, ...]:
    """Return at most `_MAX_POINTS` thresholds in order, each with coverage and accuracy.

    `accuracy_low` is the one-sided lower bound of Clopper and Pearson (1934).
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(is_right[order])
    # Only where the next score is lower: equal scores are on one side of a threshold.
    ends = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True)) if len(scores) else np.empty(0, int)
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, _MAX_POINTS).astype(int))] if len(ends) else ends
    kept, right = chosen + 1, hits[chosen]
    low = np.where(right == 0, 0.0, beta.ppf(1 - CONFIDENCE, np.maximum(right, 1), kept - right + 1))
    points = [
        CoveragePoint(float(ordered[end]), float(n / len(scores)), float(k / n), float(bound))
        for end, n, k, bound in zip(chosen, kept, right, low, strict=True)
    ]
    return tuple(reversed(points))
