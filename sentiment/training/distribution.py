"""Train in several processes that Spark starts, one per task: `TorchDistributor` runs torchrun in them."""

import _thread
import contextlib
import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ..cli import Reporter, Terminated
from ..config import FinetuneConfig
from ..errors import ConfigError, LostProcessError, SentimentError, TrainingError
from ..models.tracking import REGISTRY_VARIABLE, TRACKING_VARIABLE, import_mlflow
from . import processes
from .checkpoints import explaining_writes
from .finetuning import UNREGISTERED, FinetuneSummary, finetune
from .processes import Termination

# Settings that are a path of the driver and nothing else.
_PATHS = ("checkpoint_dir", "report", "signing_key")
# A process looks so often for the file that the driver makes after SIGTERM.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class _Task:
    """Hold what each process gets from the driver: paths are absolute, `environment` has MLflow's stores.

    The driver makes the file `stop` when it has got SIGTERM; None: it does not.
    """

    config: FinetuneConfig
    environment: Mapping[str, str]
    kept: Path
    stop: Path | None


def finetune_on_spark(
    config: FinetuneConfig,
    tracking_uri: str,
    kept: Path = UNREGISTERED,
    termination: Termination | None = None,
) -> FinetuneSummary:
    """Run `finetune` in `num_processes` processes on the session's cluster; return the main one's summary.

    On a local master the driver starts them. On a cluster, executors must reach the data, the encoder, the
    checkpoints and MLflow's stores at the same paths and addresses. After SIGTERM (`termination`) the
    processes write a checkpoint, and Terminated is raised.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    termination = termination or Termination()
    is_ours = SparkSession.getActiveSession() is None
    session = SparkSession.builder.appName("sentiment-finetune").getOrCreate()
    is_local = str(session.sparkContext.master).startswith("local")
    environment = _find_stores(tracking_uri, is_local)
    distributor = TorchDistributor(
        num_processes=config.num_processes or 1,
        local_mode=is_local,
        use_gpu=session.conf.get("spark.task.resource.gpu.amount", None) is not None,
    )
    given = _make_absolute(config)
    try:
        with _passing_on(termination, given.checkpoint_dir) as stop:
            task = _Task(given, environment, kept.absolute(), stop)
            outcome = distributor.run(_run_process, task)
    except (RuntimeError, PySparkException, Py4JError, ConnectionError) as error:
        if termination.is_requested:  # a process may end before another one has noticed
            termination.end()
        raise TrainingError(
            "a training process or Spark ended; the lines above state why; run the same command again to "
            "continue"
        ) from error
    finally:
        if is_ours:
            with contextlib.suppress(Py4JError, ConnectionError):  # the JVM may have got SIGTERM too
                session.stop()
    if isinstance(outcome, SentimentError | Terminated):
        raise outcome
    return cast(FinetuneSummary, outcome)


def _find_stores(tracking_uri: str, is_local: bool) -> dict[str, str]:
    """Return the variables of MLflow's stores; raise ConfigError if executors cannot write to them."""
    registry_uri = str(import_mlflow().get_registry_uri()).strip()
    stores = {TRACKING_VARIABLE: tracking_uri, REGISTRY_VARIABLE: registry_uri}
    for variable, uri in stores.items():
        if not is_local and uri.startswith("sqlite:"):
            raise ConfigError(f"distributor: executors cannot write to {uri}; set {variable} to a server")
    return stores


def _make_absolute(config: FinetuneConfig) -> FinetuneConfig:
    """Return the configuration of a process: an executor has another working directory than the driver."""
    given = {name: getattr(config, name) for name in _PATHS}
    paths = {name: os.path.abspath(path) for name, path in given.items() if path is not None}
    return replace(config, distributor="none", num_processes=None, **paths)


@contextlib.contextmanager
def _passing_on(termination: Termination, folder: str | None) -> Iterator[Path | None]:
    """Yield a file in the folder of the checkpoints that is made at the first SIGTERM in this block.

    Spark passes no signal on: it kills the processes half a second later. Without checkpoints yield None.
    """
    if folder is None:
        yield None
        return
    stop = Path(folder) / f".stop-{uuid.uuid4().hex}"
    with explaining_writes(stop.parent):
        stop.parent.mkdir(parents=True, exist_ok=True)
    try:
        with termination.passed_on(stop.touch):
            yield stop
    finally:
        stop.unlink(missing_ok=True)


def _run_process(task: _Task) -> Any:
    """Run one of the processes; return its summary, or the error that all processes agree on."""
    from rich.console import Console

    os.environ.update(task.environment)
    is_main = processes.get_rank() == 0
    report = Reporter(Console(stderr=True, highlight=False))
    termination = Termination()
    try:
        with termination.installed(), _watching(task.stop):
            return finetune(task.config, report if is_main else lambda *_: None, termination, task.kept)
    except Terminated as error:
        return error
    except LostProcessError:
        sys.exit(LostProcessError.exit_code)
    except SentimentError as error:
        if is_main or error.is_reported:
            return error
        # The main process waits for this one, so it cannot report the error.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@contextlib.contextmanager
def _watching(stop: Path | None) -> Iterator[None]:
    """Let the main thread handle SIGTERM when the file `stop` appears in this block, and never after it.

    No signal is sent: one that comes without a handler would end the process.
    """
    is_over = threading.Event()

    def watch() -> None:
        while stop is not None and not is_over.wait(_LOOK_SECONDS):
            if stop.exists():
                _thread.interrupt_main(signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
