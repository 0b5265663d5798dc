"""Show the tab for a file of reviews: upload, choice of the text column, summary and downloads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from .. import schema
from ..errors import SchemaMismatchError
from . import uploads
from .model import ModelInUse, predict
from .wording import escape_markdown, explain_reject

PREVIEW_ROWS = 100

# Session keys of the uploaded table and of its result, both removed with the file.
_READ = "read"
_SCORED = "scored"


@dataclass(frozen=True)
class ScoredUpload:
    """Hold the scored table and its downloads; `of` is the file's id, the text column and the model version.

    `csv` is None if the table cannot be written as CSV, for the reason in `csv_problem`.
    """

    of: tuple[str, str, str]
    table: pa.Table
    predictions: pd.DataFrame
    parquet: bytes
    csv: bytes | None
    csv_problem: str


def show_file_tab(used: ModelInUse) -> None:
    """Show the tab; raise an InputError if the file cannot be used, a ModelError if the model fails."""
    upload = st.file_uploader("File of reviews (CSV or Parquet)", type=list(uploads.FILE_TYPES))
    if upload is None:
        st.session_state.pop(_READ, None)
        st.session_state.pop(_SCORED, None)
        return
    table, columns = _read_once(upload)
    st.caption(f"{table.num_rows:,} rows, {table.num_columns:,} columns")
    column = st.selectbox(
        "Text column",
        columns,
        index=uploads.choose_usual_column(columns),
        placeholder="Choose the column with the reviews",
    )
    _show_renamed(table, used.model.columns)
    is_asked = st.button(f"Score {table.num_rows:,} reviews", type="primary", disabled=column is None)
    if column is None:
        return
    if is_asked:
        st.session_state.pop(_SCORED, None)
        st.session_state[_SCORED] = _score(used, upload.file_id, table, column)
    scored = st.session_state.get(_SCORED)
    if scored is not None and scored.of == (upload.file_id, column, used.reference.version):
        _show_summary(scored.predictions, used.model.labels)
        _show_downloads(scored, upload.name)
        _show_preview(scored, column)


def _read_once(upload: Any) -> tuple[pa.Table, list[str]]:
    """Return the uploaded table and its text columns; read each file only once per session."""
    read = st.session_state.get(_READ)
    if read is None or read[0] != upload.file_id:
        st.session_state.pop(_READ, None)
        table = uploads.read_upload(upload.name, upload.getvalue())
        read = (upload.file_id, table, uploads.find_text_columns(upload.name, table))
        st.session_state[_READ] = read
    return read[1], read[2]


def _show_renamed(table: pa.Table, columns: Sequence[str]) -> None:
    names = uploads.name_prediction_columns(table.column_names, columns)
    renamed = ", ".join(f"{old} → {new}" for old, new in names.items() if old != new)
    if renamed:
        st.info(
            escape_markdown(
                f"The file already has columns with these names. Prediction columns are renamed: {renamed}"
            )
        )


def _score(used: ModelInUse, file_id: str, table: pa.Table, column: str) -> ScoredUpload:
    bar = st.progress(0.0, text="Scoring …")

    def show_progress(done: int, total: int) -> None:
        bar.progress(done / total, text=f"Scored {done:,} of {total:,} reviews")

    try:
        predictions = predict(used, table.column(column).to_pylist(), show_progress)
    finally:
        bar.empty()
    scored = uploads.add_predictions(table, predictions)
    csv, problem = None, ""
    try:
        csv = uploads.write_csv(scored)
    except SchemaMismatchError as error:
        problem = str(error)
    of = (file_id, column, used.reference.version)
    return ScoredUpload(of, scored, predictions, uploads.write_parquet(scored), csv, problem)


def _show_summary(predictions: pd.DataFrame, labels: tuple[str, ...]) -> None:
    reasons = predictions[schema.REJECT_REASON].value_counts()
    rejected = int(reasons.sum())
    counts = {
        "Rows": len(predictions),
        "Scored": len(predictions) - rejected,
        "Rejected": rejected,
        "Unsure": int(predictions[schema.UNSURE].sum()),
        "Truncated": int(predictions[schema.TRUNCATED].sum()),
    }
    for place, (name, count) in zip(st.columns(len(counts)), counts.items(), strict=True):
        place.metric(name, f"{count:,}")
    mix, rejects = st.columns(2)
    with mix:
        st.markdown("**Labels**")
        counted = predictions[schema.LABEL].value_counts().reindex(list(labels), fill_value=0)
        bars = pd.DataFrame({"label": counted.index, "reviews": counted.to_numpy()})
        st.bar_chart(bars, x="label", y="reviews", x_label="", horizontal=True, height=160)
    with rejects:
        st.markdown("**Rejects**")
        if rejected == 0:
            st.text("None: every review has a label.")
        else:
            words = [escape_markdown(explain_reject(str(reason))) for reason in reasons.index]
            st.table(pd.DataFrame({"rows": reasons.to_numpy()}, index=pd.Index(words, name="reason")))


def _show_preview(scored: ScoredUpload, column: str) -> None:
    table, columns = scored.table, scored.predictions.columns.tolist()
    names = table.column_names
    predicted = names[-len(columns) :]
    score = predicted[columns.index(schema.SCORE)]
    shown = min(PREVIEW_ROWS, table.num_rows)
    st.markdown(f"**Preview** (first {shown:,} of {table.num_rows:,} rows)")
    st.dataframe(
        # Pandas metadata may make a column the index, and `hide_index` would hide it.
        table.slice(0, shown).replace_schema_metadata(None),
        hide_index=True,
        column_order=[column, *predicted, *(n for n in names if n not in (column, *predicted))],
        column_config={
            column: st.column_config.TextColumn(width="large"),
            score: st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.3f"),
        },
    )


def _show_downloads(scored: ScoredUpload, name: str) -> None:
    stem = f"{Path(name).stem}-scored"
    left, right = st.columns(2)
    if scored.csv is None:
        left.text(f"No CSV: {scored.csv_problem}")
    else:
        left.download_button("Download CSV", scored.csv, f"{stem}.csv", "text/csv", on_click="ignore")
    kind = "application/vnd.apache.parquet"
    right.download_button("Download Parquet", scored.parquet, f"{stem}.parquet", kind, on_click="ignore")
