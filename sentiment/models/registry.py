"""The one place that reads and writes MLflow's tracking store and registry.

MLflow is imported when first needed: a job with a wrong argument ends before that.
"""

import logging
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ModelIntegrityError, ModelNotFoundError
from . import integrity, signatures

TEXT_COL_KEY = "text_col"
"""Key of the model's metadata that holds the text column(s) it was trained on."""

FILES_TAG = "sentiment.files"
SIGNATURE_TAG = "sentiment.signature"
"""Tags of a version, and of the logged model behind it: the sha256 of its files, and a signature of them."""

_LOGGED_PREFIX = "m-"


@dataclass(frozen=True)
class ModelReference:
    """A model that exists: where its files lie and what the scored table calls it.

    `version` is the registry's version, or the first 12 digits of the model's id if it is in no registry.
    `text_col` is what it was trained on, None if it does not say. `files` is the registry's record of its
    files (path: sha256) and `signature` what signs them, None if there is none: a folder has neither.
    """

    uri: str
    version: str
    folder: Path
    model_id: str
    text_col: str | None
    files: Mapping[str, str] | None = None
    signature: str | None = None

    @property
    def pinned_uri(self) -> str:
        """A URI of this very model, whatever an alias says later."""
        is_registered = self.uri.startswith("models:/") and self.version.isdigit()
        return _pin(self.uri, self.version if is_registered else None)


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

    Its files are fetched if they are not on this machine; nothing of it is imported, and nothing is checked
    (`loading.check_model`). Raises ModelNotFoundError if there is none, ModelIntegrityError if its record is
    damaged.
    """
    mlflow = import_mlflow()
    from mlflow.models import Model

    try:
        # First the version, then its files: an alias may move between two look-ups.
        version = find_version(uri)
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=_locate(uri, version)))
        metadata = Model.load(str(folder))
        tags = _read_tags(uri, version, metadata)
    except ModelNotFoundError:
        raise
    # MLflow picks the store by the URI's scheme, and each raises errors of its own; all mean one thing.
    except Exception as error:
        raise _not_found(uri) from error
    if "python_function" not in (metadata.flavors or {}) or not metadata.model_uuid:
        raise ModelNotFoundError(f"{folder}: the MLmodel file there names no pyfunc; expected a logged model")
    return ModelReference(
        uri=uri,
        version=version or str(metadata.model_uuid).replace("-", "")[:12],
        folder=folder,
        model_id=str(metadata.model_uuid),
        text_col=(metadata.metadata or {}).get(TEXT_COL_KEY),
        files=None
        if (files := integrity.unpack_tags(FILES_TAG, tags)) is None
        else integrity.load_record(files),
        signature=integrity.unpack_tags(SIGNATURE_TAG, tags),
    )


def find_version(uri: str) -> str | None:
    """Return the registry's version that a URI means now, None if it is in no registry.

    One look-up and no files, so that a service can poll it. Raises ModelNotFoundError if the registry has
    no such version or cannot be asked.
    """
    try:
        return _find_registered_version(uri)
    except Exception as error:  # as in `resolve_model`
        raise _not_found(uri) from error


def record_model(
    name: str,
    version: str,
    folder: Path | None = None,
    signing_key: str | Path | None = None,
    given: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    """Keep the sha256 of each file of a version, and a signature if there is a key, in the registry.

    `folder` holds the files as they were logged; None takes them as they are stored, which is for who has
    just logged them, and knows most of their digests (`given`), or has looked at them. The logged model
    behind the version gets the same. Returns the record. Raises ModelIntegrityError if a fetch of the
    version does not give these files, if they are not of a shape to load, or if it has another record;
    ConfigError for a key that cannot be used.
    """
    reference = resolve_model(f"models:/{name}/{version}")
    integrity.check_shape(reference.folder)
    record = integrity.make_record(folder or reference.folder) | dict(given or {})
    integrity.check_files(reference.folder, record)
    if reference.files is not None and reference.files != record:
        raise ModelIntegrityError(
            f"{reference.uri}: has a record already, of other files; expected none, for a version never "
            "changes; register the files as a new version"
        )
    tags: dict[str, str] = {}
    if signing_key:
        signature = signatures.sign_files(reference.folder, Path(signing_key))
        tags |= integrity.pack_tags(SIGNATURE_TAG, signature)
    tags |= integrity.pack_tags(FILES_TAG, integrity.dump_record(record))
    client = import_mlflow().MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    if _is_logged_model(reference, client.get_model_version_download_uri(name, version)):
        client.set_logged_model_tags(reference.model_id, tags)
    return record


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


def set_alias(name: str, alias: str, version: str) -> None:
    """Let `models:/name@alias` mean this version."""
    import_mlflow().MlflowClient().set_registered_model_alias(name, alias, version)


def import_mlflow() -> Any:
    """Import mlflow without usage reports to its makers and without its notes on what it does."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for name in ("mlflow", "alembic"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET or logger.level == logging.INFO:
            logger.setLevel(logging.WARNING)
    return mlflow


def _pin(uri: str, version: str | None) -> str:
    """Return the URI with its alias, or `latest`, replaced by what it means now."""
    if version is None:
        return uri
    name = uri.removeprefix("models:/").partition("@")[0].partition("/")[0]
    return f"models:/{name}/{version}"


def _locate(uri: str, version: str | None) -> str:
    """Return the place of the files for MLflow: the folder itself if they are in a store on this machine.

    By a `models:/` URI it would write `registered_model_meta` into that store, and through a link there.
    """
    client = import_mlflow().MlflowClient()
    name = uri.removeprefix("models:/").split("/")[0]
    if version is not None:
        location = str(client.get_model_version_download_uri(*_pin(uri, version).split("/")[1:]))
    elif uri.startswith("models:/") and name.startswith(_LOGGED_PREFIX):
        location = str(client.get_logged_model(name).artifact_location)
    else:
        return uri
    is_here = urlsplit(location).scheme in ("", "file")
    return location if is_here else _pin(uri, version)


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    _, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl() if at else uri


def _not_found(uri: str) -> ModelNotFoundError:
    server = _without_password(import_mlflow().get_tracking_uri())
    return ModelNotFoundError(
        f"no model at {uri!r} (tracking server {server}): "
        "fine-tune one with `python jobs/finetune.py --alias champion`, or pass another --model_uri"
    )


def _read_tags(uri: str, version: str | None, metadata: Any) -> Mapping[str, str]:
    """Return the tags of the version, or of the logged model, that a URI means; none of a folder."""
    client = import_mlflow().MlflowClient()
    if version is not None:
        tags: Mapping[str, str] = client.get_model_version(*_pin(uri, version).split("/")[1:]).tags
        return tags
    scheme, _, rest = uri.partition(":/")
    name = rest.strip("/").split("/")
    if scheme == "models" and name[0].startswith(_LOGGED_PREFIX):
        logged = client.get_logged_model(name[0])
    elif scheme == "runs" and str(metadata.model_id or "").startswith(_LOGGED_PREFIX):
        logged = client.get_logged_model(metadata.model_id)
        # What the files say of themselves does not make them the model of that run.
        if [logged.source_run_id, logged.name] != name:
            return {}
    else:
        return {}
    return dict(logged.tags)


def _is_logged_model(reference: ModelReference, location: str) -> bool:
    """Return whether the files at `location` are those of the logged model that they name, not a copy."""
    if not reference.model_id.startswith(_LOGGED_PREFIX):
        return False
    mlflow = import_mlflow()
    try:
        logged = mlflow.MlflowClient().get_logged_model(reference.model_id)
    except mlflow.exceptions.MlflowException:  # of another tracking server
        return False
    return bool(logged.artifact_location == location)


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
