"""Turn a profile into the distributions that are compared from night to night."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .. import schema
from ..evaluation.histograms import BINS, SCORE_BINS
from ..evaluation.profile import Profile

REPEATED, REJECTED = "repeated_text", "reject_reason"
_NOT, _ACCEPTED = "no", "accepted"
# Figures that depend on the model, so they are not compared with nights of another model.
MODEL_FIGURES = frozenset(
    {
        *(schema.SCORE, schema.LABEL, schema.STAGE, schema.UNSURE, schema.TRUNCATED, schema.N_TOKENS),
        *("chars_per_token", REJECTED),
    }
)
# The smallest difference of two shares that matters: of figures with bins, and of flags and categories, where
# readers notice a few points.
MIN_EFFECT_ORDERED, MIN_EFFECT = 0.06, 0.04


@dataclass(frozen=True)
class Distribution:
    """Hold the counts of a figure by cell: a category, or the lower end of a bin in rising order."""

    counts: Mapping[str, int]
    is_ordered: bool
    min_effect: float

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Return the mean of a figure with bins, about: each value counts as the lower end of its bin."""
        return sum(float(cell) * n for cell, n in self.counts.items()) / max(1, self.rows)


def list_distributions(profile: Profile) -> dict[str, Distribution]:
    """Return the figures that the profile has, by name."""
    figures = {name: _order(BINS[name], counts) for name, counts in profile.figures.items()}
    if profile.scores:
        counts = np.sum([scores.counts for scores in profile.scores.values()], axis=0)
        figures[schema.SCORE] = _order(SCORE_BINS, counts.tolist())
    figures[schema.LABEL] = _categorise(profile.labels)
    figures[schema.STAGE] = _categorise(profile.stages)
    for flag, rows in profile.flags.items():
        figures[flag] = _categorise({flag: rows, _NOT: profile.scored_rows - rows})
    figures[REJECTED] = _categorise({_ACCEPTED: profile.scored_rows, **profile.rejects})
    if profile.digests:
        rows, distinct = sum(profile.digests.values()), len(profile.digests)
        figures[REPEATED] = _categorise({REPEATED: rows - distinct, _NOT: distinct})
    return {name: figure for name, figure in figures.items() if figure.rows}


def add_distributions(nights: Iterable[Mapping[str, Distribution]]) -> dict[str, Distribution]:
    """Return the sums of the figures of several nights.

    The profiles are not merged first: a text that two nights have would then count as repeated.
    """
    total: dict[str, Distribution] = {}
    for night in nights:
        for name, figure in night.items():
            total[name] = _add(total[name], figure) if name in total else figure
    return total


def align(first: Distribution, second: Distribution) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the cells that either has, in order, and the counts of both, int64 (cells,)."""
    cells = [cell for cell in _list_cells(first, second) if first.counts.get(cell) or second.counts.get(cell)]
    counts = [
        np.array([one.counts.get(cell, 0) for cell in cells], dtype=np.int64) for one in (first, second)
    ]
    return cells, counts[0], counts[1]


def _add(first: Distribution, second: Distribution) -> Distribution:
    counts = {
        cell: first.counts.get(cell, 0) + second.counts.get(cell, 0) for cell in _list_cells(first, second)
    }
    return Distribution(counts, first.is_ordered, first.min_effect)


def _list_cells(first: Distribution, second: Distribution) -> list[str]:
    """Return all cells: those of bins are the same in both, and in order."""
    return list(first.counts) if first.is_ordered else sorted({*first.counts, *second.counts})


def _order(bins: Iterable[float], counts: Iterable[int]) -> Distribution:
    return Distribution(
        {f"{low:g}": n for low, n in zip(bins, counts, strict=True)}, True, MIN_EFFECT_ORDERED
    )


def _categorise(counts: Mapping[str, int]) -> Distribution:
    return Distribution(dict(counts), False, MIN_EFFECT)
