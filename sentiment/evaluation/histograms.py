"""Fix the bins in which the figures of rows are counted, so that any two sets of rows can be compared."""

from collections.abc import Mapping

import numpy as np

from .. import schema
from .text_figures import ACCENT_SHARE, CHARS, NON_LATIN_SHARE, UPPER_SHARE

CHARS_PER_TOKEN = "chars_per_token"


def _make_steps(stop: int, n: int) -> tuple[float, ...]:
    """Return 0 and whole numbers from 1 to `stop`, each about the same factor above the one before."""
    return (0.0, *np.unique(np.geomspace(1, stop, n).round()).tolist())


_SHARES = (0.0, 1e-9, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
# Lower ends of the bins of each figure, the first of which takes everything below, the last everything above.
BINS: Mapping[str, tuple[float, ...]] = {
    CHARS: _make_steps(100_000, 48),
    schema.N_TOKENS: _make_steps(8_192, 48),
    CHARS_PER_TOKEN: tuple(np.arange(0, 8.1, 0.25).tolist()),
    UPPER_SHARE: _SHARES,
    ACCENT_SHARE: _SHARES,
    NON_LATIN_SHARE: _SHARES,
}
# Most scores are close to 1, where the bins are narrow.
SCORE_BINS = tuple(
    np.unique(
        np.concatenate([np.linspace(0, 0.9, 46), np.linspace(0.9, 0.99, 19), np.linspace(0.99, 0.999, 10)])
    )
    .round(3)
    .tolist()
)


def count_bins(values: np.ndarray, bins: tuple[float, ...]) -> tuple[int, ...]:
    """Return how many values are in each bin; nulls are in none."""
    known = values[~np.isnan(values)]
    places = np.clip(np.searchsorted(bins, known, side="right") - 1, 0, len(bins) - 1)
    return tuple(np.bincount(places, minlength=len(bins)).tolist())
