"""Log to an MLflow run in a way that outlives its server: a run of hours must not end for a metric."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import RegistryError
from ..models.experiments import check_params
from ..models.mlflow_errors import as_registry_error, find_problem, is_absent, translating_errors
from ..models.tracking import import_mlflow

# A server that did not answer is asked again after this time, since each question takes several seconds.
_ASK_AGAIN_SECONDS = 120


class _Queue:
    """Keep the entries that a store does not take, in their order, and try again later.

    `explain` returns why an entry failed, or None for an error that is not the store's, which is raised.
    """

    def __init__(self, explain: Callable[[Exception], str | None], clock: Callable[[], float]) -> None:
        self.waiting: list[Callable[[], Any]] = []
        self.problem = ""
        self._explain = explain
        self._clock = clock
        self._asked_again = float("-inf")

    def add(self, entry: Callable[[], Any]) -> None:
        self.waiting.append(entry)
        self.drain()

    def drain(self, *, at_once: bool = False) -> None:
        if not at_once and self._clock() < self._asked_again:
            return
        while self.waiting:
            entry = self.waiting.pop(0)  # one that raises is no more tried
            if not self._try(entry):
                self.waiting.insert(0, entry)
                return

    def close(self, entry: Callable[[], Any]) -> None:
        """Try a last entry, also if others wait."""
        if not self._try(entry):
            self.waiting.append(entry)

    def _try(self, entry: Callable[[], Any]) -> bool:
        """Return False if the store fails; raise any other error."""
        try:
            entry()
        except Exception as error:
            problem = self._explain(error)
            if problem is None:
                raise
            self.problem = problem
            self._asked_again = self._clock() + _ASK_AGAIN_SECONDS
            return False
        return True


class RunLog:
    """Log to the active run; keep what the server does not take, and try again later.

    `run_id` is the id of the run. `unlogged` counts the entries that are kept. Errors that are not the
    server's are raised. Artifacts go to a store of their own, which may fail while the server takes figures.
    """

    def __init__(self, run_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.run_id = run_id
        self._facts = _Queue(self._explain, clock)
        self._artifacts = _Queue(self._explain_artifact, clock)

    @property
    def unlogged(self) -> int:
        return len(self._facts.waiting) + len(self._artifacts.waiting)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a sentence for the summary about each kind of entries that are missing in the run."""
        found = (
            (self._facts, "entries", "the tracking server"),
            (self._artifacts, "artifacts", "the artifact store"),
        )
        return tuple(
            f"{len(queue.waiting)} {kind} of the MLflow run are lost: {store} {queue.problem}"
            for queue, kind, store in found
            if queue.waiting
        )

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters. Raises ConfigError if the run has one of them with another value."""

        def entry() -> None:
            mlflow = import_mlflow()
            try:
                mlflow.log_params(dict(params))
            except mlflow.exceptions.MlflowException as error:
                with contextlib.suppress(RegistryError):  # then the first error says enough
                    if is_absent(error) and (run := find_run(self.run_id)) is not None:
                        check_params(run, params)
                raise

        self._facts.add(entry)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        now = int(time.time() * 1000)
        self._facts.add(lambda: import_mlflow().log_metrics(dict(metrics), step=step, timestamp=now))

    def log_dict(self, facts: Mapping[str, Any], name: str) -> None:
        self._artifacts.add(lambda: import_mlflow().log_dict(dict(facts), name))

    def log_text(self, text: str, name: str) -> None:
        self._artifacts.add(lambda: import_mlflow().log_text(text, name))

    def log_figure(self, figure: Any, name: str) -> None:
        self._artifacts.add(lambda: import_mlflow().log_figure(figure, name))

    def log_artifacts(self, folder: Path, name: str) -> None:
        self._artifacts.add(lambda: import_mlflow().log_artifacts(str(folder), name))

    def set_tag(self, name: str, value: str) -> None:
        self._facts.add(lambda: import_mlflow().set_tag(name, value))

    def log_dataset(self, name: str, digest: str) -> None:
        """Log the name and the digest of the training data as the input of the run, without any row."""
        import_mlflow()
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        data = MetaDataset(CodeDatasetSource({"dataset_name": name}), name=name, digest=digest)
        self._facts.add(lambda: import_mlflow().log_input(data, context="training"))

    def end(self, status: str) -> None:
        """Try once more to log what is kept, and end the run, which closes it in this process in any case."""

        def end() -> None:
            import_mlflow().end_run(status)

        try:
            self._artifacts.drain(at_once=True)
            self._facts.drain(at_once=True)
        finally:  # whatever waits, the run is closed
            self._facts.close(end)

    def _explain(self, error: Exception) -> str | None:
        """Return why an entry failed if it was the server, or someone has deleted the run; else None."""
        problem = find_problem(error)
        if problem is not None or not is_absent(error):
            return problem
        try:
            return None if find_run(self.run_id) else "no longer has this run, which was deleted"
        except RegistryError:  # it has stopped in between
            return "does not answer"

    def _explain_artifact(self, error: Exception) -> str | None:
        """Return why an artifact failed; None if the error is one of Python, so a defect."""
        # Each store raises errors of its own library.
        is_foreign = isinstance(error, OSError) or type(error).__module__ != "builtins"
        return self._explain(error) or (f"failed ({type(error).__name__})" if is_foreign else None)


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


def find_run(run_id: str) -> Any | None:
    """Return a run, None if it was deleted or the store does not know it. Raises RegistryError."""
    mlflow = import_mlflow()
    try:
        run = mlflow.get_run(run_id)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise as_registry_error(f"run {run_id}", error) from error
    return run if run.info.lifecycle_stage == "active" else None
