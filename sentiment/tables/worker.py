"""What runs in a Spark Python worker: the model, loaded once a process, applied to Arrow batches."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator

import pandas as pd
from pyspark import Accumulator, AccumulatorParam, SparkContext

from .. import schema
from ..registry import LoadedModel, load_model, predict

PREDICTION_TYPE = ", ".join(f"{name} {kind}" for name, kind in schema.PREDICTION_TYPES.items())

_loaded: dict[tuple[str, int], LoadedModel] = {}
"""The model of this process. Only the last one is kept: a worker outlives a run, and models are large."""


class _NameSet(AccumulatorParam[frozenset[str]]):
    def zero(self, value: frozenset[str]) -> frozenset[str]:
        return frozenset()

    def addInPlace(  # noqa: N802 Spark's name
        self, value1: frozenset[str], value2: frozenset[str]
    ) -> frozenset[str]:
        return value1 | value2


class WorkerCensus:
    """Counts, over all executors, the worker processes that scored and the models they loaded.

    Sets of names, so that a task that runs twice counts once.
    """

    def __init__(self, context: SparkContext) -> None:
        self._workers: Accumulator[frozenset[str]] = context.accumulator(frozenset(), _NameSet())
        self._loads: Accumulator[frozenset[str]] = context.accumulator(frozenset(), _NameSet())

    def note_worker(self) -> None:
        """Called in a worker for each task."""
        self._workers.add(frozenset({_process_name()}))

    def note_load(self) -> None:
        """Called in a worker for each model loaded."""
        self._loads.add(frozenset({f"{_process_name()}:{uuid.uuid4()}"}))

    @property
    def workers(self) -> int:
        return len(self._workers.value)

    @property
    def loads(self) -> int:
        return len(self._loads.value)


def make_scorer(
    folder: str, threads: int, census: WorkerCensus
) -> Callable[[Iterator[pd.Series]], Iterator[pd.DataFrame]]:
    """The function of the iterator pandas UDF: batches of `text` in, batches of predictions out.

    One row per text, in order, with `PREDICTION_TYPE`'s columns; nulls are rejects. `folder` must be
    there on every executor.
    """

    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        model = _load_once(folder, threads, census)
        for texts in batches:
            yield predict(model, texts)

    return score


def _load_once(folder: str, threads: int, census: WorkerCensus) -> LoadedModel:
    """The model of this process, loaded if it is not there yet.

    A function of the module, which workers import: what a UDF itself refers to is shipped with every
    task, and a cache in it would be a new one each time.
    """
    census.note_worker()
    key = (folder, threads)
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = load_model(folder, {"threads": threads})
        census.note_load()
    return _loaded[key]


def _process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
