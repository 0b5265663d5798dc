"""Score Arrow batches in a Spark Python worker, with a model that is loaded once per process."""

import hashlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark import Accumulator, AccumulatorParam, SparkFiles, TaskContext
from pyspark.sql import SparkSession

from ..evaluation.text_figures import TEXT_FIGURES, describe_texts
from ..models import copies
from ..models.integrity import dump_record, make_record
from ..models.loading import LoadedModel, load_checked, silence_engine_warning
from ..models.predictions import predict_each
from ..models.registry import ModelReference
from . import session
from .columns import IS_REPEATED

# Columns, and their types in Spark, that a worker adds for the job's counts and the batch's profile.
JOB_TYPES = {IS_REPEATED: "boolean", **dict.fromkeys(TEXT_FIGURES, "float")}

# The model of this process. Only the last one is kept: a worker outlives a run, and models are large.
_loaded: dict[tuple[str, str], LoadedModel] = {}
_n_loads = 0


@dataclass(frozen=True)
class WorkerEngine:
    """Describe what scores in a worker process.

    `warning` is why a faster engine does not run there, None if the intended one does.
    """

    process: str
    engine: str
    instruction_set: str
    warning: str | None


@dataclass(frozen=True)
class ModelLoad:
    """Describe a model loaded by a worker; `load_id` is unique.

    `seconds` is the time that loading took. The process may be older: Spark lets a worker that has read rows
    score them too.
    """

    process: str
    load_id: str
    seconds: float


class _Sum(AccumulatorParam[int]):
    def zero(self, value: int) -> int:
        return 0

    def addInPlace(self, value1: int, value2: int) -> int:  # noqa: N802 Spark's name
        return value1 + value2


class _Set(AccumulatorParam[frozenset[Any]]):
    def zero(self, value: frozenset[Any]) -> frozenset[Any]:
        return frozenset()

    def addInPlace(  # noqa: N802 Spark's name
        self, value1: frozenset[Any], value2: frozenset[Any]
    ) -> frozenset[Any]:
        return value1 | value2


class WorkerCensus:
    """Collect, over all executors, the worker processes that scored and the models that they loaded.

    The accumulators are sets, so that a worker counts once, however many tasks it runs. Needs classic Spark.
    """

    def __init__(self, spark: SparkSession) -> None:
        context = session.find_context(spark)
        self._rows: Accumulator[int] = context.accumulator(0, _Sum())
        self._workers: Accumulator[frozenset[WorkerEngine]] = context.accumulator(frozenset(), _Set())
        self._loads: Accumulator[frozenset[ModelLoad]] = context.accumulator(frozenset(), _Set())

    def note_worker(self, model: LoadedModel) -> None:
        """Note, in a worker and for each task, what scores there."""
        worker = WorkerEngine(_process_name(), model.engine, model.instruction_set, model.engine_warning)
        self._workers.add(frozenset({worker}))

    def note_load(self, seconds: float) -> None:
        """Count a model that this worker has loaded."""
        self._loads.add(frozenset({ModelLoad(_process_name(), str(uuid.uuid4()), seconds)}))

    def note_rows(self, n_rows: int) -> None:
        """Count rows that passed through the model; Spark adds them up when the task ends."""
        self._rows.add(n_rows)

    @property
    def rows(self) -> int:
        """Return the rows of all finished tasks; those of a repeated task count twice."""
        return self._rows.value

    @property
    def workers(self) -> frozenset[WorkerEngine]:
        return self._workers.value

    @property
    def loads(self) -> frozenset[ModelLoad]:
        return self._loads.value


@dataclass(frozen=True)
class SharedModel:
    """Describe the model that workers load.

    `digest` is of all its files. `place` is its folder, or the name under which Spark unpacks it in each
    executor. `options` are the model's own (`loading.load_model`) and the threads of a task.
    `prediction_types` are the columns of its predictions and their types in Spark.
    """

    digest: str
    place: str
    options: Mapping[str, Any]
    prediction_types: Mapping[str, str]

    def name_struct(self, is_job: bool) -> str:
        """Return the type of a prediction for a UDF, for the job with JOB_TYPES."""
        columns = {**self.prediction_types, **(JOB_TYPES if is_job else {})}
        return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def share_model(
    spark: SparkSession,
    model: ModelReference,
    options: Mapping[str, Any],
    prediction_types: Mapping[str, str],
) -> SharedModel:
    """Make the verified files of a model available to all workers.

    Workers of this machine read the driver's private copy. Spark brings a copy to each executor of a cluster,
    and to the server of a Connect session.
    """
    record = model.files or make_record(model.folder)
    digest = hashlib.sha256(dump_record(record).encode()).hexdigest()
    options = {**options, **session.find_resources(spark)}
    if session.is_on_this_machine(spark):
        return SharedModel(digest, str(model.folder), options, prediction_types)
    name = f"model-{digest[:16]}"
    session.ship_archive(spark, copies.pack(model.folder), name)
    return SharedModel(digest, name, options, prediction_types)


def make_scorer(
    model: SharedModel, census: WorkerCensus | None = None
) -> Callable[[Iterator[pd.Series]], Iterator[pd.DataFrame]]:
    """Make the function of the iterator pandas UDF: batches of texts in, batches of predictions out.

    One row per text, in order, with the columns of `prediction_types`, and JOB_TYPES if there is a census.
    Nulls are rejects, and so is a text that the model fails on. Equal texts of a batch are scored once.
    """

    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        loaded = _load_once(model, census)
        for texts in batches:
            yield _predict(loaded, texts.tolist(), list(model.prediction_types), census is not None)
            if census is not None:
                census.note_rows(len(texts))

    return score


def _predict(
    loaded: LoadedModel, texts: Sequence[str | None], columns: list[str], is_job: bool
) -> pd.DataFrame:
    places: dict[str | None, int] = {}
    rows = [places.setdefault(text, len(places)) for text in texts]
    found = predict_each(loaded, list(places))[columns]
    if is_job:
        found = pd.concat([found, describe_texts(list(places))], axis=1)
    found = found.iloc[rows].reset_index(drop=True)
    return found.assign(**{IS_REPEATED: pd.Series(rows).duplicated()}) if is_job else found


def _load_once(model: SharedModel, census: WorkerCensus | None) -> LoadedModel:
    """Return the model of this process; load it if it is not there yet.

    Keep it at module level: Spark pickles what a UDF closes over for every task, so a cache in the closure
    would always be new.
    """
    global _n_loads
    options = {"device": _find_device(), **model.options}
    key = (model.digest, repr(sorted(options.items())))
    if key not in _loaded:
        started = time.monotonic()
        # Spark starts a worker per core; a tokenizer that takes every core slows the others.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        _loaded.clear()
        silence_engine_warning()  # the driver reports it, once for all workers
        _n_loads += 1
        _loaded[key] = load_checked(_find_folder(model.place), options)
        if census is not None:
            census.note_load(time.monotonic() - started)
    if census is not None:
        census.note_worker(_loaded[key])
    return _loaded[key]


def count_loads() -> int:
    """Return how many models this process has loaded."""
    return _n_loads


def _find_folder(place: str) -> Path:
    folder = Path(place)
    # On a cluster, the folder that Spark keeps for files in an executor is a relative path.
    return folder if folder.is_absolute() else Path(SparkFiles.getRootDirectory()).resolve() / folder


def _find_device() -> str:
    """Return the GPU that Spark gave to this task, as torch names it, or `cpu`.

    A GPU that Spark does not schedule is not used: each worker would take all of it.
    """
    task = TaskContext.get()
    gpu = task.resources().get("gpu") if task is not None else None
    return f"cuda:{gpu.addresses[0]}" if gpu is not None else "cpu"


def _process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
