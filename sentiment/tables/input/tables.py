"""Inspect an input of any supported form: a file, a folder, a bucket, or a Delta table."""

from collections.abc import Mapping

from ...errors import ConfigError
from ..storage import DELTA_PREFIX, find_storage, resolve_uri
from .files import Columns
from .inspection import ReviewTable, inspect_reviews
from .listing import check_root, is_delta


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
