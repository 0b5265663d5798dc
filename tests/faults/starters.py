"""F4: several runs started at once over one store: one scores, the others leave at once and say why."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sentiment.errors import StoreLockedError
from tests.conftest import ROOT, make_reviews

from .cells import Case, World

ROUNDS = 20
STARTERS = 8
ROWS = 60
REFUSAL = "another run is writing this store"
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
    review_ids: tuple[str, ...]
    """Of the table afterwards, in order."""
    left: tuple[str, ...]
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
            world.kept[key] = _run_round(world, folder)
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
        assert start.code == 0, f"ended in {start.code}: {start.said}"
        assert all(other.is_refused for other in others), [other.code for other in others]
    assert sum(other.code == 0 for other in found.starts) == 1, [other.code for other in found.starts]
    assert sorted(found.review_ids) == sorted(make_reviews(ROWS)["review_id"])
    assert not found.left, f"left behind: {found.left}"


def _run_round(world: World, folder: Path) -> Round:
    make_reviews(ROWS).to_parquet(folder / "reviews.parquet", index=False)
    store = folder / "scores"
    command = [
        *(sys.executable, "jobs/score_reviews.py", "--input", str(folder / "reviews.parquet")),
        *("--output", str(store), "--model_uri", world.model_uri),
    ]
    starts = _start_all(command, {**os.environ, "MLFLOW_TRACKING_URI": world.tracking_uri}, folder)
    left = [p.name for p in folder.iterdir() if p.name not in ("reviews.parquet", "scores")]
    left += [p.name for p in store.iterdir() if not p.name.startswith("model=")]
    return Round(tuple(starts), tuple(pd.read_parquet(store)["review_id"]), tuple(left))


def _start_all(command: list[str], environment: dict[str, str], folder: Path) -> list[Start]:
    """Start all before waiting for any."""
    with ThreadPoolExecutor(STARTERS) as threads:
        outputs = [folder / f"said-{number}" for number in range(STARTERS)]
        processes = [_start(command, environment, output) for output in outputs]
        return list(threads.map(_await, processes, outputs, [time.monotonic()] * STARTERS))


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
