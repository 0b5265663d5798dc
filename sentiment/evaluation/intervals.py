"""Measure how sure an estimate is: intervals of metrics, and two models compared on the same reviews."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Hold an estimate and the bounds that contain the true value with a confidence of `CONFIDENCE`."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def measure_share(is_hit: np.ndarray) -> Interval:
    """Return the share of True among at least one bool, with the score interval of Wilson (1927)."""
    n, share = len(is_hit), float(np.mean(is_hit))
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return Interval(share, max(0.0, center - reach), min(1.0, center + reach))
