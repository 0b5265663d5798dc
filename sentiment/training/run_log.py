"""Log to an MLflow run in a way that outlives its server: a run of hours must not end for a metric."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..models.mlflow_errors import find_problem, translating_errors
from ..models.tracking import import_mlflow

# A server that did not answer is asked again after this time, since each question takes several seconds.
_ASK_AGAIN_SECONDS = 120


class RunLog:
    """Log to the active run; keep what the server does not take, and try again later.

    `run_id` is the id of the run. `unlogged` counts the entries that are kept. Errors that are not the
    server's are raised.
    """

    def __init__(self, run_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.run_id = run_id
        self._clock = clock
        self._waiting: list[Callable[[], Any]] = []
        self._asked_again = float("-inf")
        self._problem = ""

    @property
    def unlogged(self) -> int:
        return len(self._waiting)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a sentence for the summary if entries are missing in the run."""
        if not self._waiting:
            return ()
        return (f"{self.unlogged} entries of the MLflow run are lost: the tracking server {self._problem}",)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._log(lambda: import_mlflow().log_params(dict(params)))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        now = int(time.time() * 1000)
        self._log(lambda: import_mlflow().log_metrics(dict(metrics), step=step, timestamp=now))

    def log_dict(self, facts: Mapping[str, Any], name: str) -> None:
        self._log(lambda: import_mlflow().log_dict(dict(facts), name))

    def log_text(self, text: str, name: str) -> None:
        self._log(lambda: import_mlflow().log_text(text, name))

    def log_figure(self, figure: Any, name: str) -> None:
        self._log(lambda: import_mlflow().log_figure(figure, name))

    def log_artifacts(self, folder: Path, name: str) -> None:
        self._log(lambda: import_mlflow().log_artifacts(str(folder), name))

    def set_tag(self, name: str, value: str) -> None:
        self._log(lambda: import_mlflow().set_tag(name, value))

    def log_dataset(self, name: str, digest: str) -> None:
        """Log the name and the digest of the training data as the input of the run, without any row."""
        import_mlflow()
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        data = MetaDataset(CodeDatasetSource({"dataset_name": name}), name=name, digest=digest)
        self._log(lambda: import_mlflow().log_input(data, context="training"))

    def end(self, status: str) -> None:
        """Try once more to log what is kept, and end the run, which closes it in this process in any case."""
        self._asked_again = float("-inf")

        def end() -> None:
            import_mlflow().end_run(status)

        try:
            self._drain()
        finally:
            if not self._try(end):
                self._waiting.append(end)

    def _log(self, entry: Callable[[], Any]) -> None:
        self._waiting.append(entry)
        self._drain()

    def _drain(self) -> None:
        if self._clock() < self._asked_again:
            return
        while self._waiting:
            entry = self._waiting.pop(0)  # one that raises is no more tried
            if not self._try(entry):
                self._waiting.insert(0, entry)
                return

    def _try(self, entry: Callable[[], Any]) -> bool:
        """Return False if the server fails; raise any other error."""
        try:
            entry()
        except Exception as error:
            problem = find_problem(error)
            if problem is None:
                raise
            self._problem = problem
            self._asked_again = self._clock() + _ASK_AGAIN_SECONDS
            return False
        return True


@contextlib.contextmanager
def start_run(run_id: str | None = None, **options: Any) -> Iterator[RunLog]:
    """Start a run in the active experiment, or continue one, and end it as finished or failed.

    `options` go to `mlflow.start_run`.

    Raises RegistryError if it cannot be started. A server that is gone at the end is no error.
    """
    mlflow = import_mlflow()
    with translating_errors("a new run"):
        run = mlflow.start_run(run_id=run_id, **options)
    log = RunLog(run.info.run_id)
    status = "FAILED"
    try:
        yield log
        status = "FINISHED"
    finally:
        log.end(status)
