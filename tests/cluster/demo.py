"""`make cluster-demo`: a table scored here, and on a cluster that loses an executor half-way.

The scores are the same. The cluster's Python has every library but not this package, which comes with the
job as a wheel. Ends in 1 if anything that is claimed at the end does not hold.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from sentiment import schema
from sentiment.cli import make_table
from sentiment.tables.store.scores import load_scores
from tests.factories import ROOT, SHORT_RUNS, make_reviews, make_tiny_model

from .standalone import HOST, Cluster, start_cluster

FOLDER = ROOT / "var" / "cluster-demo"
REVIEWS = FOLDER / "reviews"
ROWS = 3_000
ROWS_PER_TASK = 50
TASKS = ROWS // ROWS_PER_TASK
WORKERS = 2
# Of each worker: two Python processes share the model's files.
CORES = 2
MAX_SECONDS = 600


@dataclass(frozen=True)
class Scored:
    """Hold the rows (id, label, score) of a run in the order of ids, its summary and its seconds."""

    rows: pd.DataFrame
    summary: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Loss:
    """Describe the killed executor: tasks done before, and the state of the cluster at the end."""

    tasks_done: int
    executors: int
    with_model: int


def main() -> int:
    """Run the whole demo, and return the exit code."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    say("Fine-tuning a tiny model")
    FOLDER.mkdir(parents=True)
    os.environ.setdefault("JDK_JAVA_OPTIONS", SHORT_RUNS)
    with (FOLDER / "world.log").open("w") as log, contextlib.redirect_stderr(log):
        os.environ["MLFLOW_TRACKING_URI"] = make_tiny_model(FOLDER / "world").tracking_uri
    write_reviews()
    say(f"Scoring {ROWS:,} reviews here")
    local = score("local", ())
    say("Building the wheel, and a Python for the cluster that lacks the package")
    wheel, node_python = build_wheel(FOLDER), make_node_python(FOLDER / "node-python")
    say(f"Starting a master and {WORKERS} workers")
    with start_cluster(FOLDER / "spark", WORKERS, CORES, "2g") as cluster:
        say(f"Scoring the same reviews at {cluster.url}")
        clustered, loss = score_and_kill(cluster, list_cluster_options(cluster, wheel, node_python))
    show(local, clustered, loss)
    broken = [claim for claim, holds in list_claims(local, clustered, loss).items() if not holds]
    for claim in broken:
        print(f"error: it does not hold that {claim}", file=sys.stderr)
    return int(bool(broken))


def write_reviews() -> None:
    """Write the table as four files."""
    REVIEWS.mkdir()
    reviews = make_reviews(ROWS)[["review_id", "text"]]
    for number in range(4):
        reviews.iloc[number::4].to_parquet(REVIEWS / f"{number}.parquet", index=False)


def build_wheel(folder: Path) -> Path:
    """Build the package as a wheel, from a copy, because setuptools writes into the source folder."""
    source = folder / "source"
    shutil.copytree(ROOT / "sentiment", source / "sentiment", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps")
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", folder, source], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def make_node_python(folder: Path) -> Path:
    """Make a Python with the libraries of this one, but without the package; raise if it has the package.

    It finds the libraries by a path in a .pth file. Other .pth files in that path, such as that of the
    editable install of the package, have no effect.
    """
    venv.create(folder, symlinks=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    (site_packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    python = folder / "bin" / "python"
    probe = "import importlib.util as u; print(u.find_spec('pyspark') is not None, u.find_spec('sentiment'))"
    found = subprocess.run([python, "-c", probe], cwd=folder, capture_output=True, text=True, check=True)
    if found.stdout.strip() != "True None":
        raise RuntimeError(f"{python}: expected pyspark and no package sentiment, found {found.stdout}")
    return python


def list_cluster_options(cluster: Cluster, wheel: Path, node_python: Path) -> list[str]:
    """Return the options of `spark-submit` for the cluster."""
    settings = {
        "spark.pyspark.python": node_python,
        "spark.executor.cores": CORES,
        "spark.executor.memory": "1g",
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.ui.enabled": "false",
    }
    told = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    return ["--master", cluster.url, "--py-files", str(wheel), *told]


def score(name: str, options: Sequence[str]) -> Scored:
    """Score with `spark-submit` and its `options`. Raises RuntimeError if it fails."""
    started = time.monotonic()
    with _submit(name, options) as job:
        return _finish(name, job, started)


def score_and_kill(cluster: Cluster, options: Sequence[str]) -> tuple[Scored, Loss]:
    """Score on the cluster, and kill one executor when half of the tasks are done."""
    started = time.monotonic()
    with _submit("cluster", options) as job:
        done = _wait_for_half(job)
        victim = cluster.list_executors()[0]
        os.kill(victim, signal.SIGKILL)
        say(f"Killed executor process {victim}, {done} of {TASKS} tasks done")
        scored = _finish("cluster", job, started)
    folders = cluster.list_executor_folders()
    with_model = sum(any(folder.glob("model-*")) for folder in folders)
    return scored, Loss(done, len(folders), with_model)


def list_claims(local: Scored, clustered: Scored, loss: Loss) -> dict[str, bool]:
    """Return the claims of the demo, and if each of them is true."""
    summary = clustered.summary
    return {
        "every review was scored": len(local.rows) == len(clustered.rows) == ROWS,
        "ids, labels and scores are equal": local.rows.equals(clustered.rows),
        "the executor was killed in the midst of the scoring": 0 < loss.tasks_done < TASKS,
        "another one took its place": loss.executors > WORKERS,
        "Spark brought the model to each executor": WORKERS <= loss.with_model <= loss.executors,
        "each Python worker loaded it at most once": summary["model_loads"] <= summary["python_workers"],
        "workers shared the files of their executor": loss.with_model < summary["model_loads"],
    }


def show(local: Scored, clustered: Scored, loss: Loss) -> None:
    """Return a table that compares the two runs."""
    here, there = local.summary, clustered.summary
    rows = [
        ("rows scored", f"{len(local.rows):,}", f"{len(clustered.rows):,}"),
        ("ids, labels, scores", "", "equal" if local.rows.equals(clustered.rows) else "NOT EQUAL"),
        ("executors started", "-", f"{loss.executors}"),
        ("executors killed", "-", f"1, after {loss.tasks_done} of {TASKS} tasks"),
        ("executors with the model", "-", f"{loss.with_model}"),
        ("model loads", f"{here['model_loads']}", f"{there['model_loads']}"),
        ("Python workers", f"{here['python_workers']}", f"{there['python_workers']}"),
        ("package from", "repository", "wheel"),
        ("seconds", f"{local.seconds:.0f}", f"{clustered.seconds:.0f}"),
    ]
    Console(width=None if sys.stdout.isatty() else 110, highlight=False).print(
        make_table("One job, one machine or a cluster", ("", "local", "cluster"), rows)
    )


def say(line: str) -> None:
    """Print the next step."""
    print(f"== {line}", flush=True)


@contextlib.contextmanager
def _submit(name: str, options: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run the job as a process, and stop it if it still runs at the end of the block."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYSPARK_")}
    # spark-submit starts the driver with the first python3 on PATH.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    job = ("jobs/score_reviews.py", "--input", REVIEWS, "--output", FOLDER / name)
    values = ("--rows_per_task", str(ROWS_PER_TASK), "--summary", FOLDER / f"{name}.json")
    with (FOLDER / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("spark-submit"), *options, *job, *values],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def _wait_for_half(job: "subprocess.Popen[str]") -> int:
    """Wait until half of the tasks are done, by the folders of Spark's committer, and return their number."""
    staging = FOLDER / ".cluster.staging"
    deadline = time.monotonic() + MAX_SECONDS
    while job.poll() is None and time.monotonic() < deadline:
        done = len(list(staging.glob("*/chunk-*/_raw/_temporary/0/task_*")))
        if done >= TASKS // 2:
            return done
        time.sleep(0.02)
    raise RuntimeError(f"the job ended before an executor was killed; see {FOLDER / 'cluster.log'}")


def _finish(name: str, job: "subprocess.Popen[str]", started: float) -> Scored:
    code = job.wait(MAX_SECONDS)
    if code != 0:
        raise RuntimeError(f"{name}: spark-submit ended in {code}; see {FOLDER / f'{name}.log'}")
    rows = load_scores(str(FOLDER / name))[["review_id", schema.LABEL, schema.SCORE]]
    summary = json.loads((FOLDER / f"{name}.json").read_text())
    return Scored(rows.sort_values("review_id", ignore_index=True), summary, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
