"""Open the MLflow experiment that runs are logged to."""

from typing import Any

from ..errors import ConfigError
from .mlflow_errors import translating_errors
from .store_check import check_store
from .tracking import find_sqlite_file, import_mlflow


def open_experiment(name: str) -> None:
    """Check the store, and make `name` the active experiment, created if need be.

    On SQLite its files go next to the database: MLflow would put them in the current folder. Raises
    RegistryError if the store cannot be used, ConfigError if the experiment has been deleted.
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
        mlflow.set_experiment(experiment_id=found.experiment_id)


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
