"""The shape that every contender shares, and a process of its own for each."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import pyarrow.parquet as pq

from .corpus import ROOT
from .processes import list_tree

_LIMIT_SECONDS = 1_200.0
_END_SECONDS = 20.0


@dataclass(frozen=True)
class Trial:
    """What a contender is given: an encoder (folder of transformers), a Parquet table, a cache, cores.

    `reviews` is a file or a folder of files with the columns of `corpus`. `cache` keeps what is made of the
    encoder once, whatever the reviews: an exported graph, an MLflow model.
    """

    encoder: Path
    reviews: Path
    cache: Path
    cores: int = 2

    def load_texts(self) -> list[str]:
        """The texts in the table's order."""
        texts: list[str] = pq.read_table(self.reviews, columns=["text"])["text"].to_pylist()
        return texts

    def count_rows(self) -> int:
        files = [self.reviews] if self.reviews.is_file() else sorted(self.reviews.glob("*.parquet"))
        return sum(int(pq.read_metadata(file).num_rows) for file in files)


Pass = Callable[[], float]
"""Scores all reviews of the trial once and says how many seconds that took, without any start."""

Open = Callable[[Trial], AbstractContextManager[Pass]]
"""Starts a contender (session, workers, model) and ends it; a function of a module, to be named elsewhere."""


class Hosted:
    """A contender in a process of its own: no session, thread pool or allocator is shared with another.

    Use as a context manager; then call it for the reviews a second of one pass (`measure`'s contender).
    `start_seconds` is from an empty process to a contender that has scored its first reviews. What it
    prints goes to `<cache>/logs`. Raises RuntimeError with the contender's own error.
    """

    def __init__(self, name: str, open_contender: Open, trial: Trial, limit: float = _LIMIT_SECONDS) -> None:
        self.name = name
        self.start_seconds = 0.0
        self._rows = trial.count_rows()
        self._limit = limit
        self._log = trial.cache / "logs" / f"{name}.log"
        # A fork would inherit the threads of whatever this process has imported.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # No daemon: a contender has processes of its own.
        self._process = context.Process(target=_serve, args=(theirs, open_contender, trial, self._log))

    @property
    def pid(self) -> int:
        """Root of the contender's process tree."""
        assert self._process.pid is not None, "not started"
        return self._process.pid

    def __enter__(self) -> "Hosted":
        start = time.perf_counter()
        self._process.start()
        try:
            self._receive()
        except BaseException:
            self._end()
            raise
        self.start_seconds = time.perf_counter() - start
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self) -> float:
        """Reviews a second of one pass, without any start."""
        self._connection.send(True)
        return self._rows / self._receive()

    def rate_end_to_end(self, rate: float) -> float:
        """Reviews a second of a run that starts from an empty process, scores once at `rate` and ends."""
        return self._rows / (self.start_seconds + self._rows / rate)

    def _receive(self) -> float:
        if not self._connection.poll(self._limit):
            raise RuntimeError(f"{self.name}: no answer within {self._limit:.0f} s; see {self._log}")
        try:
            answer = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: its process died; see {self._log}") from None
        if isinstance(answer, str):
            raise RuntimeError(f"{self.name} failed; see {self._log}\n{answer}")
        return float(answer)

    def _end(self) -> None:
        with suppress(OSError):
            self._connection.send(False)
        tree = list_tree(self.pid)
        self._process.join(_END_SECONDS)
        # A JVM or a worker outlives a parent that was killed, and would take cores from the next one.
        for process in {*tree, *list_tree(self.pid)}:
            if process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        self._process.join()


def prepare_process(log: Path) -> None:
    """Send what this process and its children print to `log`, and tell them not to call anyone.

    To be called before anything else is imported.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TRANSFORMERS_VERBOSITY="error",
        PYSPARK_PYTHON=sys.executable,
        # Spark's workers import the functions of this folder.
        PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    )


def _serve(connection: Connection, open_contender: Open, trial: Trial, log: Path) -> None:
    prepare_process(log)
    try:
        with open_contender(trial) as run_pass:
            connection.send(0.0)
            while connection.recv():
                connection.send(run_pass())
    except EOFError:
        pass  # the other side is gone
    except Exception:  # noqa: BLE001  whatever a contender raises is told by the process that asked
        connection.send(traceback.format_exc())
