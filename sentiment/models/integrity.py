"""Check that a model's files are those that were registered, and that its MLmodel file is safe to load.

Nothing of the model is imported, and MLflow is not called. A check is valid only while the files do
not change, so it is made on a private copy (`copies`).
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ..errors import ModelIntegrityError

MODEL_FILE = "MLmodel"
# MLflow writes name and version to this file next to a model that it fetches by a registered URI.
REGISTERED_META = "registered_model_meta"
_CACHE = "__pycache__"

# MLflow's two loaders of models from code (newer, older). With `model_code_path` set, neither unpickles.
_LOADERS = ("mlflow.pyfunc.loaders.code_model", "mlflow.pyfunc.model")
_MAX_MODEL_FILE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_SHOWN = 3

# Longest tag value to write. MLflow accepts 100,000 characters; older servers and databases only 5,000.
_TAG_CHARS = 4_900
_MAX_TAGS = 200


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def list_files(folder: Path) -> list[str]:
    """List the files of a model by relative POSIX path, without what MLflow and Python may add to it later.

    Raises ModelIntegrityError for a link, a device, or anything else that is neither file nor folder.
    """
    return sorted(path for path in _walk(folder) if not _is_derived(path))


def list_ignored(folder: Path) -> list[str]:
    """List the files that `list_files` leaves out; a private copy has none when it is made."""
    return sorted(path for path in _walk(folder) if _is_derived(path))


def make_record(folder: Path) -> dict[str, str]:
    """Return the record of a model: the sha256, in hex, of each of its files by relative POSIX path."""
    record = {}
    for path in list_files(folder):
        try:
            record[path] = digest_file(folder / path)
        except OSError as error:
            raise _cannot_read(folder / path, error) from error
    return record


def check_files(folder: Path, record: Mapping[str, str]) -> None:
    """Raise ModelIntegrityError unless the files of the model are exactly those of `record`."""
    _check_record(folder, record)
    differences = describe_differences(folder, record)
    if differences:
        raise ModelIntegrityError(
            f"{folder}: not the files that were registered ({differences}); expected the {len(record)} "
            "recorded files, unchanged; nothing of them was loaded; restore them, or use another version"
        )


def describe_differences(folder: Path, record: Mapping[str, str]) -> str:
    """Return which files of a folder are missing, changed or extra compared with `record`; "" if none."""
    found = make_record(folder)
    problems = {
        "missing": set(record) - set(found),
        "changed": {path for path in set(record) & set(found) if record[path] != found[path]},
        "extra": set(found) - set(record),
    }
    return "; ".join(f"{name}: {_name_few(paths)}" for name, paths in problems.items() if paths)


def check_shape(folder: Path) -> None:
    """Raise ModelIntegrityError unless the model's MLmodel file is safe to load; no record is needed.

    A safe file is plain YAML, and names a model from code and MLflow's own loader; every path in it exists
    inside the folder.
    """
    pyfunc, example = _read_pyfunc(folder)
    loader = pyfunc.get("loader_module")
    if loader not in _LOADERS:
        raise _refuse(folder, f"its loader_module is {_show(loader)}; expected {_LOADERS[0]}")
    if "model_code_path" not in pyfunc or pyfunc.get("python_model") is not None:
        raise _refuse(folder, "its python_model is pickled; expected a model from code (model_code_path)")
    # The path at logging time. MLflow uses only its last part, the file name.
    code_path = pyfunc["model_code_path"]
    if not isinstance(code_path, str) or ".." in PurePosixPath(code_path).parts:
        raise _refuse(folder, f"model_code_path is {_show(code_path)}; expected a file's path without `..`")
    _check_path(folder, "model_code_path", PurePosixPath(code_path).name)
    for name, value in _list_paths(pyfunc, example):
        _check_path(folder, name, value)


def pack_tags(name: str, text: str) -> dict[str, str]:
    """Split ASCII text into tags `name.0`, `name.1`, …; the tag `name` holds their number.

    Raises ValueError for text that is not ASCII, ModelIntegrityError for text that needs too many tags.
    """
    if not text.isascii():
        raise ValueError("expected ASCII")
    parts = [text[start : start + _TAG_CHARS] for start in range(0, len(text), _TAG_CHARS)]
    if len(parts) > _MAX_TAGS:
        raise ModelIntegrityError(
            f"the model has too many files to record: the record has {len(text):,} characters, expected at "
            f"most {_TAG_CHARS * _MAX_TAGS:,}; log the model with fewer files"
        )
    return {f"{name}.{i}": part for i, part in enumerate(parts)} | {name: str(len(parts))}


def unpack_tags(name: str, tags: Mapping[str, str]) -> str | None:
    """Return the text that `pack_tags` split; None without a tag `name`.

    Raises ModelIntegrityError if a part is missing.
    """
    count = tags.get(name)
    if count is None:
        return None
    parts = (
        [tags.get(f"{name}.{i}") for i in range(int(count))] if re.fullmatch(r"\d{1,3}", count) else [None]
    )
    if None in parts:
        raise ModelIntegrityError(
            f"the registry's tag {name!r} is damaged: expected {_show(count)} parts of it; "
            "delete these tags and record the model again, or use another version"
        )
    return "".join(part for part in parts if part is not None)


def dump_record(record: Mapping[str, str]) -> str:
    """Return a record as ASCII text; equal records give equal texts."""
    return json.dumps(dict(record), sort_keys=True, separators=(",", ":"))


def load_record(text: str) -> dict[str, str]:
    """Return the record in a text of `dump_record`. Raises ModelIntegrityError for any other text."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not all(isinstance(value, str) for value in record.values()):
        raise ModelIntegrityError(
            "the registry's record of the model's files is damaged: expected a sha256 for each path; "
            "use another version"
        )
    return record


def _walk(folder: Path, inside: str = "") -> Iterator[str]:
    try:
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                path = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(folder, path)
                elif entry.is_file(follow_symlinks=False):
                    yield path
                else:
                    kind = "a link" if entry.is_symlink() else "no regular file"
                    raise ModelIntegrityError(
                        f"{folder}: {_show(path)} is {kind}; expected only files and folders; "
                        "nothing of it was loaded; restore the model, or use another version"
                    )
    except OSError as error:
        raise _cannot_read(folder / inside, error) from error


def _is_derived(path: str) -> bool:
    """Return True for a file that MLflow or Python may add to a model's folder later."""
    *folders, name = path.split("/")
    return path == REGISTERED_META or (_CACHE in folders[-1:] and name.endswith(".pyc"))


def _check_record(folder: Path, record: Mapping[str, str]) -> None:
    bad = [path for path, digest in record.items() if not _is_plain(path) or not _is_sha256(digest)]
    if bad or not record:
        raise ModelIntegrityError(
            f"{folder}: the record of its files is damaged ({_name_few(bad) or 'empty'}); expected a sha256 "
            "for each path inside the model; use another version"
        )


def _is_plain(path: str) -> bool:
    """Return whether a path is relative, POSIX, in its shortest form, and stays inside its folder."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") for part in parts) and "\\" not in path and "\0" not in path


def _is_sha256(digest: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", digest) is not None


def _read_pyfunc(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the settings of the pyfunc in the MLmodel, and those of its input example."""
    path = folder / MODEL_FILE
    try:
        if path.stat().st_size > _MAX_MODEL_FILE_BYTES:
            raise _refuse(folder, f"it is larger than {_MAX_MODEL_FILE_BYTES:,} bytes")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _cannot_read(path, error) from error
    # The message of a YAML error quotes the file.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refuse(folder, "it is no plain YAML") from error
    flavors = content.get("flavors") if isinstance(content, dict) else None
    pyfunc = flavors.get("python_function") if isinstance(flavors, dict) else None
    if not isinstance(pyfunc, dict):
        raise _refuse(folder, "it names no python_function")
    example = content.get("saved_input_example_info")
    return pyfunc, example if isinstance(example, dict) else {}


def _list_paths(pyfunc: Mapping[str, Any], example: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield each path that an MLmodel file states, as (setting, value); the value may be of any type."""
    yield from ((name, pyfunc[name]) for name in ("code", "data") if pyfunc.get(name) is not None)
    artifacts = pyfunc.get("artifacts") or {}
    for name, artifact in artifacts.items() if isinstance(artifacts, dict) else [("", None)]:
        yield f"artifacts.{name}", artifact.get("path") if isinstance(artifact, dict) else None
    environment = pyfunc.get("env") or {}
    named = environment.items() if isinstance(environment, dict) else [("", environment)]
    yield from ((f"env.{name}", value) for name, value in named)
    kept = ("artifact_path", "serving_input_path")
    yield from ((name, example[name]) for name in kept if example.get(name) is not None)


def _check_path(folder: Path, name: str, value: object) -> None:
    if not isinstance(value, str) or not _is_plain(value) or not (folder / value).exists():
        raise _refuse(folder, f"{name} is {_show(value)}; expected a path that exists inside the folder")


def _refuse(folder: Path, problem: str) -> ModelIntegrityError:
    return ModelIntegrityError(
        f"{folder}/{MODEL_FILE}: {problem}; nothing of it was loaded; restore it, or use another version"
    )


def _cannot_read(path: Path, error: OSError) -> ModelIntegrityError:
    return ModelIntegrityError(
        f"{path}: cannot be read ({error.strerror}); expected a file or folder of the model; restore it, or "
        "use another version"
    )


def _name_few(paths: Collection[str]) -> str:
    shown = ", ".join(_show(path) for path in sorted(paths)[:_SHOWN])
    return shown + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def _show(value: object) -> str:
    """Return the value as one short line of ASCII for a message."""
    shown = ascii(value)
    return shown if len(shown) <= 120 else f"{shown[:117]}…"
