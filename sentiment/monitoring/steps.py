"""Run the steps of a night: each is named, timed, repeated after a passing failure, and safe to repeat."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from ..errors import (
    LostJobError,
    ObjectStoreError,
    RegistryError,
    ScoringError,
    SentimentError,
    StoreLockedError,
)

Result = TypeVar("Result")
# Opens a span around a step; `telemetry.open_span` is one.
OpenSpan = Callable[[str], AbstractContextManager[None]]
# Seconds before each further try; a random part keeps several jobs from trying at the same moment.
WAITS = (5.0, 20.0, 60.0)
_JITTER = 0.2
_PASSING = (LostJobError, RegistryError, ScoringError, ObjectStoreError, StoreLockedError)


@dataclass(frozen=True)
class StepRecord:
    """Hold how a step went; `failure` is the message of its error, None if it succeeded."""

    name: str
    seconds: float
    tries: int
    failure: str | None = None


@dataclass
class Steps:
    """Run steps one after the other and keep a record of each.

    `tell` gets a line before a further try. `pause` and `clock` are those of the module `time`.
    """

    tell: Callable[[str], None]
    waits: Sequence[float] = WAITS
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    open_span: OpenSpan = lambda name: nullcontext()
    records: list[StepRecord] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Run one step; repeat it after a passing failure. Raises the error of the last try."""
        started = self.clock()
        for number, wait in enumerate((*self.waits, None), start=1):
            try:
                with self.open_span(name):
                    result = work()
            except SentimentError as error:
                if wait is not None and is_passing(error):
                    self.tell(f"step {name} failed, next try in {wait:g} s: {error}")
                    self.pause(wait * (1 + _JITTER * random.random()))
                    continue
                self._record(name, started, number, str(error))
                raise
            except BaseException as error:
                self._record(name, started, number, type(error).__name__)
                raise
            self._record(name, started, number)
            return result
        raise AssertionError("the last try returns or raises")

    @property
    def seconds(self) -> dict[str, float]:
        """Return the seconds of each step that has ended, by its name."""
        return {record.name: round(record.seconds, 3) for record in self.records}

    @property
    def failed(self) -> StepRecord | None:
        """Return the record of the first step that failed."""
        return next((record for record in self.records if record.failure is not None), None)

    def _record(self, name: str, started: float, tries: int, failure: str | None = None) -> None:
        self.records.append(StepRecord(name, self.clock() - started, tries, failure))


def is_passing(error: SentimentError) -> bool:
    """Return whether an error may not happen again: a registry, an object store, another job, Spark."""
    return isinstance(error, _PASSING)
