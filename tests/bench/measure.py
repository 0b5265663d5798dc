"""Interleaved repetitions: what the machine does to one contender it does to all."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .processes import MemoryPeaks, MemorySampler

__all__ = ["Measured", "MemoryPeaks", "MemorySampler", "measure_interleaved"]


@dataclass(frozen=True)
class Measured:
    """The repetitions of one contender, in the order they were taken; all in the contender's own unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Largest less smallest, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median


def measure_interleaved(
    contenders: Mapping[str, Callable[[], float]],
    repetitions: int | Mapping[str, int],
    unit: str = "reviews/s",
) -> dict[str, Measured]:
    """Call each contender as often as asked, round by round, each round in the opposite order of the last.

    A contender returns a rate. One with fewer repetitions takes part in the rounds in the middle, so that
    its times lie among those of the others. A line a measurement goes to stderr. Raises ValueError for a
    contender without a repetition.
    """
    counts = {name: repetitions if isinstance(repetitions, int) else repetitions[name] for name in contenders}
    if min(counts.values(), default=1) < 1:
        raise ValueError(f"each contender needs a repetition: {counts}")
    values: dict[str, list[float]] = {name: [] for name in contenders}
    rounds = max(counts.values(), default=0)
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            first = (rounds - counts[name]) // 2
            if first <= number < first + counts[name]:
                start = time.perf_counter()
                values[name].append(contenders[name]())
                _report(number + 1, rounds, name, values[name][-1], unit, time.perf_counter() - start)
    return {name: Measured(tuple(taken)) for name, taken in values.items()}


def _report(number: int, rounds: int, name: str, value: float, unit: str, seconds: float) -> None:
    print(
        f"  {number}/{rounds} {name:<28}{value:10.2f} {unit}  ({seconds:.1f} s)", file=sys.stderr, flush=True
    )
