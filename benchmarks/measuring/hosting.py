"""Run each contender in a separate process, so that they share no session, thread pool or allocator."""

import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .. import ROOT
from .processes import kill, list_tree

# The time of a pass of 7,000 reviews at 4 reviews/s.
_LIMIT_SECONDS = 1_800.0
_END_SECONDS = 20.0

Open = Callable[..., AbstractContextManager[Callable[[Any], Any]]]

# State of a hosted process: its open context managers, and the function that answers.
_opened = ExitStack()
_answer: Callable[[Any], Any] | None = None


class Hosted:
    """Answer questions with the function that `open_hosted(*arguments)` yields, in a separate process.

    Use as a context manager. `open_hosted` must be a function of a module; questions and answers must be
    picklable. The output of the process goes to `log`. Raises RuntimeError with the path of the log and the
    error of the process as its cause.
    """

    def __init__(self, name: str, log: Path, open_hosted: Open, *arguments: Any) -> None:
        self.pid = 0
        self._name = name
        self._log = log
        self._opening = (open_hosted, arguments)
        # A forked process would inherit threads of imported libraries.
        self._pool = ProcessPoolExecutor(1, get_context("spawn"))

    def __enter__(self) -> "Hosted":
        try:
            self.pid = self._receive(self._pool.submit(prepare_process, self._log))
            self._receive(self._pool.submit(_open, *self._opening))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, question: Any) -> Any:
        """Return the answer to one question."""
        return self._receive(self.send(question))

    def send(self, question: Any) -> "Future[Any]":
        """Ask without waiting, so that several processes can work in parallel."""
        return self._pool.submit(_ask, question)

    def _receive(self, future: "Future[Any]") -> Any:
        try:
            return future.result(_LIMIT_SECONDS)
        except Exception as error:
            raise RuntimeError(f"{self._name} failed; see {self._log}") from error

    def _end(self) -> None:
        tree = list_tree(self.pid)
        with suppress(Exception):
            self._pool.submit(_close).result(_END_SECONDS)
            del tree[:1]  # the pool ends it
        # A JVM or worker whose parent was killed would take cores from the next contender.
        kill(tree)
        self._pool.shutdown()


def run_apart(log: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return `function(*arguments)`, computed in a separate process, so that its imports stay there."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare_process, initargs=(log,)) as pool:
        return pool.submit(function, *arguments).result()


def prepare_process(log: Path) -> int:
    """Redirect the output of this process and its children to `log`, forbid network calls, return the pid.

    Must be called before anything else is imported.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(make_environment())
    return os.getpid()


def make_environment() -> dict[str, str]:
    """Return the environment of this process, with settings that forbid network calls."""
    return {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYSPARK_PYTHON": sys.executable,
        # Spark's workers and servers import the functions of this package.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        # `mlflow models serve` starts uvicorn by its name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def limit_cores(cores: int) -> None:
    """Limit this process and its children, a JVM with `local[*]` too, to this number of cores."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))


def _open(open_hosted: Open, arguments: tuple[Any, ...]) -> None:
    global _answer
    _answer = _call(lambda: _opened.enter_context(open_hosted(*arguments)))


def _ask(question: Any) -> Any:
    assert _answer is not None, "the process opens its contender first"
    return _call(partial(_answer, question))


def _close() -> None:
    _opened.close()


def _call(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception:  # noqa: BLE001  Spark's own errors can be pickled, and not unpickled
        raise RuntimeError(traceback.format_exc()) from None
