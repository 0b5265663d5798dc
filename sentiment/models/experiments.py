"""Open the MLflow experiment that runs are logged to."""

import os
from typing import Any

from ..errors import ConfigError
from .mlflow_errors import is_absent, translating_errors
from .store_check import check_store
from .tracking import find_sqlite_file, import_mlflow

# MLflow logs to the run of this id instead of a new one; `mlflow run` and some platforms set it.
_RUN_VARIABLE = "MLFLOW_RUN_ID"


def open_experiment(name: str) -> None:
    """Check the store, and make `name` the active experiment, created if need be.

    On SQLite its files go next to the database: MLflow would put them in the current folder. Raises
    RegistryError if the store cannot be used, ConfigError if the experiment has been deleted, or MLflow could
    not start a run in it.
    """
    check_store(will_write=True)
    mlflow = import_mlflow()
    with translating_errors(f"experiment {name!r}"):
        found = mlflow.get_experiment_by_name(name) or _create_experiment(name)
        if found.lifecycle_stage != "active":
            raise ConfigError(
                f"experiment {name!r} has been deleted; restore it with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}`, or pass another --experiment"
            )
        _check_no_run(found)
        mlflow.set_experiment(experiment_id=found.experiment_id)


def _check_no_run(experiment: Any) -> None:
    """Raise ConfigError if a run is active already, or MLFLOW_RUN_ID names none of this experiment."""
    mlflow = import_mlflow()
    active = mlflow.active_run()
    if active is not None:
        raise ConfigError(
            f"MLflow run {active.info.run_id} is active in this process, expected none, since a job starts a "
            "run of its own; call mlflow.end_run() first"
        )
    run_id = os.environ.get(_RUN_VARIABLE)
    if not run_id:
        return
    try:
        run = mlflow.get_run(run_id).info
    except mlflow.exceptions.MlflowException as error:
        if not is_absent(error):
            raise
        run = None
    if run is None or run.lifecycle_stage != "active" or run.experiment_id != experiment.experiment_id:
        found = "none" if run is None else f"one of experiment {run.experiment_id} ({run.lifecycle_stage})"
        raise ConfigError(
            f"{_RUN_VARIABLE}: expected one of experiment {experiment.experiment_id} ({experiment.name!r}), "
            f"found {found} with the id {run_id!r}; unset it, or pass the --experiment of that run"
        )


def _create_experiment(name: str) -> Any:
    mlflow = import_mlflow()
    file = find_sqlite_file(mlflow.get_tracking_uri())
    artifacts = (file.resolve().parent / "artifacts").as_uri() if file else None
    try:
        mlflow.create_experiment(name, artifact_location=artifacts)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run was faster
            raise
    return mlflow.get_experiment_by_name(name)
