"""Inspect one input file: its identity, its columns and its types."""

import difflib
import hashlib
import os
import stat
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ... import schema
from ...errors import InputError, SchemaMismatchError, UnreadableFileError
from ..storage import LOCAL, Storage
from ..store.manifests import FileIdentity
from .dates import is_date_type, parse_day
from .types import is_string

# The last bytes of a Parquet file: the length of its footer (4 bytes, little-endian) and `PAR1`.
_FOOTER_TAIL_BYTES = 8
# Spark's and Hive's folder name for a null.
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Columns:
    """Name the columns that a run reads; `date` and `order` are None if the run does not use them.

    `order` decides which row of a repeated id is the latest.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    date: str | None = None
    order: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Return each column once."""
        others = (name for name in (self.date, self.order) if name)
        return tuple(dict.fromkeys((*self.ids, *self.texts, *others)))


@dataclass(frozen=True)
class InputFile:
    """Describe an input file as it was when checked, to detect later changes.

    `path` is an absolute path, or a URI in an object store. `partitions` are the columns that its folders'
    names state; None is a null.
    """

    path: str
    size_bytes: int
    modified_ns: int
    footer_digest: str
    rows: int
    # Arrow types of the columns to read, without those that come from folder names.
    column_types: tuple[tuple[str, pa.DataType], ...]
    # All columns in the file.
    column_names: tuple[str, ...] = ()
    partitions: tuple[tuple[str, str | None], ...] = ()
    # ISO date of all rows if a folder's name states it. The footer's statistics are not used, because
    # pyarrow ends the process on some damaged ones.
    day: str | None = None
    # Rows of the file, numbered from 0 and rising, that a Delta table has deleted.
    deleted_rows: tuple[int, ...] = field(default=(), repr=False)

    def identity(self) -> FileIdentity:
        """Return the identity that a manifest holds."""
        return {
            "path": self.path,
            "size_bytes": self.size_bytes,
            "modified_ns": self.modified_ns,
            "footer_digest": self.footer_digest,
            "rows": self.rows,
        }

    def is_unchanged(self, storage: Storage) -> bool:
        """Return True if size and modification time have not changed since the check."""
        try:
            now = _find_info(storage, self.path)
        except OSError:
            return False
        return now == (self.size_bytes, self.modified_ns)


@dataclass(frozen=True)
class BadFile:
    """Hold a quarantined file and the error that is its reason."""

    path: str
    error: InputError

    def as_dict(self) -> dict[str, str]:
        """Return the entry for manifests and summaries."""
        return {"path": self.path, "reason": str(self.error)}


def inspect_file(
    path: str,
    root: str,
    storage: Storage,
    columns: Columns,
    partitions: Mapping[str, str | None] | None = None,
) -> InputFile:
    """Read the footer of one file and check its columns; raise an InputError that names the problem.

    `partitions` are columns that are not in the file, by default those in its folders' names.
    """
    if storage.is_local:
        _check_place(Path(path), Path(root))
    try:
        size_bytes, modified_ns = _find_info(storage, path)
        with storage.open().open_input_file(storage.to_path(path)) as opened:
            footer_digest = _digest_footer(opened)
            opened.seek(0)
            metadata = pq.read_metadata(opened)
        arrow_schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise make_unreadable_error(storage, path, error) from error
    if partitions is None:
        partitions = partition_values(path, root)
    _check_columns(path, arrow_schema, columns.all, set(partitions))
    types = tuple((n, arrow_schema.field(n).type) for n in columns.all if n in arrow_schema.names)
    if metadata.num_rows:
        check_types(path, dict(types), columns)
    return InputFile(
        path,
        size_bytes,
        modified_ns,
        footer_digest,
        metadata.num_rows,
        types,
        tuple(arrow_schema.names),
        tuple((name, value) for name, value in partitions.items() if name in columns.all),
        _find_day(path, partitions, columns.date),
    )


def partition_values(path: str, root: str) -> dict[str, str | None]:
    """Return the keys and values in the names of the folders between `root` and the file."""
    between = path[len(root) :].strip("/").split("/")[:-1]
    parts = (part.partition("=") for part in between if "=" in part)
    return {
        urllib.parse.unquote(key): None if value == _NULL_PARTITION else urllib.parse.unquote(value)
        for key, _, value in parts
    }


def make_unreadable_error(storage: Storage, path: str, error: Exception) -> UnreadableFileError:
    """Return the error for a file that is no Parquet file, is damaged, or may not be read."""
    if isinstance(error, PermissionError):
        return UnreadableFileError(f"{path}: may not be read by this user; change its permissions")
    try:
        size = f"{_find_info(storage, path)[0]:,} bytes, "
    except OSError:
        size = ""
    return UnreadableFileError(
        f"{path}: not a readable Parquet file ({size}{type(error).__name__}); remove or repair it"
    )


def _check_place(path: Path, root: Path) -> None:
    """Raise UnreadableFileError unless the path is a regular file inside `root`; a pipe would block."""
    try:
        real = path.resolve(strict=True)
        is_file = stat.S_ISREG(real.stat().st_mode)
    except (OSError, RuntimeError) as error:
        raise make_unreadable_error(LOCAL, str(path), error) from error
    if real != root and root not in real.parents:
        raise UnreadableFileError(
            f"{path}: is a link that leads out of the input; pass its target as the input"
        )
    if not is_file:
        raise UnreadableFileError(f"{path}: is not a regular file; remove it")


def _check_columns(path: str, columns: pa.Schema, names: tuple[str, ...], partitions: set[str]) -> None:
    missing = [name for name in names if name not in columns.names and name not in partitions]
    if missing:
        near = difflib.get_close_matches(missing[0], schema.name_like(columns.names), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SchemaMismatchError(
            f"{path}: has no column {', '.join(missing)}; {hint}found {schema.show_columns(columns.names)}; "
            "choose with --id_col and --text_col"
        )
    twice = [name for name in names if columns.names.count(name) > 1]
    if twice:
        raise SchemaMismatchError(f"{path}: has two columns {', '.join(twice)}; rename one")


def check_types(path: str, types: dict[str, pa.DataType], columns: Columns) -> None:
    """Raise SchemaMismatchError unless texts are strings, ids are not nested and dates have a day."""
    for name in (name for name in columns.texts if name in types):
        if not is_string(types[name]) and not pa.types.is_null(types[name]):
            raise SchemaMismatchError(
                f"{path}: column {name} holds {types[name]}, expected strings; choose with --text_col"
            )
    for name in (name for name in columns.ids if name in types):
        if pa.types.is_nested(types[name]):
            raise SchemaMismatchError(
                f"{path}: column {name} holds {types[name]}, expected plain values; choose with --id_col"
            )
    kind = types.get(columns.date or "")
    if kind is not None and not is_date_type(kind):
        raise SchemaMismatchError(
            f"{path}: column {columns.date} holds {kind}, expected dates; choose with --date_col"
        )


def _find_day(path: str, partitions: Mapping[str, str | None], date: str | None) -> str | None:
    """Return the ISO date that a folder's name gives a file; raise SchemaMismatchError if it is no date."""
    value = partitions.get(date or "")
    if value is None:
        return None
    day = parse_day(value)
    if day is None:
        raise SchemaMismatchError(
            f"{path}: a folder's name gives {date} a value that is no date, expected {date}=2026-01-31 or "
            f"{date}=20260131; rename the folder, or choose another --date_col"
        )
    return day.isoformat()


def _find_info(storage: Storage, path: str) -> tuple[int, int]:
    """Return size in bytes and modification time in nanoseconds; raise OSError if there is no file."""
    if storage.is_local:
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    info = storage.open().get_file_info(storage.to_path(path))
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(path)
    return info.size, info.mtime_ns


def _digest_footer(file: pa.NativeFile) -> str:
    size = file.size()
    tail = file.read_at(min(_FOOTER_TAIL_BYTES, size), max(0, size - _FOOTER_TAIL_BYTES))
    length = min(size, int.from_bytes(tail[:4], "little") + _FOOTER_TAIL_BYTES)
    return hashlib.sha256(file.read_at(length, size - length)).hexdigest()[:16]
