"""Check that a model's files are those that were registered, and of a shape that is safe to load.

Pure: files and plain values in, nothing imported of the model and nothing asked of MLflow. A check is of the
moment: who goes on writing to the files while they are in use is kept out by the store's permissions alone.
"""

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ..errors import ModelIntegrityError
from .pickles import find_pickle

MODEL_FILE = "MLmodel"
REGISTERED_META = "registered_model_meta"
"""Written by MLflow beside a model fetched by a registered URI: name and version, read by nothing here."""
_CACHE = "__pycache__"

_LOADERS = ("mlflow.pyfunc.loaders.code_model", "mlflow.pyfunc.model")
"""MLflow's loaders of models from code, newer and older; `model_code_path` keeps both from unpickling."""
_MAX_MODEL_FILE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_SHOWN = 3

_TAG_CHARS = 4_900
"""Of a tag's value. MLflow takes 100,000 in the registry; older servers, and databases behind them, 5,000."""
_MAX_TAGS = 200

_LARGE_BYTES = 1 << 20
_SETTLED_NS = 2_000_000_000

Stamp = tuple[int, ...]
"""A file as the kernel knows it: device, inode, size, and times of change of content and of inode."""


def digest_files(folder: Path) -> dict[str, str]:
    """Return the sha256, in hex, of every regular file under `folder` by its relative POSIX path.

    Raises ModelIntegrityError for a link, a device, or anything else that is neither file nor folder.
    """
    return {path: _digest(folder / path)[0] for path in sorted(_list_files(folder))}


def make_record(folder: Path) -> dict[str, str]:
    """Return the record of a model: `digest_files` without what MLflow and Python write next to it later."""
    return {path: digest for path, digest in digest_files(folder).items() if not _is_derived(path)}


def list_derived(folder: Path) -> list[str]:
    """List what `make_record` leaves out: written since by MLflow or Python, and read by nothing here."""
    return sorted(path for path in _list_files(folder) if _is_derived(path))


def check_files(
    folder: Path, record: Mapping[str, str], known: Mapping[str, Stamp] | None = None
) -> dict[str, Stamp]:
    """Raise ModelIntegrityError unless the files under `folder` are exactly those of `record`.

    Compiled code under `__pycache__` is passed over: `carried` sees to it that none is ever read.
    A large file that still has its stamp in `known` is not read again. Returns such stamps: of a large
    file that last changed well before it was hashed, since the kernel's clock of changes is coarse.
    """
    _check_record(folder, record)
    found = {path for path in _list_files(folder) if not _is_derived(path)}
    stamps, changed = {}, []
    for path in sorted(found & set(record)):
        before = _stamp(os.lstat(folder / path))
        if known is not None and tuple(known.get(path, ())) == before:
            stamps[path] = before
            continue
        digest, stamp, is_settled = _digest(folder / path)
        if digest != record[path]:
            changed.append(path)
        elif is_settled:
            stamps[path] = stamp
    problems = {"missing": set(record) - found, "changed": changed, "extra": found - set(record)}
    told = [f"{name}: {_name_few(paths)}" for name, paths in problems.items() if paths]
    if told:
        raise ModelIntegrityError(
            f"{folder}: not the files that were registered ({'; '.join(told)}); expected the {len(record)} "
            "of the record, unchanged; nothing of them was loaded; restore them, or use another version"
        )
    return stamps


def check_shape(folder: Path) -> None:
    """Raise ModelIntegrityError unless the model keeps the rules of every model, recorded or not.

    No links; nothing pickled, by name or content; an MLmodel of plain YAML whose pyfunc is a model from
    code, loaded by MLflow's own loader, and whose paths all exist inside the folder.
    """
    for path in _list_files(folder):
        if pickled := _name_pickle(folder / path):
            raise ModelIntegrityError(
                f"{folder}: {_show(path)} is {pickled}, which runs code when it is read; expected weights as "
                "safetensors and the model as code; log the model again without it"
            )
    pyfunc, example = _read_pyfunc(folder)
    loader = pyfunc.get("loader_module")
    if loader not in _LOADERS:
        raise _refuse(folder, f"its loader_module is {_show(loader)}; expected {_LOADERS[0]}")
    if "model_code_path" not in pyfunc or pyfunc.get("python_model") is not None:
        raise _refuse(folder, "its python_model is pickled; expected a model from code (model_code_path)")
    # MLflow keeps here where the file was when it was logged, and takes the name alone.
    code_path = pyfunc["model_code_path"]
    if not isinstance(code_path, str) or ".." in PurePosixPath(code_path).parts:
        raise _refuse(folder, f"model_code_path is {_show(code_path)}; expected a file's path without `..`")
    _check_path(folder, "model_code_path", PurePosixPath(code_path).name)
    for name, value in _list_paths(pyfunc, example):
        _check_path(folder, name, value)


def pack_tags(name: str, text: str) -> dict[str, str]:
    """ASCII text as tags that any registry takes; the last one, `name`, is the number of the others."""
    if not text.isascii():
        raise ValueError("expected ASCII")
    parts = [text[start : start + _TAG_CHARS] for start in range(0, len(text), _TAG_CHARS)]
    if len(parts) > _MAX_TAGS:
        raise ModelIntegrityError(
            f"the model has too many files to record: {len(text):,} characters of them, expected at most "
            f"{_TAG_CHARS * _MAX_TAGS:,}; log it with fewer files"
        )
    return {f"{name}.{i}": part for i, part in enumerate(parts)} | {name: str(len(parts))}


def unpack_tags(name: str, tags: Mapping[str, str]) -> str | None:
    """Return what `pack_tags` packed, None if nothing. Raises ModelIntegrityError if a part is missing."""
    count = tags.get(name)
    if count is None:
        return None
    parts = (
        [tags.get(f"{name}.{i}") for i in range(int(count))] if re.fullmatch(r"\d{1,3}", count) else [None]
    )
    if None in parts:
        raise ModelIntegrityError(
            f"the registry's tag {name!r} is damaged: expected {_show(count)} parts of it beside it; "
            "delete these tags and record the model again, or use another version"
        )
    return "".join(part for part in parts if part is not None)


def dump_record(record: Mapping[str, str]) -> str:
    """Return a record as ASCII text, the same for the same record."""
    return json.dumps(dict(record), sort_keys=True, separators=(",", ":"))


def load_record(text: str) -> dict[str, str]:
    """Return what `dump_record` dumped. Raises ModelIntegrityError for anything else."""
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


def _list_files(folder: Path, inside: str = "") -> Iterator[str]:
    try:
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                path = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from _list_files(folder, path)
                elif entry.is_file(follow_symlinks=False):
                    yield path
                else:
                    kind = "a link" if entry.is_symlink() else "no regular file"
                    raise ModelIntegrityError(
                        f"{folder}: {_show(path)} is {kind}; expected files and folders alone; "
                        "nothing of it was loaded; restore the model, or use another version"
                    )
    except OSError as error:
        raise _cannot_read(folder / inside, error) from error


def _digest(path: Path) -> tuple[str, Stamp, bool]:
    """Digest and stamp of a file, and whether the stamp may stand for the content from now on."""
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        # Not through a link that has taken the file's place since it was listed.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelIntegrityError(f"{path}: no regular file; expected files and folders alone")
            now_ns = time.time_ns()
            while n := file.readinto(buffer):
                digest.update(view[:n])
            is_same = _stamp(os.fstat(file.fileno())) == _stamp(status)
    except OSError as error:
        raise _cannot_read(path, error) from error
    is_old = now_ns - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
    is_settled = is_same and is_old and status.st_size >= _LARGE_BYTES
    return digest.hexdigest(), _stamp(status), is_settled


def _stamp(status: os.stat_result) -> Stamp:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _is_derived(path: str) -> bool:
    """Return whether MLflow or Python may have written it since, and nothing reads it at loading."""
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
    """Return whether it is a relative POSIX path, in its shortest form, that stays inside."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") for part in parts) and "\\" not in path and "\0" not in path


def _is_sha256(digest: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", digest) is not None


def _name_pickle(path: Path) -> str | None:
    try:
        return find_pickle(path)
    except OSError as error:
        raise _cannot_read(path, error) from error


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
    """Yield what an MLmodel names inside the folder: (setting, value)."""
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
    """On one line, whatever a name holds, and no longer than is useful."""
    shown = ascii(value)
    return shown if len(shown) <= 120 else f"{shown[:117]}…"
