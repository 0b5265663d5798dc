"""F4: several runs started at once over one store: one scores, the others leave at once and say why.

Every fifth round the one that runs is let to its end; in the others it is killed when the rest have left:
what is asked is who gets the lock, and a run to its end takes a quarter of a minute.
"""

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

from sentiment.errors import StoreLockedError
from tests.conftest import ROOT, make_reviews
from tests.matrix import Case

from .cells import World

ROUNDS = 20
STARTERS = 8
_FULL_EVERY = 5
"""Rounds from one whose run may end to the next; in the others it is killed once the rest have left."""
ROWS = 60
REFUSAL = "another run is writing this store"
RUNNING = "starting Spark"
_MAX_CPU_SECONDS = 2.0
"""Of a refused run. Its own processor time: eight interpreters on two cores take longer by the clock."""


@dataclass(frozen=True)
class Start:
    """What became of one process; `seconds` by the clock, `cpu_seconds` of its processors."""

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
    is_full: bool
    """Whether the one that ran was let to its end."""
    review_ids: tuple[str, ...] = ()
    """Of the table afterwards, in order."""
    left: tuple[str, ...] = ()
    """What lies about in the store, and beside it, that is no batch."""


def list_cases() -> list[Case]:
    """F4: 20 rounds of 8 starts, a case each; a round is run when the first of its cases is checked."""
    return [
        Case(f"round {number}, start {start}", _make_check(number, start), is_quick=number == start == 1)
        for number in range(1, ROUNDS + 1)
        for start in range(1, STARTERS + 1)
    ]


def _make_check(number: int, start: int) -> Callable[[World, Path], None]:
    def check(world: World, folder: Path) -> None:
        key = f"starters {number}"
        if key not in world.kept:
            world.kept[key] = _run_round(world, folder, is_full=number % _FULL_EVERY == 1)
        _check_start(world.kept[key], start - 1)

    return check


def _check_start(found: Round, index: int) -> None:
    start = found.starts[index]
    others = found.starts[:index] + found.starts[index + 1 :]
    if start.is_refused:
        assert start.said.count("\n") == 1, f"not one line: {start.said}"
        assert REFUSAL in start.said, start.said
        assert start.cpu_seconds < _MAX_CPU_SECONDS, start
    else:
        assert start.code == (0 if found.is_full else -signal.SIGKILL), f"ended in {start.code}: {start.said}"
        assert RUNNING in start.said, start.said
        assert all(other.is_refused for other in others), [other.code for other in others]
    assert sum(not other.is_refused for other in found.starts) == 1, [other.code for other in found.starts]
    if found.is_full:
        assert sorted(found.review_ids) == sorted(make_reviews(ROWS)["review_id"])
        assert not found.left, f"left behind: {found.left}"


def _run_round(world: World, folder: Path, is_full: bool) -> Round:
    make_reviews(ROWS).to_parquet(folder / "reviews.parquet", index=False)
    store = folder / "scores"
    command = [
        *(sys.executable, "jobs/score_reviews.py", "--input", str(folder / "reviews.parquet")),
        *("--output", str(store), "--model_uri", world.model_uri),
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": world.tracking_uri}
    starts = _start_all(command, environment, folder, is_full)
    if not is_full:
        return Round(tuple(starts), is_full)
    left = [p.name for p in folder.iterdir() if p.name not in ("reviews.parquet", "scores")]
    left += [p.name for p in store.iterdir() if not p.name.startswith("model=")]
    return Round(tuple(starts), is_full, tuple(pd.read_parquet(store)["review_id"]), tuple(left))


def _start_all(command: list[str], environment: dict[str, str], folder: Path, is_full: bool) -> list[Start]:
    """Start all before waiting for any."""
    with ThreadPoolExecutor(STARTERS) as threads:
        outputs = [folder / f"said-{number}" for number in range(STARTERS)]
        processes = [_start(command, environment, output) for output in outputs]
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
    """When all have left but one, and that one is at work, end it with all that it started."""
    while sum(not end.done() for end in ends) > 1:
        time.sleep(0.02)
    for process, output, end in zip(processes, outputs, ends, strict=True):
        while not end.done() and RUNNING not in output.read_text():
            time.sleep(0.02)
        if not end.done():
            os.killpg(process.pid, signal.SIGKILL)


def _start(command: list[str], environment: dict[str, str], output: Path) -> "subprocess.Popen[bytes]":
    with output.open("wb") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        )


def _await(process: "subprocess.Popen[bytes]", output: Path, began: float) -> Start:
    """Wait by its number, which tells what this process alone has used."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    start = Start(process.returncode, output.read_text(), seconds, used.ru_utime + used.ru_stime)
    output.unlink()
    return start
