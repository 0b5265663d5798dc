"""F2 and F3: real runs of the job, killed at named points and at random ones, and run again.

After a kill the run is in this process, on the session of the matrix: it spares the start of a JVM a case.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests.conftest import ROOT, make_reviews
from tests.matrix import Case

from .cells import World
from .increments import score

ROWS = 240
CHUNK_ROWS = 150
_POINTS = ("checking input", "starting Spark", "scoring", "publishing")
"""The job's own words for where it is."""
_RANDOM_KILLS = 13
_WAIT_SECONDS = 240


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str


def list_cases() -> list[Case]:
    """F2: the four points for driver and process group, executor and worker while scoring, random ones."""
    victims = {"driver": _kill_driver, "group": _kill_group, "executor": _kill_jvm, "worker": _kill_worker}
    named = [(point, victim) for point in _POINTS for victim in ("driver", "group")]
    named += [("scoring", "executor"), ("scoring", "worker"), ("publishing", "executor")]
    cases = [
        Case(f"{victim} killed at {point}", _make_check(point, 0.0, victims[victim]))
        for point, victim in named
    ]
    chance = random.Random(20261124)
    for number in range(_RANDOM_KILLS):
        victim = ("driver", "group", "executor", "worker")[number % 4]
        delay = chance.uniform(0.0, 6.0)
        name = f"{victim} killed {delay:.2f} s after starting Spark"
        cases.append(Case(name, _make_check("starting Spark", delay, victims[victim])))
    return cases


def list_reruns() -> list[Case]:
    """F3: runs after success, which score nothing, load nothing and change nothing."""
    return [Case(f"rerun {number}", _check_rerun, is_quick=number == 1) for number in range(1, 6)]


def _make_check(point: str, delay: float, kill):  # type: ignore[no-untyped-def]
    def check(world: World, folder: Path) -> None:
        expected = _expected(world, folder)
        reviews = _write_reviews(folder / "in")
        with _started(world, reviews, folder / "scores", folder) as job:
            _wait_for(job, point)
            time.sleep(delay)
            kill(job.process)
            job.process.wait(_WAIT_SECONDS)
        _check_readable(folder / "scores", expected)
        ended = score(world, reviews, folder / "scores", chunk_rows=CHUNK_ROWS, max_reject_share=0.5)
        assert ended.exit_code == 0, f"the run after it ended in {ended.exit_code}: {ended.error}"
        found = _read(folder / "scores")
        pd.testing.assert_frame_equal(found, expected)
        _check_clean(folder)

    return check


def _check_rerun(world: World, folder: Path) -> None:
    if "done" not in world.kept:
        home = folder.parent / "done-once"
        reviews = _write_reviews(home / "in")
        assert _run(world, reviews, home / "scores", home) == 0
        world.kept["done"] = (home, reviews)
    home, reviews = world.kept["done"]
    before = _snapshot(home / "scores")
    assert _run(world, reviews, home / "scores", home) == 0
    summary = json.loads((home / "summary.json").read_text())
    done = {key: summary[key] for key in ("scored_rows", "rejected_rows", "model_loads", "python_workers")}
    assert not any(done.values()), done
    assert summary["skipped_rows"] == ROWS
    assert _snapshot(home / "scores") == before


class _Job:
    """A started run and the stages that it has reported."""

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
        """Wait until all that it has said is read."""
        self._reader.join(_WAIT_SECONDS)


@contextlib.contextmanager
def _started(world: World, reviews: Path, output: Path, folder: Path) -> Iterator[_Job]:
    process = subprocess.Popen(
        [
            *(sys.executable, "jobs/score_reviews.py", "--input", str(reviews), "--output", str(output)),
            *("--model_uri", world.model_uri, "--chunk_rows", str(CHUNK_ROWS)),
            *("--max_reject_share", "0.5", "--summary", str(folder / "summary.json")),
        ],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": world.tracking_uri},
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


def _run(world: World, reviews: Path, output: Path, folder: Path) -> int:
    with _started(world, reviews, output, folder) as job:
        return job.process.wait(_WAIT_SECONDS)


def _wait_for(job: _Job, point: str) -> None:
    """Until the job says that it is there; a short stage may be over by then, which is as good a moment."""
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
    """In local mode the executor lives in the JVM."""
    _kill_first(process, lambda found, _: "java" in found.command.split("\0")[0])


def _kill_worker(process: "subprocess.Popen[str]") -> None:
    def is_worker(found: Process, by_pid: dict[int, Process]) -> bool:
        parent = by_pid.get(found.parent)
        return "daemon" in found.command and parent is not None and "daemon" in parent.command

    _kill_first(process, is_worker)


def _kill_first(process: "subprocess.Popen[str]", is_victim) -> None:  # type: ignore[no-untyped-def]
    """Kill the first such process of the job's session; if none comes up before the job ends, none."""
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


def _write_reviews(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    reviews = make_reviews(ROWS)
    reviews.loc[[3, 150], "text"] = [None, " "]
    for part in range(3):
        reviews.iloc[part::3].to_parquet(folder / f"{part}.parquet", index=False)
    return folder


def _expected(world: World, folder: Path) -> pd.DataFrame:
    """The table of an undisturbed run."""
    if "undisturbed" not in world.kept:
        home = folder / "undisturbed"
        assert _run(world, _write_reviews(home / "in"), home / "scores", home) == 0
        world.kept["undisturbed"] = _read(home / "scores")
        assert len(world.kept["undisturbed"]) == ROWS
    frame: pd.DataFrame = world.kept["undisturbed"]
    return frame


def _read(output: Path) -> pd.DataFrame:
    """Scores and rejects, one row a review."""
    scored = pd.read_parquet(output)[["review_id", "label", "score"]].assign(reject_reason=None)
    rejected = [pd.read_parquet(folder) for folder in sorted(output.glob("*/*/_rejected"))]
    frames = [scored, *(frame[["review_id", "reject_reason"]] for frame in rejected)]
    records = [record for frame in frames for record in frame.to_dict("records")]
    table = pd.DataFrame(records, columns=["review_id", "label", "score", "reject_reason"], dtype=object)
    return table.sort_values("review_id").reset_index(drop=True)


def _check_readable(output: Path, expected: pd.DataFrame) -> None:
    """Right after the kill a reader sees whole batches, of rows that the undisturbed run has too."""
    if not list(output.glob("*/*/*.parquet")):
        return
    found = _read(output)
    assert found["review_id"].is_unique
    pd.testing.assert_frame_equal(
        found, expected[expected["review_id"].isin(found["review_id"])].reset_index(drop=True)
    )


def _check_clean(folder: Path) -> None:
    left = [p.name for p in folder.iterdir() if p.name.startswith(".")]
    left += [p.name for p in (folder / "scores").iterdir() if not p.name.startswith("model=")]
    assert not left, f"left behind: {left}"


def _snapshot(output: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in output.rglob("*") if p.is_file()}
