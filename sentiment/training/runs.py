"""Start the MLflow run of a training, or continue the one of an earlier start that was killed."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..cli import Progress
from ..config import FinetuneConfig
from .checkpoints import FREE_SETTINGS, Checkpoints
from .data.splits import Splits
from .processes import Termination
from .run_log import RunLog, find_run, start_run

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


def list_params(config: FinetuneConfig) -> dict[str, Any]:
    """Return the parameters of a run that its configuration decides, by their names in MLflow."""
    # MLflow logs the model's own options, of which some have the same names, as parameters too.
    asked = {name: f"asked_{name}" for name in ("cascade", "min_score", "target_accuracy")}
    # A run that continues may have other free settings, but MLflow takes no other value of a parameter. The
    # data decide the text columns.
    left_out = {*FREE_SETTINGS, "text_col"}
    return {asked.get(n, n): value for n, value in asdict(config).items() if n not in left_out}


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
