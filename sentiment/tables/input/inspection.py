"""Check the input file by file before Spark starts: which files can be read, and how many rows they have."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa

from ... import schema
from ...errors import ConfigError, EmptyInputError, InputError, SchemaMismatchError
from ..storage import LOCAL, Storage, find_storage, resolve_uri
from .files import BadFile, Columns, InputFile, inspect_file, is_string, partition_values
from .listing import check_root, list_files
from .types import check_carried

Value = TypeVar("Value")

# Files checked at the same time, because each check waits on a network file system.
_READERS = 8
_SHOWN_FILES = 3


@dataclass(frozen=True)
class ReviewTable:
    """Hold a checked input: root, usable files from the oldest to the newest, columns to read.

    Files of one modification time are in path order. Quarantined files are in path order.
    """

    root: str
    files: tuple[InputFile, ...]
    columns: Columns
    bad_files: tuple[BadFile, ...] = ()
    storage: Storage = LOCAL
    # Version of a Delta table, None for plain files.
    version: int | None = None

    @property
    def rows(self) -> int:
        """Return the rows of the usable files, without those that a Delta table has deleted."""
        return sum(file.rows - len(file.deleted_rows) for file in self.files)

    @property
    def id_types(self) -> dict[str, str]:
        """Return each id column's type: `string` (also for folder names), or Arrow's name of the type."""
        types = dict.fromkeys(self.columns.ids, "string")
        for file in self.files:
            if file.rows:
                types |= {
                    n: _say_kind(k) for n, k in file.column_types if n in types and not pa.types.is_null(k)
                }
        return types

    def without(self, bad: Iterable[BadFile]) -> "ReviewTable":
        """Return the same table with these files quarantined."""
        aside = (*self.bad_files, *bad)
        usable = _without(list(self.files), list(aside))
        return replace(self, files=tuple(usable), bad_files=aside)

    def list_oddities(self) -> list[str]:
        """Describe harmless findings that may be mistakes: files without rows, files with extra columns."""
        empty = [file.path for file in self.files if not file.rows]
        common = set(self.files[0].column_names) if self.files else set()
        for file in self.files:
            common &= set(file.column_names)
        wider = [file for file in self.files if set(file.column_names) - common]
        notes = []
        if empty:
            notes.append(f"{len(empty):,} input files have no rows: {show_paths(empty)}")
        if wider:
            more = schema.show_columns(sorted(set().union(*(file.column_names for file in wider)) - common))
            notes.append(
                f"{len(wider):,} input files have extra columns ({more}), which are not read: "
                f"{show_paths([file.path for file in wider])}"
            )
        return notes


def show_paths(paths: list[str]) -> str:
    """Join the first few paths, and state how many more there are."""
    more = f" and {len(paths) - _SHOWN_FILES:,} more" if len(paths) > _SHOWN_FILES else ""
    return ", ".join(paths[:_SHOWN_FILES]) + more


def check_columns(
    id_col: str, text_col: str, date_col: str | None = None, order_col: str | None = None
) -> Columns:
    """Parse the column arguments; raise ConfigError if they cannot make a scored table."""
    ids, texts = schema.split_columns(id_col), schema.split_columns(text_col)
    if not ids or not texts:
        raise ConfigError("id_col and text_col: expected at least one column name each")
    taken = {schema.TEXT, *schema.PREDICTION_COLUMNS, *schema.TABLE_COLUMNS, *schema.STORE_KEYS}
    clashes = [name for name in ids if name in taken or name.startswith("_")]
    if clashes:
        raise ConfigError(
            f"id_col: {', '.join(clashes)} is a name that the scored table reserves; rename the column"
        )
    both = [name for name in ids if name in texts]
    if both:
        raise ConfigError(f"id_col: {', '.join(both)} is in text_col, and scores must not hold review text")
    if len(set(ids)) != len(ids):
        raise ConfigError("id_col: a column is listed twice, expected each column once")
    return Columns(ids, texts, date_col, order_col)


def inspect_reviews(path: str, columns: Columns, options: Mapping[str, str] | None = None) -> ReviewTable:
    """Check the footer of every file under `path` and quarantine files that cannot be used.

    `options` are those of an object store. Names that begin with `_` or `.` are ignored below `path`, as in
    every Parquet reader. Raises an InputError if there is nothing to read. If no file can be used, raises the
    error of the first one.
    """
    root, storage = resolve_uri(path), find_storage(path, options)
    check_root(path, root, storage)
    listing = list_files(root, storage)

    def inspect(file: str) -> InputFile | BadFile:
        try:
            return inspect_file(file, root, storage, columns)
        except InputError as error:
            return BadFile(file, error)

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(inspect, listing.paths))
    checked = [item for item in found if isinstance(item, InputFile)]
    bad = [*listing.bad, *(item for item in found if isinstance(item, BadFile))]
    for check in (_check_same_types(checked, columns), _check_same_partitions(checked, root)):
        bad += check
    return make_table(root, storage, columns, checked, bad)


def make_table(
    root: str, storage: Storage, columns: Columns, checked: list[InputFile], bad: list[BadFile]
) -> ReviewTable:
    """Return the table of the checked files; raise an InputError if no file or no row can be used."""
    usable = sorted(_without(checked, bad), key=lambda file: (file.modified_ns, file.path))
    if bad and not usable:
        raise bad[0].error
    for file in usable:
        for name, kind in file.column_types:
            if name in (*columns.ids, columns.order):
                check_carried(file.path, name, kind)
    table = ReviewTable(root, tuple(usable), columns, tuple(sorted(bad, key=lambda i: i.path)), storage)
    if table.rows == 0 and not bad:
        raise EmptyInputError(f"{root}: has no rows, expected at least one review")
    return table


def _without(files: list[InputFile], bad: list[BadFile]) -> list[InputFile]:
    paths = {item.path for item in bad}
    return [file for file in files if file.path not in paths]


def _check_same_partitions(files: list[InputFile], root: str) -> Iterator[BadFile]:
    """Yield files that are not in the usual partition folders: Spark would silently ignore them."""
    keys = {file.path: tuple(partition_values(file.path, root)) for file in files}
    usual = _most_common(keys.values())
    for path, found in keys.items():
        if found != usual:
            yield BadFile(
                path,
                SchemaMismatchError(
                    f"{path}: partition columns are {', '.join(found) or 'none'}, but in most files "
                    f"{', '.join(usual or ()) or 'none'}; expected the same for all files; move the file"
                ),
            )


def _check_same_types(files: list[InputFile], columns: Columns) -> Iterator[BadFile]:
    """Yield files whose ids or order have an unusual type: the same id would name two reviews, or none."""
    for name in (*columns.ids, *([columns.order] if columns.order else [])):
        kinds = {
            file.path: _say_kind(kind)
            for file in files
            for column, kind in file.column_types
            if column == name and file.rows and not pa.types.is_null(kind)
        }
        usual = _most_common(kinds.values())
        for path, kind in kinds.items():
            if kind != usual:
                error = f"{path}: column {name} holds {kind}, but {usual} in most files; expected one type"
                yield BadFile(path, SchemaMismatchError(error))


def _most_common(values: Iterable[Value]) -> Value | None:
    """Return the most frequent value, the first one if several are equally frequent."""
    return next((value for value, _ in Counter(values).most_common(1)), None)


def _say_kind(kind: pa.DataType) -> str:
    return "string" if is_string(kind) else str(kind)
