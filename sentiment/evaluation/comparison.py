"""Compare champion and challenger on the same reviews: by slice, and in time."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from .intervals import compare_hits
from .judged import JudgedReviews
from .slices import find_slices


@dataclass(frozen=True)
class SliceComparison:
    """Hold how much accuracy the challenger lost in a slice; `is_sure`: its 95 % interval is above 0."""

    name: str
    value: str
    rows: int
    drop: float
    is_sure: bool


def compare_slices(
    champion: JudgedReviews, challenger: JudgedReviews, min_rows: int
) -> tuple[SliceComparison, ...]:
    """Compare two models on the same reviews in each slice of at least `min_rows` of them."""
    # Both are judged on the slices of one of them: two tokenizers count other tokens for the same review.
    slices = [part for part in find_slices(champion) if len(part.rows) >= min_rows]
    found = []
    for part in slices:
        difference = compare_hits(champion.is_right[part.rows], challenger.is_right[part.rows]).difference
        rows = len(part.rows)
        found.append(SliceComparison(part.name, part.value, rows, difference.value, difference.low > 0))
    return tuple(found)


def measure_latency_ratio(
    champion: Callable[[], object],
    challenger: Callable[[], object],
    rounds: int,
    clock: Callable[[], float],
) -> float:
    """Return the median of challenger time by champion time; each round runs both, in turned order."""
    ratios = []
    for i in range(rounds):
        if i % 2:
            theirs, ours = _time(champion, clock), _time(challenger, clock)
        else:
            ours, theirs = _time(challenger, clock), _time(champion, clock)
        ratios.append(ours / theirs)
    return median(ratios)


def _time(run: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    run()
    return clock() - started
