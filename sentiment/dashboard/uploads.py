"""Read uploaded files into Arrow tables, and write tables with predictions as files to download.

Parquet columns come back unchanged. All values of a CSV are read as strings, so that an id `007` keeps its
zeros. Nothing is written to disk, and no message contains a value.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import PurePath

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from .. import schema
from ..errors import EmptyInputError, InputError, SchemaMismatchError, UnreadableFileError

FILE_TYPES = ("csv", "parquet")
USUAL_TEXT_COLUMNS = (schema.TEXT, "content")
_DELIMITERS = (",", ";", "\t")
_CLASH_SUFFIX = "_predicted"
_ARROW_TYPES = {"string": pa.string(), "double": pa.float64(), "long": pa.int64(), "boolean": pa.bool_()}


def read_upload(name: str, data: bytes) -> pa.Table:
    """Read an uploaded file, as CSV or Parquet by its suffix.

    Raises an InputError if the file is empty, damaged or of another type, has no rows, or has two columns
    with the same name.
    """
    kind = PurePath(name).suffix.lower().removeprefix(".")
    if kind not in FILE_TYPES:
        raise UnreadableFileError(f"{name}: expected a .csv or .parquet file; save it as one of these")
    if not data:
        raise UnreadableFileError(f"{name}: is empty (0 bytes); upload a file with at least one review")
    table = _read_parquet(name, data) if kind == "parquet" else _read_csv(name, data)
    _check_names(name, table.column_names)
    if table.num_rows == 0:
        raise EmptyInputError(f"{name}: has no rows; upload a file with at least one review")
    return table


def find_text_columns(name: str, table: pa.Table) -> list[str]:
    """Return the columns of strings that are not all numbers; raise SchemaMismatchError if there is none."""
    found = [field.name for field in table.schema if _is_text(field.type, table.column(field.name))]
    if not found:
        kinds = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
        raise SchemaMismatchError(
            f"{name}: no column has text; found {kinds or 'no column'}; upload a file with reviews"
        )
    return found


def choose_usual_column(columns: list[str]) -> int | None:
    """Return the position of the column to propose: `text`, `content`, or the only column; else None."""
    for usual in USUAL_TEXT_COLUMNS:
        if usual in columns:
            return columns.index(usual)
    return 0 if len(columns) == 1 else None


def name_prediction_columns(columns: list[str], added: Sequence[str]) -> dict[str, str]:
    """Return a name per prediction column: `label`, or `label_predicted` if the table has a `label`."""
    names = {}
    for name in added:
        candidate, count = name, 1
        while candidate in columns:
            candidate = name + _CLASH_SUFFIX + (f"_{count}" if count > 1 else "")
            count += 1
        names[name] = candidate
    return names


def add_predictions(table: pa.Table, predictions: pd.DataFrame) -> pa.Table:
    """Append the prediction columns to the table; both must have the same rows in the same order.

    The score of a reject is null. Raises ValueError if the numbers of rows differ.
    """
    if len(predictions) != table.num_rows:
        raise ValueError(f"{len(predictions)} predictions for {table.num_rows} rows")
    columns = [str(name) for name in predictions.columns]
    for name, new_name in name_prediction_columns(table.column_names, columns).items():
        kind = schema.PREDICTION_TYPES.get(name, "double")  # `expected` is a number
        values = pa.array(predictions[name], type=_ARROW_TYPES[kind], from_pandas=True)
        table = table.append_column(new_name, values)
    return table


def write_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def write_csv(table: pa.Table) -> bytes:
    """Return the table as UTF-8 CSV with a header; null is an empty field, and "" is a quoted empty field.

    Raises SchemaMismatchError if a column has lists, structs or binary values.
    """
    columns = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise SchemaMismatchError(
                f"column {field.name} has type {kind}, which CSV cannot hold; download Parquet"
            )
        columns.append(table.column(field.name).cast(kind))
    sink = io.BytesIO()
    pacsv.write_csv(pa.table(columns, names=table.column_names), sink)
    return sink.getvalue()


def _read_parquet(name: str, data: bytes) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(data))
        # Reading does not check strings. Invalid UTF-8 would fail later, with the value in the message.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        found = f"{len(data):,} bytes, {type(error).__name__}"
        raise UnreadableFileError(
            f"{name}: not a readable Parquet file ({found}); export it again"
        ) from error
    return table


def _read_csv(name: str, data: bytes) -> pa.Table:
    """Read a table of strings, without blank lines."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"{name}: not UTF-8 text (byte {error.start:,}); save it as CSV UTF-8 and upload it again"
        ) from error
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_find_delimiter(text), strict=True)
    rows: list[list[str]] = []
    try:
        for row in lines:
            if row and rows and len(row) != len(rows[0]):
                raise UnreadableFileError(
                    f"{name}, line {lines.line_num:,}: {len(row)} values, expected {len(rows[0])} as in the "
                    "header; put quotes around values that hold a delimiter or a line break"
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise UnreadableFileError(
            f"{name}, line {lines.line_num:,}: not valid CSV ({error}); close every quote; "
            "write a quote inside a value twice"
        ) from error
    if not rows:
        raise EmptyInputError(f"{name}: has only blank lines; expected column names and reviews")
    header, *values = rows
    columns = zip(*values, strict=True) if values else ([] for _ in header)
    return pa.table([pa.array(column, type=pa.string()) for column in columns], names=header)


def _find_delimiter(text: str) -> str:
    header = text.lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=header.count)


def _check_names(name: str, columns: list[str]) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"{name}: several columns have the name {', '.join(map(repr, twice))}; rename them")


def _is_text(kind: pa.DataType, column: pa.ChunkedArray) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return False
    values = pd.Series(column.cast(pa.large_string()).to_pandas()).dropna()
    values = values[values != ""]
    return values.empty or bool(pd.to_numeric(values, errors="coerce").isna().any())
