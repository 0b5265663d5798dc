"""Run this project as a contender: as the Spark job, and as a simple loop with the same model."""

import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import CORES
from ..measuring.corpus import Table
from ..measuring.hosting import Hosted, Open, limit_cores
from ..measuring.packaged import load_model, package

# Spark ends a Python worker, with its model, after an idle minute.
IDLE_SECONDS = 30.0

# Scores all reviews of a table once, and returns the seconds without the start.
Pass = Callable[[Table], float]


@dataclass(frozen=True)
class Trial:
    """Hold the input of a contender: `few` reviews to warm up, `cache` for files made from the encoder."""

    encoder: Path
    cache: Path
    few: Table

    def host(self, name: str, open_contender: Open, *options: str) -> Hosted:
        """Return the contender in a separate process that is not started yet."""
        return Hosted(name, self.cache / "logs" / f"{name}.log", open_contender, self, *options)


def measure_rate(contender: Hosted, table: Table) -> float:
    """Return the reviews per second of one pass, without the start."""
    return table.rows / float(contender.ask(table))


@contextmanager
def open_spark(trial: Trial, cascade: str = "off") -> Iterator[Pass]:
    """Run the Spark job in one session. A pass takes as long as the job reports for scoring and writing.

    The first run, over a few reviews, is part of the start. Its summary is kept in the cache, and so are the
    summary and the task seconds of the last pass.
    """
    from sentiment.config import ScoreConfig
    from sentiment.models import registry
    from sentiment.tables.runs import run_scoring
    from sentiment.tables.session import build_session
    from sentiment.tables.store.opening import open_store

    registry.use_tracking(trial.cache)
    limit_cores(CORES)
    model = package(trial.encoder, trial.cache)
    spark = build_session("bench")
    last_end = float("-inf")

    def run(reviews: Table, name: str) -> float:
        stages_before = len(_list_stages(spark))
        with tempfile.TemporaryDirectory(dir=trial.cache) as output:
            config = ScoreConfig(
                input=str(reviews.path),
                output=f"{output}/scores",
                model_uri=str(model),
                cascade=cascade,  # type: ignore[arg-type]
                allow_unverified=True,  # a folder has no record
            )
            with open_store(config.output) as store:
                now = datetime.now(UTC)
                summary = run_scoring(config, store, lambda: spark, now, lambda *_: None)
            # The files are removed unread: reading a million scores here would need memory of the driver.
            shutil.rmtree(trial.cache / name, ignore_errors=True)
            shutil.copytree(config.output, trial.cache / name)
        report = summary.as_dict() | {"task_seconds": _read_task_seconds(spark, stages_before)}
        (trial.cache / f"{name}.json").write_text(json.dumps(report))
        return summary.input_rows / summary.rows_per_second

    def run_pass(reviews: Table) -> float:
        nonlocal last_end
        if time.perf_counter() - last_end > IDLE_SECONDS:
            run(trial.few, "touch")
        seconds = run(reviews, f"ours-{cascade}")
        last_end = time.perf_counter()
        return seconds

    try:
        run(trial.few, "start")
        last_end = time.perf_counter()
        yield run_pass
    finally:
        spark.stop()


@contextmanager
def open_loop(trial: Trial) -> Iterator[Pass]:
    """Run the same model in one process per core, each scoring an equal share of the texts in one call."""
    model = package(trial.encoder, trial.cache)
    limit_cores(CORES)
    context = multiprocessing.get_context("spawn")
    loaded = context.Barrier(CORES + 1, timeout=300)
    with context.Pool(CORES, initializer=_load, initargs=(model, loaded)) as pool:
        loaded.wait()

        def run_pass(reviews: Table) -> float:
            texts = reviews.load_texts()
            start = time.perf_counter()
            pool.map(_predict, [texts[i::CORES] for i in range(CORES)], chunksize=1)
            return time.perf_counter() - start

        yield run_pass


def read_summary(trial: Trial, name: str) -> Any:
    """Return the summary of the start of the Spark job, or of its last pass."""
    return json.loads((trial.cache / f"{name}.json").read_text())


def _list_stages(spark: Any) -> list[Any]:
    """Return Spark's records of the stages of this session, in order."""
    store = spark.sparkContext._jsc.sc().statusStore()
    no_quantiles = spark.sparkContext._gateway.new_array(spark._jvm.double, 0)
    stages = store.stageList(None, False, False, no_quantiles, None)
    return sorted((stages.apply(i) for i in range(stages.size())), key=lambda stage: stage.stageId())


def _read_task_seconds(spark: Any, after: int) -> list[float]:
    """Return the seconds per task, in order of ends, of the longest stage after the first `after` stages."""
    longest = max(_list_stages(spark)[after:], key=lambda stage: stage.executorRunTime())
    store = spark.sparkContext._jsc.sc().statusStore()
    tasks = store.taskList(longest.stageId(), longest.attemptId(), 100_000)
    ended = []
    for i in range(tasks.size()):
        task = tasks.apply(i)
        if task.duration().isDefined():
            seconds = task.duration().get() / 1000
            ended.append((task.launchTime().getTime() / 1000 + seconds, seconds))
    return [seconds for _, seconds in sorted(ended)]


# Set in each process of the pool.
_model: Any = None


def _load(model: Path, loaded: Any) -> None:
    global _model
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _model = load_model(model, threads=1, cascade="off")
    _model.predict_columns(["The first review warms it up."])
    loaded.wait()


def _predict(texts: list[str]) -> Any:
    return _model.predict_columns(texts)
