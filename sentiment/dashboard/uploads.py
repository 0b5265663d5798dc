"""Read uploaded files into Arrow tables.

Parquet columns come back unchanged. All values of a CSV are read as strings, so that an id `007` keeps its
zeros. One bad value or line costs only itself: it is listed with its reason, and the rest is read. Nothing is
written to disk, and no message contains a value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import schema
from ..errors import EmptyInputError, InputError, SchemaMismatchError, UnreadableFileError
from ..tables.input.types import is_string
from .columns import Column, clean_strings
from .text_uploads import LeftOut, is_unicode, parse_csv, parse_json_lines
from .workbooks import list_sheets, parse_sheet

FILE_TYPES = ("csv", "tsv", "parquet", "jsonl", "ndjson", "xlsx")
USUAL_TEXT_COLUMNS = (schema.TEXT, "content")
UTF_8 = "utf-8"
# What the reader may choose for a text file that is not Unicode.
ENCODINGS = {UTF_8: "UTF-8: reviews with damaged characters are rejects", "cp1252": "Windows-1252 (Western)"}
_PARSERS: dict[str, Callable[[str, bytes, str], tuple[dict[str, Column], list[LeftOut]]]] = {
    "csv": parse_csv,
    "tsv": parse_csv,
    "jsonl": parse_json_lines,
    "ndjson": parse_json_lines,
}


@dataclass(frozen=True)
class Upload:
    """Hold the rows of an uploaded file, and the lines that could not be read.

    `raw` has the values of the columns of which the table cannot hold all: they are no text, or no Unicode.
    """

    table: pa.Table
    raw: Mapping[str, Sequence[object]]
    left_out: Sequence[LeftOut] = ()

    def list_texts(self, column: str) -> Sequence[object]:
        """Return the values of a column as the file has them, for the model to judge."""
        return self.raw.get(column) or self.table.column(column).to_pylist()


def find_kind(name: str) -> str:
    """Return the type of a file by its suffix. Raises UnreadableFileError for another one."""
    kind = PurePath(name).suffix.lower().removeprefix(".")
    if kind not in FILE_TYPES:
        listed = ", ".join(f".{known}" for known in FILE_TYPES)
        raise UnreadableFileError(f"{name}: expected a file that ends in {listed}; save it as one of these")
    return kind


def needs_encoding(name: str, data: bytes) -> bool:
    """Return whether the reader has to know in which encoding a file is written: it is not Unicode."""
    return find_kind(name) in _PARSERS and not is_unicode(data)


def find_sheets(name: str, data: bytes) -> list[str]:
    """Return the sheets of a workbook, none of another file. Raises UnreadableFileError."""
    return list_sheets(name, data) if data and find_kind(name) == "xlsx" else []


def read_upload(name: str, data: bytes, encoding: str = UTF_8, sheet: str | None = None) -> Upload:
    """Read an uploaded file by its suffix; `sheet` of a workbook, None for its only one.

    Raises an InputError if the file is empty, damaged or of another type, has no rows, has two columns with
    the same name, or most of its lines cannot be read.
    """
    kind = find_kind(name)
    if not data:
        raise UnreadableFileError(f"{name}: is empty (0 bytes); upload a file with at least one review")
    left_out: list[LeftOut] = []
    if kind == "parquet":
        table, raw = _read_parquet(name, data)
        _check_names(name, table.column_names)
    else:
        if kind == "xlsx":
            columns = parse_sheet(name, data, sheet)
        else:
            columns, left_out = _PARSERS[kind](name, data, encoding)
        table = pa.table({column: found.values for column, found in columns.items()})
        raw = {column: found.raw for column, found in columns.items() if found.raw is not None}
    if table.num_rows == 0:
        raise EmptyInputError(f"{name}: has no rows; upload a file with at least one review")
    return Upload(table, raw, left_out)


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


def _read_parquet(name: str, data: bytes) -> tuple[pa.Table, dict[str, Sequence[object]]]:
    """Read a table, in which strings that are not UTF-8 are mended, and the values of such columns."""
    raw: dict[str, Sequence[object]] = {}
    try:
        table = pq.read_table(pa.BufferReader(data))
        for place, field in enumerate(table.schema):
            # Reading does not check strings. Invalid UTF-8 would fail later, with the value in the message.
            found = clean_strings(table.column(place))
            if found.raw is not None:
                table = table.set_column(place, field.name, found.values)
                raw[field.name] = found.raw
    except (pa.ArrowException, OSError) as error:
        found_bytes = f"{len(data):,} bytes, {type(error).__name__}"
        raise UnreadableFileError(
            f"{name}: not a readable Parquet file ({found_bytes}); export it again"
        ) from error
    return table, raw


def _check_names(name: str, columns: list[str]) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"{name}: several columns have the name {', '.join(map(repr, twice))}; rename them")


def _is_text(kind: pa.DataType, column: pa.ChunkedArray) -> bool:
    if not is_string(kind):
        return False
    values = pd.Series(column.cast(pa.large_string()).to_pandas()).dropna()
    values = values[values != ""]
    return values.empty or bool(pd.to_numeric(values, errors="coerce").isna().any())
