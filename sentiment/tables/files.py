"""One input file: what it is, whether it can be used, and whether it is whole."""

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

from .. import schema
from ..errors import InputError, SchemaMismatchError, UnreadableFileError

_FOOTER_TAIL_BYTES = 8
"""The last bytes of a Parquet file: its footer's length (4, little-endian) and `PAR1`."""
_READ_BYTES = 1 << 20
_DECODE_ROWS = 1_024

_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

FileIdentity = dict[str, Any]
"""Path, size, modification time, footer digest and rows of a file, as a manifest holds them."""


@dataclass(frozen=True)
class Columns:
    """The columns that a run reads; `date` only if it asks for a span of dates."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    date: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.ids, *self.texts, *((self.date,) if self.date else ()))


@dataclass(frozen=True)
class InputFile:
    """One file as it was when checked: what tells whether it is still the same one."""

    path: Path
    size_bytes: int
    modified_ns: int
    footer_digest: str
    rows: int
    column_types: tuple[tuple[str, pa.DataType], ...]
    """Arrow types of the columns to read that are in the file, not in the names of its folders."""
    column_names: tuple[str, ...] = ()
    """All that the file holds."""
    day: str | None = None
    """ISO date of all its rows, where a folder's name tells. The footer's statistics are not asked: pyarrow
    ends the process at some damaged ones."""

    @property
    def null_columns(self) -> frozenset[str]:
        """Columns that have no type because they have no value: writers that infer types make such files."""
        return frozenset(name for name, kind in self.column_types if pa.types.is_null(kind))

    def identity(self) -> FileIdentity:
        """What a manifest says of it."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "modified_ns": self.modified_ns,
            "footer_digest": self.footer_digest,
            "rows": self.rows,
        }

    def is_unchanged(self) -> bool:
        """Whether size and modification time are still what they were."""
        try:
            now = self.path.stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size_bytes, self.modified_ns)


@dataclass(frozen=True)
class BadFile:
    """A file that is set aside, and the error that says why."""

    path: Path
    error: InputError

    def as_dict(self) -> dict[str, str]:
        """What manifests and summaries say of it."""
        return {"path": str(self.path), "reason": str(self.error)}


def inspect_file(path: Path, root: Path, columns: Columns) -> InputFile:
    """Read the footer of one file and compare its columns with those wanted.

    Raises an InputError that names the file and what is wrong with it.
    """
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
    """Decode the columns of a file, page checksums (where it has them) included.

    Spark does not look at checksums, and stops at the first damaged page. Raises UnreadableFileError.
    """
    held = {name for name, _ in file.column_types}
    wanted = [name for name in columns if name in held]
    rows = 0
    try:
        # By default Arrow fetches first all that it will decode: the driver's memory would be the file's.
        with pq.ParquetFile(
            file.path, page_checksum_verification=True, pre_buffer=False, buffer_size=_READ_BYTES
        ) as opened:
            for batch in opened.iter_batches(_DECODE_ROWS, columns=wanted):
                rows += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.path, error) from error
    if rows != file.rows:
        raise UnreadableFileError(
            f"{file.path}: holds {rows:,} rows, its footer says {file.rows:,}; repair it"
        )


def find_bytes(file: InputFile, start_row: int, stop_row: int) -> tuple[int, int]:
    """Bytes [start, stop) of the file in which the row groups lie that hold rows [start_row, stop_row).

    Raises UnreadableFileError if the footer cannot be read any more.
    """
    try:
        metadata = pq.read_metadata(file.path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.path, error) from error
    starts, stops, at = [], [], 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        if at < stop_row and at + group.num_rows > start_row:
            chunks = [group.column(i) for i in range(group.num_columns)]
            # Writers that use no dictionary leave its offset out, or write 0.
            offsets = [min(filter(None, (c.dictionary_page_offset, c.data_page_offset))) for c in chunks]
            starts.append(min(offsets))
            # Readers count a group's middle from its first column, wherever in the group that lies.
            stops.append(max(offsets) + sum(chunk.total_compressed_size for chunk in chunks))
        at += group.num_rows
    return min(starts), max(stops)


def partition_values(path: Path, root: Path) -> dict[str, str]:
    """The keys and values that the folders between `root` and the file give to it."""
    parts = (part.partition("=") for part in path.relative_to(root).parts[:-1] if "=" in part)
    return {key: value for key, _, value in parts}


def is_string(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of the kinds of string, a dictionary of strings included."""
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
    """A link may lead to what nobody meant to be scored, and opening a pipe would wait for ever."""
    try:
        real = path.resolve(strict=True)
        is_file = stat.S_ISREG(real.stat().st_mode)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if real != root and root not in real.parents:
        raise UnreadableFileError(
            f"{path}: is a link that leads out of the input; name its target as the input"
        )
    if not is_file:
        raise UnreadableFileError(f"{path}: is no file that can be read as Parquet; remove it")


def _check_columns(path: Path, columns: pa.Schema, names: tuple[str, ...], partitions: set[str]) -> None:
    missing = [name for name in names if name not in columns.names and name not in partitions]
    if missing:
        near = difflib.get_close_matches(missing[0], schema.name_like(columns.names), n=1)
        hint = f"is it {near[0]}? " if near else ""
        raise SchemaMismatchError(
            f"{path}: has no column {', '.join(missing)}; {hint}found {schema.show_columns(columns.names)}; "
            "choose with --id_col and --text_col"
        )
    twice = [name for name in names if columns.names.count(name) > 1]
    if twice:
        raise SchemaMismatchError(f"{path}: has two columns {', '.join(twice)}; rename one")


def _check_types(path: Path, types: dict[str, pa.DataType], columns: Columns) -> None:
    """Texts must be strings, ids plain values, dates something that has a day."""
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
    """Written otherwise it is unknown: Spark takes `2026-1-5` for a date too, which sorts wrongly."""
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
