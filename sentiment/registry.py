"""The one place that reads and writes MLflow's tracking store and registry, and loads a model.

MLflow is imported when first needed: a job with a wrong argument ends before that, and `score.py`
imports in milliseconds.
"""

import logging
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pandas as pd

from . import schema
from .errors import ModelError, ModelLoadError, ModelNotFoundError

TEXT_COL_KEY = "text_col"
"""Key of the model's metadata that holds the text column(s) it was trained on."""


@dataclass(frozen=True)
class ModelReference:
    """A model that exists: where its files lie and what the scored table calls it.

    `version` is the registry's version, or the first 12 digits of the model's id if it is in no registry.
    `text_col` is what it was trained on, None if it does not say.
    """

    uri: str
    version: str
    folder: Path
    model_id: str
    text_col: str | None

    @property
    def pinned_uri(self) -> str:
        """A URI of this very model, whatever an alias says later."""
        is_registered = self.uri.startswith("models:/") and self.version.isdigit()
        return _pin(self.uri, self.version if is_registered else None)


class LoadedModel(Protocol):
    """What `load_model` returns: an `mlflow.pyfunc.PyFuncModel`."""

    def predict(self, data: Any) -> pd.DataFrame: ...


def use_tracking(home: Path) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI` if that is set, else at SQLite in `home/var`; return the URI."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        folder = home.resolve() / "var"
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
    import_mlflow().set_tracking_uri(uri)
    return uri


def open_experiment(name: str) -> None:
    """Make `name` the active experiment, created if need be.

    On SQLite its files go beside the database: MLflow would put them where the process happens to run.
    """
    mlflow = import_mlflow()
    if mlflow.get_experiment_by_name(name) is None:
        database = mlflow.get_tracking_uri().partition("sqlite:///")[2]
        artifacts = (Path(database).resolve().parent / "artifacts").as_uri() if database else None
        mlflow.create_experiment(name, artifact_location=artifacts)
    mlflow.set_experiment(name)


def resolve_model(uri: str) -> ModelReference:
    """Find the model behind a URI (`models:/name@alias`, `models:/name/3`, `runs:/…`, a folder).

    Its files are fetched if they are not on this machine; nothing of it is imported. Raises
    ModelNotFoundError if there is none.
    """
    mlflow = import_mlflow()
    from mlflow.models import Model

    try:
        # First the version, then its files: an alias may move between two look-ups.
        version = _find_registered_version(uri)
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=_pin(uri, version)))
        metadata = Model.load(str(folder))
    # MLflow picks the store by the URI's scheme, and each raises errors of its own; all mean one thing.
    except Exception as error:
        raise ModelNotFoundError(
            f"no model at {uri!r} (tracking server {_without_password(mlflow.get_tracking_uri())}): "
            "fine-tune one with `python jobs/finetune.py --alias champion`, or pass another --model_uri"
        ) from error
    if "python_function" not in (metadata.flavors or {}) or not metadata.model_uuid:
        raise ModelNotFoundError(f"{folder}: the MLmodel file there names no pyfunc; expected a logged model")
    return ModelReference(
        uri=uri,
        version=version or str(metadata.model_uuid).replace("-", "")[:12],
        folder=folder,
        model_id=str(metadata.model_uuid),
        text_col=(metadata.metadata or {}).get(TEXT_COL_KEY),
    )


def load_model(uri: str | Path, options: Mapping[str, Any] | None = None) -> LoadedModel:
    """Load a pyfunc; `options` override its model config (`engine`, `cascade`, `device`, `threads`, …).

    Raises ModelNotFoundError if there is none, ModelLoadError if it cannot be loaded in this process.
    """
    mlflow = import_mlflow()
    reference = resolve_model(str(uri))
    try:
        model: LoadedModel = mlflow.pyfunc.load_model(
            str(reference.folder), model_config=dict(options or {}) or None
        )
    # Loading runs the model's own code, which may raise anything; all of it means one thing here.
    except Exception as error:
        raise ModelLoadError(
            f"the model at {str(uri)!r} could not be loaded: {type(error).__name__}: {error}; "
            "its requirements are in requirements.txt beside it"
        ) from error
    return model


def fetch_model(uri: str, tracking_uri: str, target: Path) -> None:
    """Put a copy of the model's files at `target`, whole or not at all.

    Raises ModelNotFoundError if they cannot be had from here.
    """
    mlflow = import_mlflow()
    mlflow.set_tracking_uri(tracking_uri)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        found = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(partial)))
    except Exception as error:  # as in `resolve_model`
        raise ModelNotFoundError(
            f"{socket.gethostname()}: no model at {uri!r} (tracking server "
            f"{_without_password(tracking_uri)}); every node must reach it"
        ) from error
    found.rename(target)
    shutil.rmtree(partial, ignore_errors=True)


def name_engine(model: LoadedModel) -> str:
    """Which engine a loaded model runs, such as `int8` or `gpu`; `unknown` if it is of a kind without."""
    unwrap = getattr(model, "unwrap_python_model", None)
    return str(getattr(unwrap(), "engine", "unknown")) if unwrap is not None else "unknown"


def predict(model: LoadedModel, texts: "pd.Series[Any]") -> pd.DataFrame:
    """`schema.PREDICTION_COLUMNS` of `texts`, one row each in order, whatever their types.

    Raises ModelError, without any text in it, if the model fails or does not keep to its contract.
    """
    try:
        predictions = model.predict(pd.DataFrame({schema.TEXT: texts.astype(object)}))
    # The model is foreign code that may raise anything, with a review in its message.
    except Exception as error:
        failure = f"the model failed while it scored: {type(error).__name__}"
        raise ModelError(f"{failure}; try another version") from error
    missing = set(schema.PREDICTION_COLUMNS).difference(getattr(predictions, "columns", ()))
    if missing or len(predictions) != len(texts):
        raise ModelError(
            f"the model is no sentiment model: expected {len(texts)} rows of "
            f"{', '.join(schema.PREDICTION_COLUMNS)}, found {len(predictions)} rows"
            f"{' without ' if missing else ''}{', '.join(sorted(missing))}; try another one"
        )
    return predictions[list(schema.PREDICTION_COLUMNS)]


def set_alias(name: str, alias: str, version: str) -> None:
    """Let `models:/name@alias` mean this version."""
    import_mlflow().MlflowClient().set_registered_model_alias(name, alias, version)


def import_mlflow() -> Any:
    """The mlflow module, without usage reports to its makers and without its notes on what it does."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for name in ("mlflow", "alembic"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET or logger.level == logging.INFO:
            logger.setLevel(logging.WARNING)
    return mlflow


def _pin(uri: str, version: str | None) -> str:
    """The same URI with its alias, or `latest`, replaced by what it means now."""
    if version is None:
        return uri
    name = uri.removeprefix("models:/").partition("@")[0].partition("/")[0]
    return f"models:/{name}/{version}"


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    _, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl() if at else uri


def _find_registered_version(uri: str) -> str | None:
    mlflow = import_mlflow()
    if not uri.startswith("models:/"):
        return None
    name, at, alias = uri.removeprefix("models:/").partition("@")
    if at:
        return str(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    name, _, version = name.partition("/")
    if version.isdigit():
        return version
    if version != "latest":  # models:/m-…, the id of a model that no registry may know
        return None
    versions = mlflow.MlflowClient().search_model_versions(f"name='{name}'")
    return str(max(int(found.version) for found in versions))
