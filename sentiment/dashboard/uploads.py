"""An uploaded file as a table, and the same table with its predictions as bytes to download.

Tables are Arrow's: what a Parquet column holds comes back exactly. A CSV's values are all strings, as they
stand in the file, so that an id `007` stays one. Nothing here touches a disk, and no message quotes a value.
"""

import csv
import io
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
    """Read the rows of an uploaded file, CSV or Parquet by the end of its name.

    Raises an InputError that names the file if it is empty, damaged, of another kind, has no rows or has
    two columns of one name.
    """
    kind = PurePath(name).suffix.lower().removeprefix(".")
    if kind not in FILE_TYPES:
        raise UnreadableFileError(f"{name}: expected a .csv or .parquet file; save it as one of these")
    if not data:
        raise UnreadableFileError(f"{name}: the file is empty (0 bytes); upload one with at least one review")
    table = _read_parquet(name, data) if kind == "parquet" else _read_csv(name, data)
    _check_names(name, table.column_names)
    if table.num_rows == 0:
        raise EmptyInputError(f"{name}: has no rows, expected at least one review below the column names")
    return table


def find_text_columns(name: str, table: pa.Table) -> list[str]:
    """Return the columns that may hold reviews: strings that are not all numbers.

    Raises SchemaMismatchError if there is none.
    """
    found = [field.name for field in table.schema if _is_text(field.type, table.column(field.name))]
    if not found:
        kinds = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
        raise SchemaMismatchError(
            f"{name}: no column holds text; found {kinds or 'no column'}; upload one with reviews"
        )
    return found


def choose_usual_column(columns: list[str]) -> int | None:
    """Position of the column to propose: `text`, else `content`, else the only one there is."""
    for usual in USUAL_TEXT_COLUMNS:
        if usual in columns:
            return columns.index(usual)
    return 0 if len(columns) == 1 else None


def name_prediction_columns(columns: list[str]) -> dict[str, str]:
    """Return a name for each prediction column: `label`, or `label_predicted` if the table has a `label`."""
    names = {}
    for name in schema.PREDICTION_COLUMNS:
        candidate, count = name, 1
        while candidate in columns:
            candidate = name + _CLASH_SUFFIX + (f"_{count}" if count > 1 else "")
            count += 1
        names[name] = candidate
    return names


def add_predictions(table: pa.Table, predictions: pd.DataFrame) -> pa.Table:
    """Return the table with the prediction columns after its own; row i of `predictions` is of its row i.

    A review without label has a null score. Raises ValueError if the numbers of rows differ.
    """
    if len(predictions) != table.num_rows:
        raise ValueError(f"{len(predictions)} predictions for {table.num_rows} rows")
    for name, new_name in name_prediction_columns(table.column_names).items():
        values = pa.array(
            predictions[name], type=_ARROW_TYPES[schema.PREDICTION_TYPES[name]], from_pandas=True
        )
        table = table.append_column(new_name, values)
    return table


def write_parquet(table: pa.Table) -> bytes:
    """Return the table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def write_csv(table: pa.Table) -> bytes:
    """Return the table as UTF-8 CSV with a header; null is an empty field, "" a quoted one.

    Raises SchemaMismatchError if a column holds lists, structs or raw bytes, which CSV cannot.
    """
    columns = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise SchemaMismatchError(f"column {field.name} holds {kind}, which CSV cannot; download Parquet")
        columns.append(table.column(field.name).cast(kind))
    sink = io.BytesIO()
    pacsv.write_csv(pa.table(columns, names=table.column_names), sink)
    return sink.getvalue()


def _read_parquet(name: str, data: bytes) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(data))
        # Reading does not look into the strings: what is not UTF-8 would fail later, value in hand.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        found = f"{len(data):,} bytes, {type(error).__name__}"
        raise UnreadableFileError(
            f"{name}: not a readable Parquet file ({found}); export it again"
        ) from error
    return table


def _read_csv(name: str, data: bytes) -> pa.Table:
    """Read a table of strings; a blank line is no row."""
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
            f"{name}, line {lines.line_num:,}: not valid CSV ({error}); close quotes and double those inside"
        ) from error
    if not rows:
        raise EmptyInputError(f"{name}: has only blank lines, expected column names and reviews")
    header, *values = rows
    columns = zip(*values, strict=True) if values else ([] for _ in header)
    return pa.table([pa.array(column, type=pa.string()) for column in columns], names=header)


def _find_delimiter(text: str) -> str:
    header = text.lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=header.count)


def _check_names(name: str, columns: list[str]) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"{name}: more than one column is called {', '.join(map(repr, twice))}; rename them")


def _is_text(kind: pa.DataType, column: pa.ChunkedArray) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return False
    values = pd.Series(column.cast(pa.large_string()).to_pandas()).dropna()
    values = values[values != ""]
    return values.empty or bool(pd.to_numeric(values, errors="coerce").isna().any())
