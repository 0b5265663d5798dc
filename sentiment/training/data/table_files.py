"""Read Parquet files, and Arrow files as `datasets` saves them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import UnreadableFileError
from .source import BATCH_ROWS, Batch, ReadOptions, Source
from .text_files import translate_errors

_READ_BYTES = 1 << 20
_FILE_MAGIC = b"ARROW1"
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def open_parquet(path: Path, options: ReadOptions) -> Source:
    """Open a Parquet file; the names of classes come from the metadata that `datasets` writes."""
    with translate_errors(path, "Parquet"):
        schema = pq.read_schema(path)

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        # By default Arrow keeps all compressed data that it has read until the file is closed.
        with (
            translate_errors(path, "Parquet"),
            pq.ParquetFile(
                path, pre_buffer=False, buffer_size=_READ_BYTES, page_checksum_verification=True
            ) as file,
        ):
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield _to_lists(batch, columns)

    return _make_source(path, schema, read)


def open_arrow(path: Path, options: ReadOptions) -> Source:
    """Open a file that `Dataset.save_to_disk`, pandas or Polars wrote."""
    with translate_errors(path, "Arrow"), pa.memory_map(str(path)) as file:
        schema = _open_batches(file)[0]

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        with translate_errors(path, "Arrow"), pa.memory_map(str(path)) as file:
            for batch in _open_batches(file)[1]:
                selected = batch.select(list(columns))
                for start in range(0, len(batch), BATCH_ROWS):
                    yield _to_lists(selected.slice(start, BATCH_ROWS), columns)

    return _make_source(path, schema, read)


def _make_source(path: Path, schema: pa.Schema, read: Callable[[Sequence[str]], Iterator[Batch]]) -> Source:
    return Source(
        str(path),
        tuple(schema.names),
        read,
        find_class_names(schema, path),
        nested=find_nested(schema),
    )


def _open_batches(file: pa.MemoryMappedFile) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return schema and batches of an Arrow file, in the form of a stream or of a file with random access."""
    is_stream = file.read(len(_FILE_MAGIC)) != _FILE_MAGIC
    file.seek(0)
    if is_stream:
        stream = pa.ipc.open_stream(file)
        return stream.schema, _read_stream(file, stream)
    opened = pa.ipc.open_file(file)
    return opened.schema, (opened.get_batch(i) for i in range(opened.num_record_batches))


def _read_stream(
    file: pa.MemoryMappedFile, stream: pa.ipc.RecordBatchStreamReader
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a stream; raise ArrowInvalid unless it ends as its writer ended it, with the file.

    Arrow takes a stream that was cut off between batches, or has another one after it, for a whole one.
    """
    yield from stream
    end = file.tell()
    file.seek(max(0, end - len(_STREAM_END)))
    if file.read(len(_STREAM_END)) != _STREAM_END or end < file.size():
        raise pa.ArrowInvalid("no end of the stream, or more after it")


def find_class_names(schema: pa.Schema, path: Path) -> dict[str, tuple[str, ...]]:
    """Return the class names of the columns for which `datasets` has stored them in the schema."""
    stored = (schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return {}
    try:
        features = (json.loads(stored).get("info") or {}).get("features") or {}
        return list_class_labels(features)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UnreadableFileError(
            f"{path}: its metadata `huggingface` cannot be read ({type(error).__name__}), so the names of "
            "its classes are not known; write the file anew"
        ) from error


def list_class_labels(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the class names by column, from the features of a data set as `datasets` writes them in JSON."""
    return {
        name: tuple(kind["names"])
        for name, kind in features.items()
        # A list of structs is stored as a list.
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
    }


def _to_lists(batch: pa.RecordBatch, columns: Sequence[str]) -> Batch:
    return {name: to_list(batch.column(name)) for name in columns}


def to_list(column: "pa.Array | pa.ChunkedArray") -> list[Any]:
    """Return the values of a column; as texts if Python has no type for them, as for a date after 9999.

    Times in a zone that this machine does not know are in UTC.
    """
    kind = column.type
    try:
        values: list[Any] = column.to_pylist()
    except (KeyError, ValueError, OverflowError) as error:
        if pa.types.is_dictionary(kind):
            return to_list(column.cast(kind.value_type))
        # Errors of zoneinfo and pytz are KeyErrors.
        if isinstance(error, KeyError) and pa.types.is_timestamp(kind):
            return to_list(column.cast(pa.timestamp(kind.unit, "UTC")))
        values = column.cast(pa.string()).to_pylist()
    return values


def find_nested(schema: pa.Schema) -> frozenset[str]:
    """Return the names of the columns of lists, maps or structs."""
    return frozenset(field.name for field in schema if pa.types.is_nested(field.type))
