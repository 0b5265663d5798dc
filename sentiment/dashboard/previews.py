"""Show the first rows of a scored table."""

from collections.abc import Sequence

import pyarrow as pa
import streamlit as st

from .. import schema
from ..errors import SchemaMismatchError
from .downloads import check_csv

PREVIEW_ROWS = 100


def show_rows(table: pa.Table, text_column: str, prediction_columns: Sequence[str]) -> None:
    """Show the first rows: label and score (which lead the last columns), the text, then the rest."""
    names = table.column_names
    predicted = names[-len(prediction_columns) :]
    score = predicted[list(prediction_columns).index(schema.SCORE)]
    shown = min(PREVIEW_ROWS, table.num_rows)
    st.subheader("Preview")
    st.caption(f"The first {shown:,} of {table.num_rows:,} rows")
    st.dataframe(
        _as_shown(table.slice(0, shown)),
        hide_index=True,
        column_order=[
            *predicted[:2],
            text_column,
            *predicted[2:],
            *(n for n in names if n not in (text_column, *predicted)),
        ],
        column_config={
            text_column: st.column_config.TextColumn(width="medium"),
            score: st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.3f"),
        },
        alt="The first rows with their predictions",
    )


def _as_shown(table: pa.Table) -> pa.Table:
    """Return the table with texts in place of values that a browser cannot show."""
    for place, field in enumerate(table.schema):
        try:
            check_csv(pa.schema([field]))
        except SchemaMismatchError:
            values = [None if value is None else str(value) for value in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(values, pa.string()))
    # Pandas metadata may make a column the index, and `hide_index` would hide it.
    return table.replace_schema_metadata(None)
