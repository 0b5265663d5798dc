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


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return (n, K) probabilities whose logits are divided by a temperature; the order of classes stays.

    The logarithm of a softmax differs from the logits by a constant per row, which the second softmax
    removes. A row with NaN stays NaN.
    """
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    scaled: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return scaled


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
