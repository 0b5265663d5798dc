"""Calibrate probabilities, and decide which scores are too low to act on.

Fine-tuning fits these values on validation reviews and writes them into the model, so that every door applies
the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The logarithm of 0 is not finite.
_SMALLEST = 1e-300


@dataclass(frozen=True)
class CoveragePoint:
    """Hold the share of validation reviews with a score of at least `min_score`, and their accuracy.

    `accuracy_low` is the lower bound of the accuracy, one-sided with 95 % confidence.
    """

    min_score: float
    coverage: float
    accuracy: float
    accuracy_low: float


@dataclass(frozen=True)
class Calibration:
    """Map probabilities so that they are the shares of right predictions; the order of classes stays.

    The log ratio d of the most probable class to another becomes (d / temperature) ** power. The power 1 is
    temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017). Training with
    smoothed labels needs a larger one, because it keeps the ratios of easy and hard reviews close together.
    """

    temperature: float = 1.0
    power: float = 1.0

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n, K) probabilities. A row with NaN stays NaN."""
        if (self.temperature, self.power) == (1, 1):
            return probabilities
        logits = np.log(np.maximum(probabilities, _SMALLEST))
        ratios = np.max(logits, axis=1, keepdims=True, initial=-np.inf) - logits
        shares = np.exp(-((ratios / self.temperature) ** self.power))
        scaled: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
        return scaled

    def invert(self) -> "Calibration":
        """Return the calibration that undoes this one."""
        return Calibration(self.temperature**-self.power, 1 / self.power)


def find_min_score(coverage: Sequence[CoveragePoint], target_accuracy: float) -> float:
    """Return the lowest score from which on the reviews have this accuracy, even at its lower bound.

    Raises ValueError if no score has it.
    """
    if not coverage:
        raise ValueError(
            f"target_accuracy {target_accuracy:g}: no accuracy of this model was measured; pass "
            "min_score, or adopt or fine-tune it with labelled reviews"
        )
    reached = [point.min_score for point in coverage if point.accuracy_low >= target_accuracy]
    if not reached:
        best = max(point.accuracy_low for point in coverage)
        raise ValueError(
            f"target_accuracy {target_accuracy:g}: the model proved at most {best:.3f} on its validation "
            "reviews (lower bound, 95 % confidence); pass a smaller one, or fine-tune with more reviews"
        )
    return min(reached)
