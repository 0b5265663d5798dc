"""What runs in a Spark Python worker: the model, loaded once a process, applied to Arrow batches."""

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark import Accumulator, AccumulatorParam, SparkContext, SparkFiles, TaskContext

from .. import schema
from ..errors import ModelError
from ..registry import LoadedModel, fetch_model, load_model, name_engine, predict

PREDICTION_TYPE = ", ".join(f"{name} {kind}" for name, kind in schema.PREDICTION_TYPES.items())

_MAX_FAILING = 10
"""Texts of an Arrow batch on which a model may fail before it is the model that is broken."""

_loaded: dict[tuple[str, str], LoadedModel] = {}
"""The model of this process. Only the last one is kept: a worker outlives a run, and models are large."""


@dataclass(frozen=True)
class ModelLoad:
    """A model loaded by a worker: seconds from the start of that process until it could score, if known."""

    process: str
    number: str
    engine: str
    start_seconds: float | None


@dataclass(frozen=True)
class FetchFrom:
    """A model in the registry, for nodes that do not have its files."""

    uri: str
    tracking_uri: str
    model_id: str


class _Set(AccumulatorParam[frozenset[Any]]):
    def zero(self, value: frozenset[Any]) -> frozenset[Any]:
        return frozenset()

    def addInPlace(  # noqa: N802 Spark's name
        self, value1: frozenset[Any], value2: frozenset[Any]
    ) -> frozenset[Any]:
        return value1 | value2


class WorkerCensus:
    """Knows, over all executors, the worker processes that scored and the models they loaded.

    Sets, so that a task that runs twice counts once.
    """

    def __init__(self, context: SparkContext) -> None:
        self._workers: Accumulator[frozenset[str]] = context.accumulator(frozenset(), _Set())
        self._loads: Accumulator[frozenset[ModelLoad]] = context.accumulator(frozenset(), _Set())
        self._fetches: Accumulator[frozenset[str]] = context.accumulator(frozenset(), _Set())

    def note_worker(self) -> None:
        """Called in a worker for each task."""
        self._workers.add(frozenset({_process_name()}))

    def note_load(self, engine: str) -> None:
        """Called in a worker for each model loaded."""
        load = ModelLoad(_process_name(), str(uuid.uuid4()), engine, _seconds_since_process_start())
        self._loads.add(frozenset({load}))

    def note_fetch(self) -> None:
        """Called in the worker that fetched the model for its executor."""
        self._fetches.add(frozenset({str(uuid.uuid4())}))

    @property
    def fetches(self) -> int:
        return len(self._fetches.value)

    @property
    def workers(self) -> int:
        return len(self._workers.value)

    @property
    def loads(self) -> frozenset[ModelLoad]:
        return self._loads.value


@dataclass(frozen=True)
class ModelPlace:
    """Where a worker finds the model: its folder, if that is on every node, else its URI in the registry."""

    folder: str
    fetch_from: FetchFrom | None = None


def make_scorer(
    place: ModelPlace, options: Mapping[str, Any], census: WorkerCensus
) -> Callable[[Iterator[pd.Series]], Iterator[pd.DataFrame]]:
    """The function of the iterator pandas UDF: batches of `text` in, batches of predictions out.

    One row per text, in order, with `PREDICTION_TYPE`'s columns; nulls are rejects, and so is a text that
    the model fails on. `options` are the model's own (`registry.load_model`).
    """

    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        model = _load_once(place, options, census)
        for texts in batches:
            yield predict_each(model, texts)

    return score


def predict_each(model: LoadedModel, texts: "pd.Series[Any]") -> pd.DataFrame:
    """`registry.predict`, and where the model fails on some of the texts these are rejects, found by halves.

    Raises ModelError if it fails on more than `_MAX_FAILING` of them: then it is not the texts.
    """
    try:
        return predict(model, texts)
    except ModelError as error:
        if len(texts) == 1:
            return _reject_failing(texts)
        found = _predict_halves(model, texts)
        n_failing = int((found[schema.REJECT_REASON] == schema.MODEL_FAILED).sum())
        if n_failing > min(_MAX_FAILING, len(texts) // 2):
            raise error
        return found


def _predict_halves(model: LoadedModel, texts: "pd.Series[Any]") -> pd.DataFrame:
    middle = len(texts) // 2
    parts, failing = [], 0
    for part in (texts.iloc[:middle], texts.iloc[middle:]):
        try:
            found = predict(model, part)
        except ModelError:
            found = _reject_failing(part) if len(part) == 1 else _predict_halves(model, part)
        failing += int((found[schema.REJECT_REASON] == schema.MODEL_FAILED).sum())
        if failing > _MAX_FAILING:
            raise ModelError(f"the model failed on more than {_MAX_FAILING} texts of {len(texts):,}")
        parts.append(found.astype(object))  # a part of rejects alone has no types to agree on
    return pd.concat(parts, ignore_index=True)


def _reject_failing(texts: "pd.Series[Any]") -> pd.DataFrame:
    empty = pd.Series([None] * len(texts), dtype=object)
    frame = pd.DataFrame(dict.fromkeys(schema.PREDICTION_COLUMNS, empty))
    return frame.assign(**{schema.REJECT_REASON: schema.MODEL_FAILED})


def _load_once(place: ModelPlace, options: Mapping[str, Any], census: WorkerCensus) -> LoadedModel:
    """The model of this process, loaded if it is not there yet.

    A function of the module, which workers import: what a UDF itself refers to is shipped with every
    task, and a cache in it would be a new one each time.
    """
    census.note_worker()
    options = {"device": _find_device(), **options}
    key = (place.folder, repr(sorted(options.items())))
    if key not in _loaded:
        # Parallelism is Spark's: a tokenizer that takes every core slows its neighbours.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        _loaded.clear()
        folder = _fetch_once(place.fetch_from, census) if place.fetch_from else Path(place.folder)
        _loaded[key] = load_model(folder, options)
        census.note_load(name_engine(_loaded[key]))
    return _loaded[key]


def _fetch_once(source: FetchFrom, census: WorkerCensus) -> Path:
    """The model's folder in this executor's own directory: its first worker fetches, the others wait."""
    root = Path(SparkFiles.getRootDirectory()).resolve()  # Spark's is `.` there
    folder = root / f"model-{source.model_id}"
    with open(root / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fetch_model(source.uri, source.tracking_uri, folder)
            census.note_fetch()
    return folder


def _find_device() -> str:
    """The GPU that Spark gave to this task, as torch names it, or `cpu`.

    A GPU that Spark does not schedule is left alone: each worker would take all of it.
    """
    task = TaskContext.get()
    gpu = task.resources().get("gpu") if task is not None else None
    return f"cuda:{gpu.addresses[0]}" if gpu is not None else "cpu"


def _process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _seconds_since_process_start() -> float | None:
    """By Linux's clock of a process, whose 22nd field is its start in ticks since boot (proc_pid_stat(5))."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    started = int(fields[22 - 3]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
