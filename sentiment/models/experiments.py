"""Open the MLflow experiment that runs are logged to."""

import os
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .mlflow_errors import is_absent, translating_errors
from .store_check import check_artifact_store, check_store
from .tracking import find_sqlite_file, import_mlflow

# MLflow logs to the run of this id instead of a new one; `mlflow run` and some platforms set it.
_RUN_VARIABLE = "MLFLOW_RUN_ID"
# MLflow cuts a longer value of a parameter.
_MAX_CHARS = 6_000
_SHOWN, _SHOWN_CHARS = 3, 60


def open_experiment(name: str, params: Mapping[str, Any] | None = None) -> None:
    """Check the store, and make `name` the active experiment, created if need be.

    On SQLite its files go next to the database: MLflow would put them in the current folder. `params` are
    those that the job will log. Raises RegistryError if the store or its artifacts cannot be used,
    ConfigError if the experiment has been deleted, or MLflow could not log a run with these params in it.
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
        _check_run(found, params or {})
        check_artifact_store(found.artifact_location)
        mlflow.set_experiment(experiment_id=found.experiment_id)


def check_params(run: Any, params: Mapping[str, Any]) -> None:
    """Raise ConfigError if a run has a parameter with another value, since MLflow takes no second one."""
    kept = run.data.params
    other = [name for name, value in params.items() if name in kept and kept[name] != str(value)[:_MAX_CHARS]]
    if other:
        shown = ", ".join(f"{name} {kept[name][:_SHOWN_CHARS]!r}" for name in other[:_SHOWN])
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        raise ConfigError(
            f"MLflow run {run.info.run_id}: expected a run without parameters of this job, or with the same "
            f"values, found {shown}{more}, which this job would log with another value; unset "
            f"{_RUN_VARIABLE}, or let it name another run"
        )


def _check_run(experiment: Any, params: Mapping[str, Any]) -> None:
    """Raise ConfigError if a run is active already, or MLFLOW_RUN_ID names one that cannot be logged to."""
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
        run = mlflow.get_run(run_id)
    except mlflow.exceptions.MlflowException as error:
        if not is_absent(error):
            raise
        run = None
    info = run and run.info
    if info is None or info.lifecycle_stage != "active" or info.experiment_id != experiment.experiment_id:
        found = "none" if info is None else f"one of experiment {info.experiment_id} ({info.lifecycle_stage})"
        raise ConfigError(
            f"{_RUN_VARIABLE}: expected one of experiment {experiment.experiment_id} ({experiment.name!r}), "
            f"found {found} with the id {run_id!r}; unset it, or pass the --experiment of that run"
        )
    if info.status == "FINISHED":
        raise ConfigError(
            f"{_RUN_VARIABLE}: expected a run that has not ended, found {run_id!r}, which is finished; its "
            "figures would be those of two jobs; unset it, or let it name another run"
        )
    check_params(run, params)


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
