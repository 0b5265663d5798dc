"""Several runs started at once over one store: one scores, the others leave at once and say why.

Every fifth round the one that runs may run to its end; in the others it is killed when the rest have left:
the question is who gets the lock, and a run to its end takes a quarter of a minute.
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

import pandas as pd
import pytest

from sentiment.errors import StoreLockedError
from tests.factories import ROOT, TinyModel, make_reviews

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F4", "eight runs started at once over one store"),
]

ROUNDS = 20
STARTERS = 8
# In every fifth round the run may end; in the others it is killed once the rest have left.
_FULL_EVERY = 5
ROWS = 60
REFUSAL = "another run is writing this store"
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
    starts: tuple[Start, ...]
    # True if the running process was not killed.
    is_full: bool
    # The ids of the table afterwards, in order.
    review_ids: tuple[str, ...] = ()
    # Files in the store, and next to it, that are no batch.
    left: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def run_round(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Round]:
    """Return a function that runs the round of a number, once for all of its tests."""
    return functools.cache(
        lambda number: _run_round(model, tmp_path_factory.mktemp("round"), is_full=number % _FULL_EVERY == 1)
    )


@pytest.mark.parametrize(
    ("number", "start"),
    [
        pytest.param(number, start, id=f"round {number}, start {start}", marks=[pytest.mark.quick] * is_first)
        for number in range(1, ROUNDS + 1)
        for start in range(1, STARTERS + 1)
        for is_first in [number == start == 1]
    ],
)
def test_one_runs_and_the_others_leave_at_once_with_a_clear_word(
    number: int, start: int, run_round: Callable[[int], Round]
) -> None:
    round_ = run_round(number)
    found = round_.starts[start - 1]
    others = round_.starts[: start - 1] + round_.starts[start:]
    if found.is_refused:
        assert found.said.count("\n") == 1, f"not one line: {found.said}"
        assert REFUSAL in found.said, found.said
        assert found.cpu_seconds < _MAX_CPU_SECONDS, found
    else:
        assert found.code == (0 if round_.is_full else -signal.SIGKILL), (
            f"ended in {found.code}: {found.said}"
        )
        assert RUNNING in found.said, found.said
        assert all(other.is_refused for other in others), [other.code for other in others]
    assert sum(not other.is_refused for other in round_.starts) == 1, [other.code for other in round_.starts]
    if round_.is_full:
        assert sorted(round_.review_ids) == sorted(make_reviews(ROWS)["review_id"])
        assert not round_.left, f"left behind: {round_.left}"


def _run_round(model: TinyModel, folder: Path, is_full: bool) -> Round:
    make_reviews(ROWS).to_parquet(folder / "reviews.parquet", index=False)
    store = folder / "scores"
    command = [
        *(sys.executable, "jobs/score_reviews.py", "--input", str(folder / "reviews.parquet")),
        *("--output", str(store), "--model_uri", model.uri),
    ]
    starts = _start_all(command, folder, is_full)
    if not is_full:
        return Round(tuple(starts), is_full)
    left = [p.name for p in folder.iterdir() if p.name not in ("reviews.parquet", "scores")]
    left += [p.name for p in store.iterdir() if not p.name.startswith("model=")]
    return Round(tuple(starts), is_full, tuple(pd.read_parquet(store)["review_id"]), tuple(left))


def _start_all(command: list[str], folder: Path, is_full: bool) -> list[Start]:
    """Start all processes, then wait for them."""
    with ThreadPoolExecutor(STARTERS) as threads:
        outputs = [folder / f"said-{number}" for number in range(STARTERS)]
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
