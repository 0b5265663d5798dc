"""Find, record and alias models in MLflow's registry; only training also logs to it (`tracking`)."""

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .. import schema
from ..errors import ConfigError, ModelError, ModelIntegrityError, ModelLoadError, ModelNotFoundError
from . import copies, integrity, signatures
from .experiments import open_experiment as open_experiment
from .mlflow_errors import as_registry_error, find_problem, is_absent, translating_errors
from .store_check import check_store as check_store
from .tracking import import_mlflow as import_mlflow
from .tracking import show_store
from .tracking import use_tracking as use_tracking

# Keys of the model's metadata: the text column(s) it was trained on, and its class names in order.
TEXT_COL_KEY = "text_col"
LABELS_KEY = "labels"

# Tags of a version, and of the logged model behind it: the sha256 of its files, and a signature of them.
FILES_TAG = "sentiment.files"
SIGNATURE_TAG = "sentiment.signature"

# MLflow keeps prompts as models with this tag, and shows them only to a filter that names it.
_PROMPT_TAG = "mlflow.prompt.is_prompt"

# Start of the name of the package that a model contains; the rest of the name is a digest of the package.
PACKAGE_PREFIX = "sentiment_model_"

_LOGGED_PREFIX = "m-"


@dataclass(frozen=True)
class ModelReference:
    """Describe a model that exists.

    `version` is the registry's version, or the first 12 characters of the model's id if it is in no registry.
    `folder` is a private copy of its files (`copies`). `text_col` names the column(s) that it was trained on,
    None if the model does not state them, and `labels` its classes in order. `files` is the registry's record
    of its files (path: sha256) and `signature` signs them; None if there is none, as for a folder.
    """

    uri: str
    version: str
    folder: Path
    model_id: str
    text_col: str | None
    labels: tuple[str, ...] = schema.POLARITY_LABELS
    files: Mapping[str, str] | None = None
    signature: str | None = None

    @property
    def pinned_uri(self) -> str:
        """Return a URI that means this version even if an alias moves later."""
        is_registered = self.uri.startswith("models:/") and self.version.isdigit()
        return _pin(self.uri, self.version if is_registered else None)


def resolve_model(uri: str) -> ModelReference:
    """Find the model behind a URI (`models:/name@alias`, `models:/name/3`, `runs:/…`, a folder) and copy it.

    Nothing of the copy is imported or verified (`loading.check_model`). Raises ModelNotFoundError if there is
    no such model, RegistryError if the tracking server does not answer, ModelIntegrityError if the model has
    links or its record is damaged, ModelLoadError if there is no room for the copy.
    """
    folder = copies.make_folder()
    try:
        return _resolve(uri, folder)
    except BaseException:
        # A service tries again and again: a part of a download must not stay each time.
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _resolve(uri: str, folder: Path) -> ModelReference:
    try:
        if uri.startswith(("models:/", "runs:/")) and not check_store():
            raise _no_model(uri)
        # First the version, then its files: an alias may move between two look-ups.
        version = find_version(uri)
        files = _fetch(_locate(uri, version), folder)
        metadata = _read_metadata(uri, files)
        tags = _read_tags(uri, version, metadata)
    except ModelError:
        raise
    # MLflow picks the store by the URI's scheme, and each store raises errors of its own.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelLoadError(
                f"{folder}: no room for a private copy of the model {uri!r} ({error.strerror}); "
                "make room, or set TMPDIR to a larger file system"
            ) from error
        raise _translate(uri, error) from error
    if "python_function" not in (metadata.flavors or {}) or not metadata.model_uuid:
        raise ModelNotFoundError(
            f"{uri!r}: its MLmodel file names no pyfunc; expected a logged model; pass another --model_uri"
        )
    return ModelReference(
        uri=uri,
        version=version or str(metadata.model_uuid).replace("-", "")[:12],
        folder=files,
        model_id=str(metadata.model_uuid),
        text_col=(metadata.metadata or {}).get(TEXT_COL_KEY),
        labels=_read_labels(metadata.metadata or {}),
        files=_read_record(tags),
        signature=integrity.unpack_tags(SIGNATURE_TAG, tags),
    )


def _read_labels(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names that a model states; earlier models have two classes, and state them as text."""
    labels = metadata.get(LABELS_KEY)
    return tuple(labels) if isinstance(labels, list | tuple) else schema.POLARITY_LABELS


def find_version(uri: str) -> str | None:
    """Return the registry's version that a URI means now, None if it is in no registry.

    Reads no files, so that a service can poll it. Raises ModelNotFoundError if the registry has no such
    version, RegistryError if it does not answer.
    """
    try:
        return _find_registered_version(uri)
    except ModelError:
        raise
    except Exception as error:  # as in `resolve_model`
        raise _translate(uri, error) from error


def find_version_with(name: str, run_id: str, files: Mapping[str, str]) -> str | None:
    """Return the last version of a model that a run registered, and whose record has these files.

    `files` are sha256 digests by path. None if there is no such version.
    """
    found = import_mlflow().MlflowClient().search_model_versions(f"name={quote(name)}")
    # The filter of some registries knows no runs.
    own = {int(each.version): _read_record(each.tags) for each in found if each.run_id == run_id}
    same = [number for number, record in own.items() if record and files.items() <= record.items()]
    return str(max(same)) if same else None


def check_name(name: str) -> None:
    """Raise ConfigError if the name is that of an MLflow prompt, which shares the names of models."""
    mlflow = import_mlflow()
    query = f"name = {quote(name)} AND tag.`{_PROMPT_TAG}` = 'true'"
    with translating_errors(f"the model {name!r}"):
        try:
            found = mlflow.MlflowClient().search_registered_models(query)
        except mlflow.exceptions.MlflowException as error:
            # A registry whose filter knows no tags answers so; it keeps prompts elsewhere.
            if not is_absent(error):
                raise
            return
    if found:
        raise ConfigError(
            f"registered_model_name: expected a new name or that of a model, found {name!r}, an MLflow "
            "prompt; pass another --registered_model_name"
        )


def read_version_tags(name: str, version: str) -> Mapping[str, str] | None:
    """Return the tags of a version, None if someone has deleted it. Raises RegistryError."""
    try:
        tags: Mapping[str, str] = import_mlflow().MlflowClient().get_model_version(name, version).tags
    except Exception as error:  # as in `resolve_model`
        if is_absent(error):
            return None
        raise as_registry_error(f"version {version} of {name!r}", error) from error
    return tags


def _read_record(tags: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the record that the tags of a version hold; None if it was not recorded."""
    text = integrity.unpack_tags(FILES_TAG, tags)
    return None if text is None else integrity.load_record(text)


def find_name(uri: str) -> str:
    """Return the name of the registered model in `models:/name/3` or `models:/name@alias`."""
    return uri.removeprefix("models:/").partition("@")[0].partition("/")[0]


def record_model(
    name: str,
    version: str,
    folder: Path | None = None,
    signing_key: str | Path | None = None,
    given: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    """Write the sha256 of each file of a version, and a signature if there is a key, to the registry.

    `folder` holds the files as they were logged. None means the files as they are stored: pass it only if you
    have just logged them, and give the digests that you know (`given`), or have looked at them. The logged
    model behind the version gets the same tags. Return the record. Raises ModelIntegrityError if the store
    has other files, if their shape is not safe to load, or if the version has another record; ConfigError
    for a key that cannot be used.
    """
    reference = resolve_model(f"models:/{name}/{version}")
    try:
        record, tags = _make_record(reference, folder, signing_key, given)
    finally:
        copies.release(reference.folder)
    client = import_mlflow().MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    if _is_logged_model(reference, client.get_model_version_download_uri(name, version)):
        client.set_logged_model_tags(reference.model_id, tags)
    return record


def _make_record(
    reference: ModelReference,
    folder: Path | None,
    signing_key: str | Path | None,
    given: Mapping[str, str] | None,
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the record of a model's files, and the tags that hold it and a signature."""
    integrity.check_shape(reference.folder)
    record = integrity.make_record(folder or reference.folder) | dict(given or {})
    integrity.check_files(reference.folder, record)
    if reference.files is not None and reference.files != record:
        raise ModelIntegrityError(
            f"{reference.uri}: has a record already, of other files; expected none, since a version never "
            "changes; register the files as a new version"
        )
    tags: dict[str, str] = {}
    if signing_key:
        signature = signatures.sign_files(reference.folder, Path(signing_key))
        tags |= integrity.pack_tags(SIGNATURE_TAG, signature)
    return record, tags | integrity.pack_tags(FILES_TAG, integrity.dump_record(record))


def set_alias(name: str, alias: str, version: str) -> None:
    """Point `models:/name@alias` to this version. Raises RegistryError."""
    with translating_errors(f"alias {alias!r} of version {version} of {name!r}"):
        import_mlflow().MlflowClient().set_registered_model_alias(name, alias, version)


def _pin(uri: str, version: str | None) -> str:
    """Return the URI with its alias, or `latest`, replaced by the version."""
    if version is None:
        return uri
    return f"models:/{find_name(uri)}/{version}"


def _locate(uri: str, version: str | None) -> str:
    """Return the location of the files: of a registered or logged model, where its store has them."""
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


def _fetch(location: str, folder: Path) -> Path:
    """Copy or download the files of a model below `folder`; return where they are."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        found = import_mlflow().artifacts.download_artifacts(artifact_uri=location, dst_path=str(folder))
        copies.remove_unrecorded(Path(found))
        return Path(found)
    source = Path(url2pathname(parts.path) if parts.scheme else location)
    if not (source / integrity.MODEL_FILE).is_file():
        raise FileNotFoundError(source / integrity.MODEL_FILE)
    copies.copy_model(source, folder)
    return folder


def _translate(uri: str, error: Exception) -> ModelError:
    """Return what an error of MLflow, or of the store behind it, means for who asked for a model."""
    if isinstance(error, OSError) and error.filename and not is_absent(error):
        return ModelLoadError(
            f"{uri!r}: cannot read {error.filename} ({error.strerror}); check the permissions and the disk"
        )
    if is_absent(error) and find_problem(error) is None:
        return _no_model(uri)
    return as_registry_error(repr(uri), error)


def _no_model(uri: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"no model at {uri!r} (tracking server {show_store()}): "
        "fine-tune one with `python jobs/finetune.py --alias champion`, or pass another --model_uri"
    )


def _read_metadata(uri: str, files: Path) -> Any:
    """Return the content of the MLmodel file, which may be of any kind in a foreign folder."""
    try:
        return import_mlflow().models.Model.load(str(files))
    except Exception as error:
        raise ModelNotFoundError(
            f"{uri!r}: its MLmodel file cannot be read ({type(error).__name__}); expected a logged model; "
            "pass another --model_uri"
        ) from error


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
        # An MLmodel can claim any model id: use the tags only if the registry links that model to this run.
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
    if not uri.startswith("models:/"):
        return None
    client = import_mlflow().MlflowClient()
    name, at, alias = uri.removeprefix("models:/").partition("@")
    if at:
        return str(client.get_model_version_by_alias(name, alias).version)
    name, slash, version = name.partition("/")
    if version.isdecimal():
        return str(int(version))  # MLflow takes 07 for 7
    if not slash and name.startswith(_LOGGED_PREFIX):  # the id of a logged model, which may be in no registry
        return None
    if version != "latest":
        raise ModelNotFoundError(
            f"{uri!r}: expected models:/{name}@ALIAS, models:/{name}/NUMBER or models:/{name}/latest, found "
            f"{f'the stage {version!r}, which MLflow 3 no longer has' if version else 'no version'}; set an "
            f"alias, such as models:/{name}@champion"
        )
    versions = client.search_model_versions(f"name={quote(name)}", order_by=["version_number DESC"])
    if not versions:
        raise _no_model(uri)
    return str(max(int(found.version) for found in versions))


def quote(name: str) -> str:
    """Quote a name for a filter of MLflow, which knows no escapes."""
    return f'"{name}"' if "'" in name else f"'{name}'"
