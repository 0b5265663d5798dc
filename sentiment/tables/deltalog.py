"""Open Delta tables: the only place that touches deltalake and obstore; errors become one line each."""

import datetime
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from ..errors import ConfigError, InputError, ObjectStoreError, SentimentError
from .storage import Storage, explain_store_error

# Reader features whose tables read right here. All others change what the files mean, and are refused by
# name.
_READABLE = frozenset({"deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})
_MAPPING = "delta.columnMapping.mode"
# Begins the names of the objects of `check_conditional_put`; a run that is killed may leave one.
PROBE = "_sentiment/probe-"
# Words in deltalake's error for a table that it cannot open, and the name of the feature.
_REFUSED = (("olumn mapping", "columnMapping"), ("catalog-managed", "catalogManaged"))


def import_deltalake() -> Any:
    """Import deltalake; raise ConfigError with the command that installs it."""
    # Its Rust libraries print what they try, as lines around the one that reports an error.
    os.environ.setdefault("RUST_LOG", "off")
    try:
        import deltalake
    except ImportError as error:
        raise ConfigError('Delta tables need deltalake: pip install "sentiment[delta]"') from error
    return deltalake


def make_options(storage: Storage) -> dict[str, str] | None:
    """Return the options as deltalake takes them."""
    if storage.is_local:
        return None
    options = dict(storage.options)
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options.setdefault("AWS_ALLOW_HTTP", "true")
    return options


def find_table(uri: str, storage: Storage) -> Any | None:
    """Return the newest snapshot of a table, None if there is no table at this place."""
    deltalake = import_deltalake()
    with translate(uri):
        try:
            return deltalake.DeltaTable(uri, storage_options=make_options(storage))
        except deltalake.exceptions.TableNotFoundError:
            return None


def open_snapshot(uri: str, storage: Storage, version: int | None, timestamp: str | None) -> Any:
    """Return a snapshot of a table to read; raise an InputError if it is missing or cannot be read right."""
    deltalake = import_deltalake()
    with _naming_features(uri, version), translate(uri):
        try:
            table = deltalake.DeltaTable(uri, version=version, storage_options=make_options(storage))
            if timestamp is not None:
                table.load_as_version(_parse_time(timestamp))
        except deltalake.exceptions.TableNotFoundError as error:
            raise InputError(f"{uri}: the Delta log is damaged, or has no version {version}") from error
    _check_readable(uri, table)
    return table


def _parse_time(timestamp: str) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError as error:
        raise ConfigError(
            f"timestamp: {timestamp!r} is no time, expected 2026-01-31 or 2026-01-31T02:00:00Z"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


@contextmanager
def _naming_features(uri: str, version: int | None) -> Iterator[None]:
    """Say by name why deltalake cannot open a snapshot: a feature, or a version that is not there."""
    try:
        yield
    except ObjectStoreError as error:
        said = str(error.__cause__)
        named = next((name for mark, name in _REFUSED if mark in said), None)
        if named is not None:
            raise InputError(
                f"{uri}: this Delta table uses {named}, which is not read here; export the reviews to plain "
                "Parquet, or to a table without it"
            ) from error
        if "end version" in said:
            raise InputError(
                f"{uri}: the Delta table has no version {version}, or its log is incomplete"
            ) from error
        if "eature" in said or "rotocol" in said:
            raise InputError(
                f"{uri}: this Delta table has features that are not read here ({said[:200]}); export the "
                "reviews to plain Parquet, or to a table without them"
            ) from error
        raise


def _check_readable(uri: str, table: Any) -> None:
    is_mapped = table.metadata().configuration.get(_MAPPING, "none") != "none"
    # Only the mode changes what a file means, not the feature.
    features = set(table.protocol().reader_features or ()) - {"columnMapping"}
    unknown = sorted((features | ({"columnMapping"} if is_mapped else set())) - _READABLE)
    if unknown:
        raise InputError(
            f"{uri}: this Delta table uses {', '.join(unknown)}, which is not read here; expected only "
            f"{', '.join(sorted(_READABLE))}; export the reviews to plain Parquet, or to a table without it"
        )


def list_adds(table: Any) -> list[dict[str, Any]]:
    """Return a dict per file of a snapshot: `path`, `size_bytes`, `modification_time`, `partition.NAME`."""
    rows: list[dict[str, Any]] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    # The log has paths in the form of URLs.
    return [{**row, "path": unquote(row["path"])} for row in rows]


def list_deleted_rows(table: Any, paths: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the deleted rows of each of these files of a snapshot that has a deletion vector, by its path.

    Raises InputError if a vector belongs to none of them: rows that are deleted would be read.
    """
    known = set(paths)
    found = {}
    for batch in table.deletion_vectors():
        for row in pa.record_batch(batch).to_pylist():
            # Files of two partitions may have one name, so the whole path counts.
            parts = unquote(row["filepath"]).split("/")
            path = next((p for n in range(len(parts)) if (p := "/".join(parts[n:])) in known), None)
            if path is None:
                raise InputError(
                    f"{row['filepath']}: has deleted rows, but is no file of the table's snapshot"
                )
            kept = row["selection_vector"]
            found[path] = tuple(number for number, is_kept in enumerate(kept) if not is_kept)
    return found


def check_conditional_put(uri: str, storage: Storage) -> None:
    """Raise ConfigError if the object store replaces an object that must be new: it would lose commits."""
    import obstore
    from obstore.exceptions import AlreadyExistsError
    from obstore.store import from_url

    key = f"{PROBE}{uuid.uuid4().hex}"
    options = make_options(storage) or {}
    allow_http = {"allow_http": True} if options.pop("AWS_ALLOW_HTTP", "") == "true" else {}
    with translate(uri):
        store = from_url(uri, config={k.lower(): v for k, v in options.items()}, client_options=allow_http)
        for body in (b"1", b"2"):
            try:
                obstore.put(store, key, body, mode="create")
            except AlreadyExistsError:
                # The first put can raise it too, if its answer was lost and its repetition was refused.
                obstore.delete(store, key)
                return
        obstore.delete(store, key)
    raise ConfigError(
        f"{uri}: this object store ignores If-None-Match, so two commits could replace each other and rows "
        "would be lost; use a store with conditional writes, or a mounted folder"
    )


@contextmanager
def translate(uri: str) -> Iterator[None]:
    """Translate errors of deltalake and obstore to an ObjectStoreError by kind."""
    deltalake = import_deltalake()
    try:
        yield
    except (SentimentError, deltalake.exceptions.TableNotFoundError):
        raise
    except (OSError, ValueError, deltalake.exceptions.DeltaError, _find_obstore_error()) as error:
        raise ObjectStoreError(f"{uri}: {explain_store_error(error)}") from error


def _find_obstore_error() -> type[Exception]:
    try:
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise ConfigError('object stores need obstore: pip install "sentiment[delta]"') from error
    found: type[Exception] = BaseError
    return found
