"""Join tables with predictions, and write them as files to download."""

import io
from collections.abc import Callable, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from .. import schema
from ..errors import SchemaMismatchError
from ..tables.input.types import is_string
from .text_uploads import LeftOut
from .wording import explain_reject

_CLASH_SUFFIX = "_predicted"
_ARROW_TYPES = {"string": pa.string(), "double": pa.float64(), "long": pa.int64(), "boolean": pa.bool_()}
# All other types have no form in CSV that reads back: bytes, lists, structs, maps, intervals, extensions.
_CSV_TYPES: tuple[Callable[[pa.DataType], bool], ...] = (
    is_string,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_null,
)


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


def check_csv(table_schema: pa.Schema) -> None:
    """Raise SchemaMismatchError, which names the columns, if CSV cannot hold a table."""
    bad = [field for field in table_schema if not _fits_csv(field.type)]
    if bad:
        listed = ", ".join(f"{field.name} ({field.type})" for field in bad)
        raise SchemaMismatchError(
            f"CSV has only text, numbers and times, and cannot hold {listed}; download Parquet"
        )


def write_csv(table: pa.Table) -> bytes:
    """Return the table as UTF-8 CSV with a header; null is an empty field, and "" is a quoted empty field.

    Raises SchemaMismatchError as `check_csv`.
    """
    check_csv(table.schema)
    columns = [
        table.column(field.name).cast(pa.large_string())
        if is_string(field.type)
        else table.column(field.name)
        for field in table.schema
    ]
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in columns
    ]
    sink = io.BytesIO()
    pacsv.write_csv(pa.table(columns, names=table.column_names), sink)
    return sink.getvalue()


def list_rejects(predictions: pd.DataFrame, left_out: Sequence[LeftOut]) -> pd.DataFrame:
    """Return the rejected rows, numbered from 1, and the lines that were left out, each with its reason."""
    reasons = predictions[schema.REJECT_REASON].dropna()
    places = predictions[schema.REJECT_REASON].notna().to_numpy().nonzero()[0]
    rows = [
        (f"row {place + 1:,}", explain_reject(str(why))) for place, why in zip(places, reasons, strict=True)
    ]
    lines = [(f"line {found.lines}", found.reason) for found in left_out]
    return pd.DataFrame([*rows, *lines], columns=["where", "reason"])


def _fits_csv(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in _CSV_TYPES)
