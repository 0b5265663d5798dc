"""Start the MLflow run of a training, or continue the one of an earlier start that was killed."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..cli import Progress
from ..config import FinetuneConfig
from ..models.mlflow_errors import as_registry_error
from ..models.tracking import import_mlflow
from .checkpoints import Checkpoints
from .data.splits import Splits
from .processes import Termination
from .run_log import RunLog, start_run

# Tag of a run: the digest of its configuration, data and code.
RUN_TAG = "sentiment.run"


@dataclass(frozen=True)
class Training:
    """Hold what the training of an encoder needs next to the encoder.

    `log` is None in all processes but the main one. `progress` gets the stage, the steps and a note.
    """

    splits: Splits
    config: FinetuneConfig
    checkpoints: Checkpoints
    log: RunLog | None
    progress: Progress
    termination: Termination | None = None


@contextlib.contextmanager
def open_run(checkpoints: Checkpoints, digest: str, **options: Any) -> Iterator[RunLog]:
    """Start a run that belongs to the checkpoints; `options` go to `mlflow.start_run`.

    An unfinished run continues. The folder of the checkpoints names it, and its tag must have the digest: on
    a shared server, others may train the same at the same time. After a finished one the folder is cleared.
    If the server does not know the run, or it was deleted, a new run continues from the checkpoints.
    """
    kept = checkpoints.read_run()
    found = None if kept is None else find_run(kept)
    if found is None or found.data.tags.get(RUN_TAG) != digest:
        if kept is not None:
            checkpoints.warnings.append(
                f"the MLflow run {kept} of these checkpoints is not on this server; a new run continues"
            )
        found = None
    elif found.info.status == "FINISHED":
        checkpoints.clear()
        found = None
    with start_run(kept if found else None, **options) as log:
        log.set_tag(RUN_TAG, digest)
        checkpoints.write_run(log.run_id)
        yield log


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
