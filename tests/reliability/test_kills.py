"""Real runs of the job, killed at named points and at random ones, and run again.

The run after a kill is in this process, which spares the start of a JVM per test.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.factories import ROOT, TinyModel, make_reviews

from .tables import read_table

pytestmark = pytest.mark.reliability

ROWS = 240
CHUNK_ROWS = 150
_POINTS = ("checking input", "starting Spark", "scoring", "published")  # stages that the job logs
_RANDOM_KILLS = 13
_WAIT_SECONDS = 240


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str


class _Job:
    """A started run and the lines that it has logged."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def close(self) -> None:
        """Wait until all of its output is read."""
        self._reader.join(_WAIT_SECONDS)


@contextlib.contextmanager
def _started(model: TinyModel, reviews: Path, output: Path, folder: Path) -> Iterator[_Job]:
    process = subprocess.Popen(
        [
            *(sys.executable, "jobs/score_reviews.py", "--input", str(reviews), "--output", str(output)),
            *("--model_uri", model.uri, "--chunk_rows", str(CHUNK_ROWS)),
            *("--max_reject_share", "0.5", "--summary", str(folder / "summary.json")),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    job = _Job(process)
    try:
        yield job
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_WAIT_SECONDS)
        job.close()


def _run(model: TinyModel, reviews: Path, output: Path, folder: Path) -> int:
    with _started(model, reviews, output, folder) as job:
        return job.process.wait(_WAIT_SECONDS)


def _wait_for(job: _Job, point: str) -> None:
    """Wait until the job logs the stage; a short stage may have ended by then, which does not matter."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not any(point in line for line in list(job.lines)):
        if job.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the job never came to {point!r}: {''.join(job.lines)[-500:]}")
        time.sleep(0.01)


def _kill_driver(process: "subprocess.Popen[str]") -> None:
    process.kill()


def _kill_group(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)


def _kill_jvm(process: "subprocess.Popen[str]") -> None:
    """Kill the JVM, where the executor lives in local mode."""
    _kill_first(process, lambda found, _: "java" in found.command.split("\0")[0])


def _kill_worker(process: "subprocess.Popen[str]") -> None:
    def is_worker(found: Process, by_pid: dict[int, Process]) -> bool:
        parent = by_pid.get(found.parent)
        return "daemon" in found.command and parent is not None and "daemon" in parent.command

    _kill_first(process, is_worker)


def _kill_first(
    process: "subprocess.Popen[str]", is_victim: Callable[[Process, dict[int, Process]], bool]
) -> None:
    """Kill the first matching process of the job, or none if the job ends first."""
    while process.poll() is None:
        by_pid = {found.pid: found for found in _list_session(process.pid)}
        victims = [found for found in by_pid.values() if is_victim(found, by_pid)]
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victims[0].pid, signal.SIGKILL)
            return
        time.sleep(0.02)


def _list_session(session: int) -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                yield Process(int(folder.name), int(fields[1]), (folder / "cmdline").read_text())


_VICTIMS = {"driver": _kill_driver, "group": _kill_group, "executor": _kill_jvm, "worker": _kill_worker}


def list_kills() -> list[Any]:
    """Return process, stage and delay of each kill: the four stages first, then random delays."""
    named = [(victim, point) for point in _POINTS for victim in ("driver", "group")]
    named += [("executor", "scoring"), ("worker", "scoring"), ("executor", "published")]
    kills = [pytest.param(*kill, 0.0, id=f"{kill[0]} killed at {kill[1]}") for kill in named]
    chance = random.Random(20261124)
    for number in range(_RANDOM_KILLS):
        victim, delay = list(_VICTIMS)[number % 4], chance.uniform(0.0, 6.0)
        name = f"{victim} killed {delay:.2f} s after starting Spark"
        kills.append(pytest.param(victim, "starting Spark", delay, id=name))
    return kills


@pytest.fixture(scope="module")
def undisturbed(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the table of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert _run(model, _write_reviews(folder / "in"), folder / "scores", folder) == 0
    table = read_table(folder / "scores")
    assert len(table) == ROWS
    return table


@pytest.mark.promise("F2", "runs whose driver, process group, executor or worker is killed")
@pytest.mark.parametrize(("victim", "point", "delay"), list_kills())
def test_a_killed_run_is_completed_by_the_next_one(
    victim: str, point: str, delay: float, undisturbed, model, score, tmp_path
) -> None:
    reviews, output = _write_reviews(tmp_path / "in"), tmp_path / "scores"
    with _started(model, reviews, output, tmp_path) as job:
        _wait_for(job, point)
        time.sleep(delay)
        _VICTIMS[victim](job.process)
        job.process.wait(_WAIT_SECONDS)
    _check_readable(output, undisturbed)
    ended = score(reviews, output, chunk_rows=CHUNK_ROWS, max_reject_share=0.5)
    assert ended.exit_code == 0, f"the run after it ended in {ended.exit_code}: {ended.error}"
    pd.testing.assert_frame_equal(read_table(output), undisturbed)
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    left += [p.name for p in output.iterdir() if not p.name.startswith("model=")]
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="module")
def finished(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that succeeded."""
    folder = tmp_path_factory.mktemp("finished")
    assert _run(model, _write_reviews(folder / "in"), folder / "scores", folder) == 0
    return folder


@pytest.mark.promise("F3", "runs after success")
@pytest.mark.parametrize(
    "rerun", [pytest.param(1, marks=pytest.mark.quick), 2, 3, 4, 5], ids="rerun {}".format
)
def test_a_rerun_scores_loads_and_changes_nothing(rerun: int, finished: Path, model: TinyModel) -> None:
    before = _snapshot(finished / "scores")
    assert _run(model, finished / "in", finished / "scores", finished) == 0
    summary = json.loads((finished / "summary.json").read_text())
    done = {key: summary[key] for key in ("scored_rows", "rejected_rows", "model_loads", "python_workers")}
    assert not any(done.values()), done
    assert summary["skipped_rows"] == ROWS
    assert _snapshot(finished / "scores") == before


def _write_reviews(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    reviews = make_reviews(ROWS)
    reviews.loc[[3, 150], "text"] = [None, " "]
    for part in range(3):
        reviews.iloc[part::3].to_parquet(folder / f"{part}.parquet", index=False)
    return folder


def _check_readable(output: Path, expected: pd.DataFrame) -> None:
    """Check that right after the kill a reader sees whole batches, of rows of the undisturbed run."""
    if not list(output.glob("*/*/*.parquet")):
        return
    found = read_table(output)
    assert found["review_id"].is_unique
    pd.testing.assert_frame_equal(
        found, expected[expected["review_id"].isin(found["review_id"])].reset_index(drop=True)
    )


def _snapshot(output: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in output.rglob("*") if p.is_file()}
