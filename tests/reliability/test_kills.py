"""Real runs of the job into each store, killed at named points and at random ones, and run again.

The run after a kill is in this process, which spares the start of a JVM per test.
"""

import contextlib
import functools
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

from .places import DELTA, FOLDER, S3, MakePlace, Place, on_every_store

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
def _started(model: TinyModel, reviews: Path, place: Place, folder: Path) -> Iterator[_Job]:
    process = subprocess.Popen(
        [
            *(sys.executable, "jobs/score_reviews.py", "--input", str(reviews), *place.arguments),
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


def _run(model: TinyModel, reviews: Path, place: Place, folder: Path) -> int:
    with _started(model, reviews, place, folder) as job:
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
def undisturbed(
    model: TinyModel, make_place: MakePlace, tmp_path_factory: pytest.TempPathFactory
) -> pd.DataFrame:
    """Return the table of an undisturbed run into a folder; that of the other stores has to be the same."""
    folder = tmp_path_factory.mktemp("undisturbed")
    place = make_place(FOLDER, folder)
    assert _run(model, _write_reviews(folder / "in"), place, folder) == 0
    table = place.read()
    assert len(table) == ROWS
    return table


@pytest.mark.promise("F2", "runs whose driver, process group, executor or worker is killed")
@on_every_store
@pytest.mark.parametrize(("victim", "point", "delay"), list_kills())
def test_a_killed_run_is_completed_by_the_next_one(
    victim: str, point: str, delay: float, undisturbed, model, score, place, tmp_path
) -> None:
    reviews = _write_reviews(tmp_path / "in")
    with _started(model, reviews, place, tmp_path) as job:
        _wait_for(job, point)
        time.sleep(delay)
        _VICTIMS[victim](job.process)
        job.process.wait(_WAIT_SECONDS)
    _check_readable(place, undisturbed)
    ended = score(reviews, place, chunk_rows=CHUNK_ROWS, max_reject_share=0.5)
    assert ended.exit_code == 0, f"the run after it ended in {ended.exit_code}: {ended.error}"
    pd.testing.assert_frame_equal(place.read(), undisturbed)
    assert place.find_damage() == []
    left = place.list_left()
    assert not left, f"left behind: {left}"
    pd.testing.assert_frame_equal(place.read(), undisturbed)


@dataclass(frozen=True)
class Finished:
    """A run that succeeded: its folder, and the place of its store."""

    folder: Path
    place: Place


@pytest.fixture(scope="module")
def make_finished(
    model: TinyModel, make_place: MakePlace, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Finished]:
    """Return a function that runs the job into a place of a kind, once for all of its tests."""

    @functools.cache
    def make(kind: str) -> Finished:
        folder = tmp_path_factory.mktemp("finished")
        finished = Finished(folder, make_place(kind, folder))
        assert _run(model, _write_reviews(folder / "in"), finished.place, folder) == 0
        return finished

    return make


@pytest.mark.promise("F3", "runs after success")
@pytest.mark.parametrize(
    ("kind", "rerun"),
    [
        pytest.param(kind, rerun, marks=[pytest.mark.quick] * ((kind, rerun) == (FOLDER, 1)))
        for kind in (FOLDER, DELTA, S3)
        for rerun in range(1, 6)
    ],
)
def test_a_rerun_scores_loads_and_changes_nothing(
    kind: str, rerun: int, make_finished: Callable[[str], Finished], model: TinyModel
) -> None:
    finished = make_finished(kind)
    before = finished.place.snapshot()
    assert _run(model, finished.folder / "in", finished.place, finished.folder) == 0
    summary = json.loads((finished.folder / "summary.json").read_text())
    done = {key: summary[key] for key in ("scored_rows", "rejected_rows", "model_loads", "python_workers")}
    assert not any(done.values()), done
    assert summary["skipped_rows"] == ROWS
    assert finished.place.snapshot() == before


def _write_reviews(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    reviews = make_reviews(ROWS)
    reviews.loc[[3, 150], "text"] = [None, " "]
    for part in range(3):
        reviews.iloc[part::3].to_parquet(folder / f"{part}.parquet", index=False)
    return folder


def _check_readable(place: Place, expected: pd.DataFrame) -> None:
    """Check that right after the kill a reader sees whole batches, of rows of the undisturbed run."""
    if not place.has_scores():
        return
    found = place.read()
    assert found["review_id"].is_unique
    assert place.find_damage() == []
    pd.testing.assert_frame_equal(
        found, expected[expected["review_id"].isin(found["review_id"])].reset_index(drop=True)
    )
