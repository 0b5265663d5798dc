"""Several runs started at once over one store: one publishes, the others leave and say why.

Where a store has a lock, the others leave at once. Every fifth round the one that runs may run to its end; in
the others it is killed when the rest have left: the question is who gets the lock, and a run to its end takes
a quarter of a minute. On S3 there is no lock: all runs score, and all but one are refused when they publish.
"""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from sentiment.errors import StoreLockedError
from tests.factories import ROOT, TinyModel, make_reviews

from .places import DELTA, FOLDER, S3, MakePlace, Place

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F4", "several runs started at once over one store"),
]

# Rounds and starters of each kind of store. Without a lock each starter has a JVM.
_SIZES = {FOLDER: (20, 8), DELTA: (5, 8), S3: (3, 3)}
# In every fifth round the run may end; in the others it is killed once the rest have left.
_FULL_EVERY = 5
ROWS = 60
REFUSAL = "another run is writing this store"
LATE_REFUSAL = "another run has changed this store"
RUNNING = "starting Spark"
# Processor time of a refused run: eight interpreters on two cores take longer by the clock.
_MAX_CPU_SECONDS = 2.0


@dataclass(frozen=True)
class Start:
    """The end of one process; `seconds` by the clock, `cpu_seconds` of its processors."""

    code: int
    said: str
    seconds: float
    cpu_seconds: float

    @property
    def is_refused(self) -> bool:
        return self.code == StoreLockedError.exit_code


@dataclass(frozen=True)
class Round:
    has_lock: bool
    starts: tuple[Start, ...]
    # True if the running process was not killed.
    is_full: bool
    # The ids of the table afterwards, in order.
    review_ids: tuple[str, ...] = ()
    # Damage of its batches.
    damage: tuple[str, ...] = ()
    # Files in the store, and next to it, that are no batch.
    left: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def run_round(
    model: TinyModel, make_place: MakePlace, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], Round]:
    """Return a function that runs the round of a kind of store and a number, once for all of its tests."""

    @functools.cache
    def run(kind: str, number: int) -> Round:
        folder = tmp_path_factory.mktemp("round")
        place = make_place(kind, folder)
        is_full = not place.has_lock or number % _FULL_EVERY == 1
        return _run_round(model, folder, place, _SIZES[kind][1], is_full)

    return run


@pytest.mark.parametrize(
    ("kind", "number", "start"),
    [
        pytest.param(
            *(kind, number, start),
            id=f"{kind}, round {number}, start {start}",
            marks=[pytest.mark.quick] * ((kind, number, start) == (FOLDER, 1, 1)),
        )
        for kind, (rounds, starters) in _SIZES.items()
        for number in range(1, rounds + 1)
        for start in range(1, starters + 1)
    ],
)
def test_one_publishes_and_the_others_leave_with_a_clear_word(
    kind: str, number: int, start: int, run_round: Callable[[str, int], Round]
) -> None:
    round_ = run_round(kind, number)
    found = round_.starts[start - 1]
    others = round_.starts[: start - 1] + round_.starts[start:]
    if found.is_refused and round_.has_lock:
        assert found.said.count("\n") == 1, f"not one line: {found.said}"
        assert REFUSAL in found.said, found.said
        assert found.cpu_seconds < _MAX_CPU_SECONDS, found
    elif found.is_refused:
        assert LATE_REFUSAL in found.said, found.said
        assert "Traceback" not in found.said, found.said
    else:
        assert found.code == (0 if round_.is_full else -signal.SIGKILL), (
            f"ended in {found.code}: {found.said}"
        )
        assert RUNNING in found.said, found.said
        assert all(other.is_refused for other in others), [other.code for other in others]
    assert sum(not other.is_refused for other in round_.starts) == 1, [other.code for other in round_.starts]
    if round_.is_full:
        assert sorted(round_.review_ids) == sorted(make_reviews(ROWS)["review_id"])
        assert not round_.damage, round_.damage
        assert not round_.left, f"left behind: {round_.left}"


def _run_round(model: TinyModel, folder: Path, place: Place, starters: int, is_full: bool) -> Round:
    make_reviews(ROWS).to_parquet(folder / "reviews.parquet", index=False)
    command = [
        *(sys.executable, "jobs/score_reviews.py", "--input", str(folder / "reviews.parquet")),
        *(*place.arguments, "--model_uri", model.uri),
    ]
    starts = tuple(_start_all(command, folder, starters, is_full))
    if not is_full:
        return Round(place.has_lock, starts, is_full)
    expected = {"reviews.parquet", "scores", "storage.json"}
    left = [p.name for p in folder.iterdir() if p.name not in expected] + place.list_left()
    ids = tuple(place.read_scores()["review_id"])
    return Round(place.has_lock, starts, is_full, ids, tuple(place.find_damage()), tuple(left))


def _start_all(command: list[str], folder: Path, starters: int, is_full: bool) -> list[Start]:
    """Start all processes, then wait for them."""
    with ThreadPoolExecutor(starters) as threads:
        outputs = [folder / f"said-{number}" for number in range(starters)]
        processes = [_start(command, output) for output in outputs]
        ends = [
            threads.submit(_await, process, output, time.monotonic())
            for process, output in zip(processes, outputs, strict=True)
        ]
        if not is_full:
            _kill_last(processes, outputs, ends)
        return [end.result() for end in ends]


def _kill_last(
    processes: "list[subprocess.Popen[bytes]]", outputs: list[Path], ends: "list[Future[Start]]"
) -> None:
    """Kill the last one left, once it is at work, with all that it started."""
    while sum(not end.done() for end in ends) > 1:
        time.sleep(0.02)
    for process, output, end in zip(processes, outputs, ends, strict=True):
        while not end.done() and RUNNING not in output.read_text():
            time.sleep(0.02)
        if not end.done():
            os.killpg(process.pid, signal.SIGKILL)


def _start(command: list[str], output: Path) -> "subprocess.Popen[bytes]":
    with output.open("wb") as file:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        )


def _await(process: "subprocess.Popen[bytes]", output: Path, began: float) -> Start:
    """Wait for a process by its id, which gives the time that only this process used."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    start = Start(process.returncode, output.read_text(), seconds, used.ru_utime + used.ru_stime)
    output.unlink()
    return start
