"""Inspect a Delta table by one snapshot: exactly its rows, whatever else lies in its folder."""

import dataclasses
import datetime
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import EmptyInputError, InputError, UnreadableFileError
from ..deltalog import list_adds, list_deleted_rows, open_snapshot
from ..storage import Storage
from ..uris import find_scheme
from .files import BadFile, Columns, InputFile, inspect_file
from .tables import ReviewTable, make_table

_READERS = 8


def inspect_delta(
    root: str, storage: Storage, columns: Columns, version: int | None = None, timestamp: str | None = None
) -> ReviewTable:
    """Check the files of a snapshot, by default the newest; raises what `inspect_reviews` does.

    Rows with a deletion vector are left out. A file is identified by its path, which Delta never writes
    twice, and by its deleted rows. Raises an InputError, by name, for features that change what the files
    mean.
    """
    table = open_snapshot(root, storage, version, timestamp)
    partition_columns = set(table.metadata().partition_columns)
    adds = list_adds(table)
    deleted = list_deleted_rows(table, (add["path"] for add in adds))
    if not adds:
        raise EmptyInputError(f"{root}: version {table.version()} of the table has no rows")

    def inspect(add: dict[str, Any]) -> InputFile | BadFile:
        path = f"{root}/{add['path']}"
        try:
            return _inspect_add(add, root, storage, columns, partition_columns, deleted)
        except InputError as error:
            return BadFile(path, error)

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(inspect, adds))
    checked = [item for item in found if isinstance(item, InputFile)]
    bad = [item for item in found if isinstance(item, BadFile)]
    return dataclasses.replace(make_table(root, storage, columns, checked, bad), version=table.version())


def _inspect_add(
    add: dict[str, Any],
    root: str,
    storage: Storage,
    columns: Columns,
    partition_columns: set[str],
    deleted: dict[str, tuple[int, ...]],
) -> InputFile:
    path = add["path"]
    if find_scheme(path) is not None or path.startswith("/"):
        raise UnreadableFileError(
            f"{path}: lies outside of the table {root}, as in a shallow clone, which is not read; copy the "
            "table"
        )
    values = {name: _show(add.get(f"partition.{name}")) for name in partition_columns if name in columns.all}
    file = inspect_file(f"{root}/{path}", root, storage, columns, values)
    gone = deleted.get(path, ())
    identity = hashlib.sha256(f"{path} {gone}".encode()).hexdigest()[:16]
    return dataclasses.replace(file, footer_digest=identity, deleted_rows=gone)


def _show(value: Any) -> str | None:
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return None if value is None else str(value)
