"""Make Arrow columns of values of any type, and keep what Arrow cannot hold."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..tables.input.types import is_string

# Python decodes a byte that is not UTF-8 to one of these (`surrogateescape`), and JSON has them as escapes.
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Column:
    """Hold a column for a table; `raw` has the original values if some were changed, else it is None."""

    values: pa.Array | pa.ChunkedArray
    raw: Sequence[object] | None = None


def make_column(values: Sequence[object]) -> Column:
    """Return a column of the type that all values share; if they share none, as strings (objects as JSON).

    A lone surrogate, for example of a byte that is not UTF-8, becomes the replacement character.
    """
    if all(value is None or isinstance(value, str) for value in values):
        try:
            return Column(pa.array(values, pa.string()))
        except UnicodeEncodeError:
            cleaned = [_replace_surrogates(value) for value in values]
            return Column(pa.array(cleaned, pa.string()), values)
    try:
        return Column(pa.array(values))
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return Column(pa.array([_as_string(value) for value in values], pa.string()), values)


def clean_strings(column: pa.ChunkedArray) -> Column:
    """Return a column from a Parquet file, with the replacement character for bytes that are not UTF-8.

    Raises ArrowInvalid if the column is damaged and has no strings.
    """
    try:
        column.validate(full=True)
        return Column(column)
    except pa.ArrowInvalid:
        if not is_string(column.type):
            raise
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    plain = pa.large_string() if pa.types.is_large_string(kind) else pa.string()
    chunks = [
        chunk.dictionary_decode() if pa.types.is_dictionary(column.type) else chunk for chunk in column.chunks
    ]
    found = [value for chunk in chunks for value in _view_bytes(chunk).to_pylist()]
    raw = [None if value is None else value.decode("utf-8", "surrogateescape") for value in found]
    cleaned = [None if value is None else value.decode("utf-8", "replace") for value in found]
    return Column(pa.chunked_array([pa.array(cleaned, plain)]), raw)


def _view_bytes(chunk: pa.Array) -> pa.Array:
    """Return an array of strings as an array of bytes: `view` does not check that they are UTF-8."""
    kinds = {
        pa.string(): pa.binary(),
        pa.large_string(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }
    return chunk.view(kinds[chunk.type])


def _as_string(value: object) -> str | None:
    if value is None:
        return None
    return _replace_surrogates(value if isinstance(value, str) else json.dumps(value, default=str))


def _replace_surrogates(value: object) -> str | None:
    if value is None:
        return None
    return _SURROGATE.sub("\ufffd", str(value))
