"""Inspect one input file: its identity, its columns and its contents."""

import difflib
import hashlib
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ... import schema
from ...errors import InputError, SchemaMismatchError, UnreadableFileError

# The last bytes of a Parquet file: the length of its footer (4 bytes, little-endian) and `PAR1`.
_FOOTER_TAIL_BYTES = 8
_READ_BYTES = 1 << 20
_DECODE_ROWS = 1_024

_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

# Path, size, modification time, footer digest and rows of a file, as a manifest holds them.
FileIdentity = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """Name the columns that a run reads; `date` is None if the run does not select by date."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    date: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.ids, *self.texts, *((self.date,) if self.date else ()))


@dataclass(frozen=True)
class InputFile:
    """Describe an input file as it was when checked, to detect later changes."""

    path: Path
    size_bytes: int
    modified_ns: int
    footer_digest: str
    rows: int
    # Arrow types of the columns to read, without those that come from folder names.
    column_types: tuple[tuple[str, pa.DataType], ...]
    # All columns in the file.
    column_names: tuple[str, ...] = ()
    # ISO date of all rows if a folder's name states it. The footer's statistics are not used, because
    # pyarrow ends the process on some damaged ones.
    day: str | None = None

    @property
    def null_columns(self) -> frozenset[str]:
        """Return the columns without a type; writers that infer types make them if all values are null."""
        return frozenset(name for name, kind in self.column_types if pa.types.is_null(kind))

    def identity(self) -> FileIdentity:
        """Return the identity that a manifest holds."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "modified_ns": self.modified_ns,
            "footer_digest": self.footer_digest,
            "rows": self.rows,
        }

    def is_unchanged(self) -> bool:
        """Return True if size and modification time have not changed since the check."""
        try:
            now = self.path.stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size_bytes, self.modified_ns)


@dataclass(frozen=True)
class BadFile:
    """Hold a quarantined file and the error that is its reason."""

    path: Path
    error: InputError

    def as_dict(self) -> dict[str, str]:
        """Return the entry for manifests and summaries."""
        return {"path": str(self.path), "reason": str(self.error)}


def inspect_file(path: Path, root: Path, columns: Columns) -> InputFile:
    """Read the footer of one file and check its columns; raise an InputError that names the problem."""
    _check_place(path, root)
    try:
        found = path.stat()
        footer_digest = _digest_footer(path)
        metadata = pq.read_metadata(path)
        arrow_schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    partitions = partition_values(path, root)
    _check_columns(path, arrow_schema, columns.all, set(partitions))
    types = tuple((n, arrow_schema.field(n).type) for n in columns.all if n in arrow_schema.names)
    if metadata.num_rows:
        _check_types(path, dict(types), columns)
    return InputFile(
        path,
        found.st_size,
        found.st_mtime_ns,
        footer_digest,
        metadata.num_rows,
        types,
        tuple(arrow_schema.names),
        _find_day(partitions, columns.date),
    )


def check_contents(file: InputFile, columns: Iterable[str]) -> None:
    """Decode the columns of a file and verify its page checksums, if it has any; Spark ignores checksums.

    Raises UnreadableFileError if a page is damaged or if the number of rows differs from the footer.
    """
    held = {name for name, _ in file.column_types}
    wanted = [name for name in columns if name in held]
    rows = 0
    try:
        # By default Arrow loads all data before it decodes any: the driver would hold the whole file.
        with pq.ParquetFile(
            file.path, page_checksum_verification=True, pre_buffer=False, buffer_size=_READ_BYTES
        ) as opened:
            for batch in opened.iter_batches(_DECODE_ROWS, columns=wanted):
                rows += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.path, error) from error
    if rows != file.rows:
        raise UnreadableFileError(
            f"{file.path}: holds {rows:,} rows, but its footer states {file.rows:,}; repair the file"
        )


def find_bytes(file: InputFile, start_row: int, stop_row: int) -> tuple[int, int]:
    """Return the bytes [start, stop) of the row groups that hold rows [start_row, stop_row).

    Raises UnreadableFileError if the footer can no longer be read.
    """
    try:
        metadata = pq.read_metadata(file.path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.path, error) from error
    starts, stops, at = [], [], 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        if at < stop_row and at + group.num_rows > start_row:
            chunks = [group.column(i) for i in range(group.num_columns)]
            # Writers that use no dictionary omit its offset or write 0.
            offsets = [min(filter(None, (c.dictionary_page_offset, c.data_page_offset))) for c in chunks]
            starts.append(min(offsets))
            # Spark finds a group's middle as first column's offset + half the size; include that point.
            stops.append(max(offsets) + sum(chunk.total_compressed_size for chunk in chunks))
        at += group.num_rows
    return min(starts), max(stops)


def partition_values(path: Path, root: Path) -> dict[str, str]:
    """Return the keys and values in the names of the folders between `root` and the file."""
    parts = (part.partition("=") for part in path.relative_to(root).parts[:-1] if "=" in part)
    return {key: value for key, _, value in parts}


def is_string(kind: pa.DataType) -> bool:
    """Return True for every Arrow string type, including a dictionary of strings."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _unreadable(path: Path, error: Exception) -> UnreadableFileError:
    try:
        size = f"{path.stat().st_size:,} bytes, "
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
        raise _unreadable(path, error) from error
    if real != root and root not in real.parents:
        raise UnreadableFileError(
            f"{path}: is a link that leads out of the input; pass its target as the input"
        )
    if not is_file:
        raise UnreadableFileError(f"{path}: is not a regular file; remove it")


def _check_columns(path: Path, columns: pa.Schema, names: tuple[str, ...], partitions: set[str]) -> None:
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


def _check_types(path: Path, types: dict[str, pa.DataType], columns: Columns) -> None:
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
    if kind is not None and not (
        is_string(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind)
    ):
        raise SchemaMismatchError(
            f"{path}: column {columns.date} holds {kind}, expected dates; choose with --date_col"
        )


def _find_day(partitions: dict[str, str], date: str | None) -> str | None:
    """Return the ISO date, or None for other formats: Spark accepts `2026-1-5`, which sorts wrongly."""
    day = partitions.get(date or "", "")[:10]
    return day if _ISO_DAY.fullmatch(day) else None


def _digest_footer(path: Path) -> str:
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(-min(_FOOTER_TAIL_BYTES, size), 2)
        tail = file.read()
        length = int.from_bytes(tail[:4], "little") + _FOOTER_TAIL_BYTES
        file.seek(-min(length, size), 2)
        return hashlib.sha256(file.read(length)).hexdigest()[:16]
