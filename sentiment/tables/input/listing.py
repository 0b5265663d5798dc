"""List the files of a folder or bucket, and recognise tables whose files must not be read one by one."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

from ...errors import InputError, MissingInputError, UnreadableFileError
from ..storage import LOCAL, Storage, call_store
from .files import BadFile

DELTA_LOG = "_delta_log"
_HUDI = ".hoodie"
_ICEBERG = "metadata"
_ICEBERG_SUFFIX = ".metadata.json"


@dataclass(frozen=True)
class Listing:
    """Hold the paths below an input, in order, and what could not be listed."""

    paths: tuple[str, ...]
    bad: tuple[BadFile, ...] = ()


def is_delta(root: str, storage: Storage) -> bool:
    """Return True if a folder has a Delta log; raise an InputError for the other table formats.

    Looks above the folder too: the data folder of a table holds rows that the table has deleted. Delta is
    therefore refused below its root.
    """
    for folder in (root, *_list_parents(root, storage)):
        if _has(storage, f"{folder}/{DELTA_LOG}"):
            if folder == root:
                return True
            raise InputError(
                f"{root}: is inside the Delta table {folder}; its files also hold rows that the table has "
                "deleted; pass the table's folder"
            )
        if _has(storage, f"{folder}/{_HUDI}"):
            raise InputError(f"{root}: {_advise(folder, 'a Hudi table')}")
        if _has_iceberg(storage, folder):
            raise InputError(f"{root}: {_advise(folder, 'an Iceberg table')}")
    return False


def _refuse_table(root: str, folder: str, folders: Sequence[str]) -> None:
    """Raise InputError if a folder below the input is a table, whose files also hold deleted rows."""
    formats = {DELTA_LOG: "a Delta table", _HUDI: "a Hudi table"}
    kind = next((kind for name, kind in formats.items() if name in folders), None)
    if kind is None and _ICEBERG in folders and _has_iceberg(LOCAL, folder):
        kind = "an Iceberg table"
    if kind is not None:
        raise InputError(
            f"{root}: contains {kind} at {folder}, whose files also hold rows that the table has deleted; "
            "move it out of the input, or pass only a Delta table's own folder"
        )


def _advise(folder: str, kind: str) -> str:
    return (
        f"belongs to {kind} at {folder}, whose files cannot be read one by one: they also hold deleted and "
        "replaced rows; export its reviews to Parquet or Delta with the table's own tools, and leave its "
        "files as they are"
    )


def _list_parents(root: str, storage: Storage) -> Iterator[str]:
    """Yield the folders above, without a bucket's name or the file system's root."""
    prefix = "" if storage.is_local else f"{storage.scheme}://"
    parts = root[len(prefix) :].strip("/").split("/")
    first = 1 if storage.is_local else 2
    for n in range(len(parts) - 1, first - 1, -1):
        yield prefix + ("/" if storage.is_local else "") + "/".join(parts[:n])


def _has(storage: Storage, uri: str) -> bool:
    if storage.is_local:
        return os.path.exists(uri)
    return bool(_info(storage, uri).type == pafs.FileType.Directory)


def _has_iceberg(storage: Storage, folder: str) -> bool:
    if storage.is_local:
        try:
            names = os.listdir(f"{folder}/{_ICEBERG}")
        except OSError:
            return False
    elif _has(storage, f"{folder}/{_ICEBERG}"):
        selector = pafs.FileSelector(storage.to_path(f"{folder}/{_ICEBERG}"))
        names = [info.base_name for info in storage.open().get_file_info(selector)]
    else:
        return False
    return any(name.endswith(_ICEBERG_SUFFIX) for name in names)


def check_root(path: str, root: str, storage: Storage) -> None:
    """Raise an InputError unless there is a file or folder of this name that may be read."""
    if storage.is_local:
        if not os.path.lexists(root):
            raise MissingInputError(f"{root}: no such file or folder{_explain_pattern(path)}")
        if os.path.isdir(root) and not os.access(root, os.R_OK | os.X_OK):
            raise InputError(f"{root}: this user may not list the folder; change its permissions")
    elif _info(storage, root).type == pafs.FileType.NotFound:
        raise MissingInputError(f"{root}: no such object or prefix; check the input path")


def _explain_pattern(path: str) -> str:
    if any(letter in path for letter in "*?["):
        return "; patterns are not expanded: pass the folder, whose files are all read"
    if "," in path:
        return "; a list is not taken: pass the folder that holds the files"
    return "; check the input path"


def list_files(root: str, storage: Storage) -> Listing:
    """List the files below `root`, without hidden ones; a folder that may not be entered is a bad file."""
    if not storage.is_local:
        return _list_objects(root, storage)
    if not os.path.isdir(root):
        return Listing((root,))
    files: list[str] = []
    closed: list[BadFile] = []

    def note(error: OSError) -> None:
        reason = (
            f"{error.filename}: this user may not list the folder ({error.strerror}); change its permissions"
        )
        closed.append(BadFile(str(error.filename), UnreadableFileError(reason)))

    for folder, folders, names in os.walk(root, onerror=note):
        _refuse_table(root, folder, folders)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        # A linked folder is not entered. It is listed as a file, so that its check quarantines it.
        files += [os.path.join(folder, name) for name in sorted([*names, *links]) if not _is_hidden(name)]
    if not files and not closed:
        raise MissingInputError(f"{root}: is a folder without Parquet files")
    _check_not_all_links(root, files)
    return Listing(tuple(files), tuple(closed))


def _check_not_all_links(root: str, files: list[str]) -> None:
    inside = Path(root).resolve()
    if files and all(os.path.islink(file) and inside not in Path(file).resolve().parents for file in files):
        raise InputError(
            f"{root}: all {len(files):,} files are links that lead out of the folder, as in the cache of a "
            "model or data hub; copy what they lead to (cp -rL), and pass the copy"
        )


def _list_objects(root: str, storage: Storage) -> Listing:
    found = _info(storage, root)
    prefix = f"{storage.scheme}://"
    if found.type == pafs.FileType.File:
        return Listing((root,))
    selector = pafs.FileSelector(storage.to_path(root), recursive=True)
    infos = call_store(storage, root, lambda files: files.get_file_info(selector))
    base = len(storage.to_path(root)) + 1
    for info in infos:
        parent, _, name = info.path.rpartition("/")
        is_iceberg = info.path.endswith(_ICEBERG_SUFFIX) and parent.endswith(f"/{_ICEBERG}")
        if name in (DELTA_LOG, _HUDI) or is_iceberg:
            raise InputError(
                f"{root}: contains a Delta, Hudi or Iceberg table at {prefix}{parent}, whose files also hold "
                "rows that the table has deleted; pass only a Delta table's own folder"
            )
    paths = sorted(
        prefix + info.path
        for info in infos
        if info.type == pafs.FileType.File and not any(map(_is_hidden, info.path[base:].split("/")))
    )
    if not paths:
        raise MissingInputError(f"{root}: is a prefix without Parquet files")
    return Listing(tuple(paths))


def _info(storage: Storage, uri: str) -> pafs.FileInfo:
    return call_store(storage, uri, lambda files: files.get_file_info(storage.to_path(uri)))


def _is_hidden(name: str) -> bool:
    """Apply Spark's rule: names with `_` or `.` first are hidden, except partitions such as `_day=01`."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)
