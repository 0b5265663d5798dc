"""This project as a contender: the Spark job, and a bare loop over the same texts with the same model."""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing.pool import Pool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .corpus import ROOT, load_texts
from .preparation import keep, run_apart
from .spark_peers import IDLE_SECONDS
from .trials import Pass, Trial

TOUCH_ROWS = 16

_model: Any = None
"""Of a pool's process."""


def package(encoder: Path, cache: Path) -> Path:
    """The encoder as this project's MLflow model: the one it lies in, or one made of it, int8 and ungated.

    Random weights would fail the gate, whose bounds are meant for tuned ones; the work is the same.
    """
    if (encoder.parents[1] / "MLmodel").exists():
        return encoder.parents[1]
    return (
        keep(cache, "ours", encoder, lambda target: run_apart(_package, encoder, target), _digest_code())
        / "model"
    )


@contextmanager
def open_spark(trial: Trial) -> Iterator[Pass]:
    """The Spark job, every review by the encoder."""
    with _open_job(trial, cascade="off") as run_pass:
        yield run_pass


@contextmanager
def open_spark_cascade(trial: Trial) -> Iterator[Pass]:
    """The Spark job, with the model's cascade."""
    with _open_job(trial, cascade="auto") as run_pass:
        yield run_pass


@contextmanager
def open_loop(trial: Trial) -> Iterator[Pass]:
    """The same model in one process a core, which scores an even share of the texts at one go."""
    from sentiment import registry

    registry.use_tracking(trial.cache)
    model = registry.resolve_model(str(package(trial.encoder, trial.cache)))
    texts = trial.load_texts()
    _limit_cores(trial.cores)
    context = multiprocessing.get_context("spawn")
    loaded = context.Barrier(trial.cores + 1, timeout=300)
    with context.Pool(trial.cores, initializer=_load, initargs=(model, loaded)) as pool:
        loaded.wait()

        def run_pass() -> float:
            start = time.perf_counter()
            _predict_evenly(pool, texts, trial.cores)
            return time.perf_counter() - start

        yield run_pass


@contextmanager
def _open_job(trial: Trial, cascade: str) -> Iterator[Pass]:
    """`run_scoring` in one session. A pass takes as long as the job says that scoring and writing took.

    The first run, over a few reviews, belongs to the start and leaves its summary in the cache, the last
    pass its own and the seconds of its tasks.
    """
    from sentiment import registry
    from sentiment.config import ScoreConfig
    from sentiment.tables.runs import run_scoring
    from sentiment.tables.session import build_session
    from sentiment.tables.store import open_store

    registry.use_tracking(trial.cache)
    _limit_cores(trial.cores)
    model = package(trial.encoder, trial.cache)
    spark = build_session("bench")
    few = _write_few(trial)
    last_end = float("-inf")

    def run(reviews: Path, name: str) -> float:
        stages_before = len(list_stages(spark))
        with tempfile.TemporaryDirectory(dir=trial.cache) as output:
            config = ScoreConfig(
                input=str(reviews),
                output=f"{output}/scores",
                model_uri=str(model),
                cascade=cascade,
                allow_unverified=True,  # a folder has no record
            )
            with open_store(config.output) as store:
                now = datetime.now(timezone.utc)
                summary = run_scoring(config, store, lambda: spark, now, lambda *_: None)
            # Its files, as they are: to read a million scores here would be the driver's memory.
            shutil.rmtree(trial.cache / name, ignore_errors=True)
            shutil.copytree(config.output, trial.cache / name)
        report = summary.as_dict() | {"task_seconds": read_task_seconds(spark, stages_before)}
        (trial.cache / f"{name}.json").write_text(json.dumps(report))
        return summary.input_rows / summary.rows_per_second

    def run_pass() -> float:
        nonlocal last_end
        if time.perf_counter() - last_end > IDLE_SECONDS:
            run(few, "touch")
        seconds = run(trial.reviews, f"ours-{cascade}")
        last_end = time.perf_counter()
        return seconds

    try:
        run(few, "start")
        last_end = time.perf_counter()
        yield run_pass
    finally:
        spark.stop()


def list_stages(spark: Any) -> list[Any]:
    """Spark's records of the stages of this session, in their order."""
    store = spark.sparkContext._jsc.sc().statusStore()
    no_quantiles = spark.sparkContext._gateway.new_array(spark._jvm.double, 0)
    stages = store.stageList(None, False, False, no_quantiles, None)
    return sorted((stages.apply(i) for i in range(stages.size())), key=lambda stage: stage.stageId())


def read_task_seconds(spark: Any, after: int) -> list[float]:
    """Seconds of each task of the longest stage behind the first `after`, in the order of their ends."""
    longest = max(list_stages(spark)[after:], key=lambda stage: stage.executorRunTime())
    store = spark.sparkContext._jsc.sc().statusStore()
    tasks = store.taskList(longest.stageId(), longest.attemptId(), 100_000)
    ended = []
    for i in range(tasks.size()):
        task = tasks.apply(i)
        if task.duration().isDefined():
            seconds = task.duration().get() / 1000
            ended.append((task.launchTime().getTime() / 1000 + seconds, seconds))
    return [seconds for _, seconds in sorted(ended)]


def _write_few(trial: Trial) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    few = trial.cache / "few.parquet"
    first = trial.reviews if trial.reviews.is_file() else next(iter(sorted(trial.reviews.glob("*.parquet"))))
    # Not the whole table: what it takes to read that would be the driver's memory.
    rows = next(pq.ParquetFile(first).iter_batches(TOUCH_ROWS))
    pq.write_table(pa.Table.from_batches([rows]), few)
    return few


def _limit_cores(cores: int) -> None:
    """This process and what it starts, the JVM with its `local[*]` too, see so many cores."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))


def _load(model: Any, loaded: Any) -> None:
    global _model
    from sentiment import loading

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    options = {"threads": 1, "cascade": "off", "device": "cpu"}
    _model = loading.load_model(model, options, allow_unverified=True)  # a folder has no record
    _model.predict_columns(["The first review warms it up."])
    loaded.wait()


def _predict(texts: list[str]) -> Any:
    return _model.predict_columns(texts)


def _predict_evenly(pool: Pool, texts: list[str], parts: int) -> list[Any]:
    return pool.map(_predict, [texts[i::parts] for i in range(parts)], chunksize=1)


def _digest_code() -> str:
    """Of the inference code, which the model carries, and of what makes its graphs."""
    digest = hashlib.sha256()
    package = ROOT / "sentiment"
    for file in (*sorted((package / "inference").glob("*.py")), package / "training" / "export.py"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _package(encoder: Path, target: Path) -> None:
    """Write the MLflow model to `target`."""
    from transformers import AutoConfig

    from sentiment import registry
    from sentiment.config import FinetuneConfig
    from sentiment.inference.graph import INT8_STATIC
    from sentiment.inference.settings import Settings, save_settings
    from sentiment.inference.tokenization import Tokenizer
    from sentiment.training.export import export_graph, export_static_graph
    from sentiment.training.packaging import log_model

    target.mkdir(parents=True, exist_ok=True)
    # A model of random weights has no business in whatever registry is preset.
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{target / 'mlflow.db'}"
    registry.use_tracking(target)
    registry.open_experiment("bench")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "encoder"
        shutil.copytree(encoder, folder)
        config = AutoConfig.from_pretrained(encoder)
        settings = Settings(INT8_STATIC, "random weights", config.pad_token_id or 0, config.hidden_size)
        save_settings(settings, folder)
        export_graph(folder)
        export_static_graph(folder, Tokenizer(folder, max_length=512).encode(load_texts()[:100]).ids)
        named = SimpleNamespace(name=encoder.name, licence="unknown")
        with registry.import_mlflow().start_run():
            logged = log_model(folder, named, FinetuneConfig(max_length=512), "text")  # type: ignore[arg-type]
        shutil.copytree(registry.resolve_model(logged.registered_uri).folder, target / "model")
        shutil.rmtree(target / "artifacts", ignore_errors=True)
