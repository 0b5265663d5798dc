"""Measure contenders in turns, so that changes of the machine affect all of them."""

import sys
import time
from collections.abc import Callable, Mapping


def measure_interleaved(
    contenders: Mapping[str, Callable[[], float]],
    repetitions: Mapping[str, int],
    seconds: float = float("inf"),
) -> dict[str, list[float]]:
    """Call the contenders in rounds, each round in the opposite order, and return all rates by contender.

    Every contender is called at least once. No further call starts if, by the duration of the last one, it
    would end after `seconds`. Each measurement is printed on stderr.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    durations: dict[str, float] = {}
    began = time.monotonic()
    for number in range(max(repetitions.values(), default=0)):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            start = time.monotonic()
            is_late = number > 0 and start - began + durations[name] > seconds
            if number >= repetitions[name] or is_late:
                continue
            values[name].append(contenders[name]())
            durations[name] = time.monotonic() - start
            line = f"  {number + 1} {name:<20}{values[name][-1]:10.2f} ({durations[name]:.1f} s)"
            print(line, file=sys.stderr, flush=True)
    return values


def fit_rows(rate: float, seconds: float, most: int, least: int = 32) -> int:
    """Return how many reviews at `rate` per second fit into `seconds`; fewer than 32 lack some lengths."""
    return round(min(most, max(least, rate * seconds)))
