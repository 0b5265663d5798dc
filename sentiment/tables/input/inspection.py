"""Inspect an input of any supported form before Spark starts: file, folder, bucket or Delta table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from ...errors import ConfigError, InputError, SchemaMismatchError
from ..storage import find_storage
from ..uris import DELTA_PREFIX, resolve_uri
from .files import BadFile, Columns, InputFile, inspect_file, partition_values
from .listing import check_root, is_delta, list_files
from .tables import ReviewTable, make_table, name_kind

Value = TypeVar("Value")

# Files checked at the same time, because each check waits on a network file system.
_READERS = 8


def inspect_table(
    path: str,
    columns: Columns,
    options: Mapping[str, str] | None = None,
    version: int | None = None,
    timestamp: str | None = None,
) -> ReviewTable:
    """Check an input: a Delta table by a snapshot (`version` or `timestamp`), anything else file by file.

    Raises an InputError if there is nothing to read, or if it belongs to a format that cannot be read.
    """
    root, storage = resolve_uri(path), find_storage(path.removeprefix(DELTA_PREFIX), options)
    check_root(path, root, storage)
    if is_delta(root, storage):
        # Its library is optional, and plain files do not need it.
        from .delta import inspect_delta

        return inspect_delta(root, storage, columns, version, timestamp)
    if version is not None or timestamp is not None:
        raise ConfigError(f"version and timestamp select a snapshot of a Delta table, but {root} is none")
    return inspect_reviews(path, columns, options)


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
            file.path: name_kind(kind)
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
