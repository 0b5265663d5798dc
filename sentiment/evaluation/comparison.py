"""Compare champion and challenger on the same reviews: by slice, and in time."""

from collections.abc import Callable, Sequence
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
        order: Sequence[Callable[[], object]] = (champion, challenger) if i % 2 else (challenger, champion)
        seconds = {run: _time(run, clock) for run in order}
        ratios.append(seconds[challenger] / seconds[champion])
    return median(ratios)


def _time(run: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    run()
    return clock() - started
