"""Score Arrow batches in a Spark Python worker, with a model that is loaded once per process."""

import fcntl
import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark import Accumulator, AccumulatorParam, SparkContext, SparkFiles, TaskContext

from .. import schema
from ..models.integrity import Stamp, check_files, check_shape, dump_record
from ..models.loading import LoadedModel, load_checked, silence_engine_warning
from ..models.predictions import predict_each
from ..models.registry import fetch_model

PREDICTION_TYPE = ", ".join(f"{name} {kind}" for name, kind in schema.PREDICTION_TYPES.items())

_loaded: dict[tuple[str, str], LoadedModel] = {}
"""The model of this process. Only the last one is kept: a worker outlives a run, and models are large."""


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
    """Describe a model loaded by a worker: seconds from the start of that process until it could score.

    None if they are not known.
    """

    process: str
    number: str
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
        self._workers: Accumulator[frozenset[WorkerEngine]] = context.accumulator(frozenset(), _Set())
        self._loads: Accumulator[frozenset[ModelLoad]] = context.accumulator(frozenset(), _Set())
        self._fetches: Accumulator[frozenset[str]] = context.accumulator(frozenset(), _Set())

    def note_worker(self, model: LoadedModel) -> None:
        """Note, in a worker and for each task, what scores there."""
        worker = WorkerEngine(_process_name(), model.engine, model.instruction_set, model.engine_warning)
        self._workers.add(frozenset({worker}))

    def note_load(self) -> None:
        """Count a model that this worker has loaded."""
        load = ModelLoad(_process_name(), str(uuid.uuid4()), _seconds_since_process_start())
        self._loads.add(frozenset({load}))

    def note_fetch(self) -> None:
        """Count a fetch, in the worker that fetched the model for its executor."""
        self._fetches.add(frozenset({str(uuid.uuid4())}))

    @property
    def fetches(self) -> int:
        return len(self._fetches.value)

    @property
    def workers(self) -> frozenset[WorkerEngine]:
        return self._workers.value

    @property
    def loads(self) -> frozenset[ModelLoad]:
        return self._loads.value


@dataclass(frozen=True)
class ModelPlace:
    """Hold the place of the model for workers: its folder, if on every node, else its URI in the registry.

    `files` is the record that the driver has compared it with; None if there is none, and the run allows it.
    """

    folder: str
    files: Mapping[str, str] | None
    fetch_from: FetchFrom | None = None


def make_scorer(
    place: ModelPlace, options: Mapping[str, Any], census: WorkerCensus
) -> Callable[[Iterator[pd.Series]], Iterator[pd.DataFrame]]:
    """Make the function of the iterator pandas UDF: batches of `text` in, batches of predictions out.

    One row per text, in order, with `PREDICTION_TYPE`'s columns; nulls are rejects, and so is a text that
    the model fails on. `options` are the model's own (`loading.load_model`).
    """

    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        model = _load_once(place, options, census)
        for texts in batches:
            yield predict_each(model, texts.tolist())

    return score


def _load_once(place: ModelPlace, options: Mapping[str, Any], census: WorkerCensus) -> LoadedModel:
    """Return the model of this process; load it if it is not there yet.

    A function of the module, which workers import: what a UDF itself refers to is shipped with every
    task, and a cache in it would be a new one each time.
    """
    options = {"device": _find_device(), **options}
    key = (place.folder, repr(sorted(options.items())))
    if key not in _loaded:
        # Parallelism is Spark's: a tokenizer that takes every core slows its neighbours.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        _loaded.clear()
        silence_engine_warning()  # the driver reports it, once for all workers
        folder = _fetch_once(place.fetch_from, census) if place.fetch_from else Path(place.folder)
        _check_once(folder, place.files)
        _loaded[key] = load_checked(folder, place.files, options)
        census.note_load()
    census.note_worker(_loaded[key])
    return _loaded[key]


def _fetch_once(source: FetchFrom, census: WorkerCensus) -> Path:
    """Return the model's folder of this executor: its first worker fetches, the others wait."""
    root = _find_executor_folder()
    folder = root / f"model-{source.model_id}"
    with _locked(root / f".{folder.name}.lock"):
        if not folder.exists():
            fetch_model(source.uri, source.tracking_uri, folder)
            census.note_fetch()
    return folder


def _check_once(folder: Path, files: Mapping[str, str] | None) -> None:
    """Refuse a model whose files, where this worker will load them from, must not be loaded.

    Every worker reads and compares what is small: the MLmodel, the code, the settings. Weights are hashed
    by the first worker of an executor; for the others it is enough that inode, size and both times are
    still those of the file that it hashed: no write leaves them all as they were (the time of the inode's
    change is the kernel's), and who could forge what one worker tells the next is the executor's own user.
    """
    check_shape(folder)
    if files is None:
        return
    root = _find_executor_folder()
    key = hashlib.sha256(f"{folder}\0{dump_record(files)}".encode()).hexdigest()[:16]
    known = root / f".checked-{key}.json"
    with _locked(known.with_suffix(".lock")):
        stamps = check_files(folder, files, _read_stamps(known))
        known.write_text(json.dumps(stamps))


def _read_stamps(path: Path) -> dict[str, Stamp]:
    """Read what an earlier worker knew; nothing if there was none, or if it was killed while it wrote."""
    try:
        return {name: tuple(stamp) for name, stamp in json.loads(path.read_text()).items()}
    except (OSError, ValueError):
        return {}


def _find_executor_folder() -> Path:
    return Path(SparkFiles.getRootDirectory()).resolve()  # Spark's is `.` on a cluster


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_device() -> str:
    """Return the GPU that Spark gave to this task, as torch names it, or `cpu`.

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
