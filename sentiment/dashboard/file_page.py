"""Show the page for a file of reviews: upload, choice of the text column, summary, rejects and downloads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from .. import schema
from ..errors import SchemaMismatchError
from . import downloads, uploads
from .figures import show_figures
from .model import ModelInUse, predict
from .model_panel import use_model
from .previews import show_rows
from .wording import count, escape_markdown, explain_reject

# Session keys of the file as it was read and of its result, both removed with the file.
_READ_KEY = "read"
_SCORED_KEY = "scored"
_SHOWN_REJECTS = 1_000


@dataclass(frozen=True)
class ReadUpload:
    """Hold the table of a file; `choices` are the id of the file, its encoding and its sheet."""

    choices: tuple[str, str, str | None]
    upload: uploads.Upload
    text_columns: list[str]


@dataclass(frozen=True)
class ScoredUpload:
    """Hold the scored table and its downloads.

    `choices` are those of the file, the text column and the version of the model. `csv` is None if the
    table cannot be written as CSV, for the reason in `csv_problem`.
    """

    choices: tuple[object, ...]
    table: pa.Table
    predictions: pd.DataFrame
    rejects: pd.DataFrame
    parquet: bytes
    csv: bytes | None
    csv_problem: str


def show() -> None:
    """Show the page; raise an InputError if the file cannot be used, a ModelError if the model fails."""
    file = st.file_uploader(
        "File of reviews: CSV, TSV, Parquet, JSON lines or Excel (.xlsx)", type=list(uploads.FILE_TYPES)
    )
    used = use_model()
    if file is None:
        st.session_state.pop(_READ_KEY, None)
        st.session_state.pop(_SCORED_KEY, None)
        st.caption("The file stays in the memory of this session. The app neither keeps nor logs it.")
        return
    read = _read_once(file, (file.file_id, *_choose_encoding_and_sheet(file)))
    table, columns = read.upload.table, read.text_columns
    st.caption(f"{count(table.num_rows, 'row')}, {count(table.num_columns, 'column')}")
    column = st.selectbox(
        "Text column",
        columns,
        index=uploads.choose_usual_column(columns),
        placeholder="Choose the column with the reviews",
    )
    _show_notes(read.upload, used.columns)
    is_asked = st.button(f"Score {table.num_rows:,} reviews", type="primary", disabled=column is None)
    if column is None:
        return
    choices = (*read.choices, column, used.reference.version)
    if is_asked:
        st.session_state.pop(_SCORED_KEY, None)
        st.session_state[_SCORED_KEY] = _score(used, choices, read.upload, column)
    scored = st.session_state.get(_SCORED_KEY)
    if scored is not None and scored.choices == choices:
        _show_summary(scored, used.model.labels)
        _show_downloads(scored, file.name)
        show_rows(scored.table, column, used.columns)


def _choose_encoding_and_sheet(file: Any) -> tuple[str, str | None]:
    """Return the encoding and the sheet; the reader chooses where the file leaves it open."""
    encoding, sheet = uploads.UTF_8, None
    if uploads.needs_encoding(file.name, file.getvalue()):
        st.warning("The file is not Unicode. Choose how it was saved.")
        encoding = st.selectbox(
            "Encoding", list(uploads.ENCODINGS), format_func=uploads.ENCODINGS.__getitem__
        )
    sheets = uploads.find_sheets(file.name, file.getvalue())
    if len(sheets) > 1:
        sheet = st.selectbox("Sheet", sheets)
    return encoding, sheet


def _read_once(file: Any, choices: tuple[str, str, str | None]) -> ReadUpload:
    """Read a file, or return what the session has read with these choices."""
    read: ReadUpload | None = st.session_state.get(_READ_KEY)
    if read is None or read.choices != choices:
        st.session_state.pop(_READ_KEY, None)
        upload = uploads.read_upload(file.name, file.getvalue(), *choices[1:])
        read = ReadUpload(choices, upload, uploads.find_text_columns(file.name, upload.table))
        st.session_state[_READ_KEY] = read
    return read


def _show_notes(upload: uploads.Upload, columns: Sequence[str]) -> None:
    """Say what is left out, renamed, or not possible, before the reader waits for the scores."""
    if upload.left_out:
        st.warning(
            f"{count(len(upload.left_out), 'row')} of the file cannot be read: left out, and "
            "listed with the rejects."
        )
    names = downloads.name_prediction_columns(upload.table.column_names, columns)
    renamed = ", ".join(f"{old} → {new}" for old, new in names.items() if old != new)
    if renamed:
        st.info(
            escape_markdown(
                f"The file already has columns with these names. Prediction columns are renamed: {renamed}"
            )
        )
    try:
        downloads.check_csv(upload.table.schema)
    except SchemaMismatchError as error:
        st.info(escape_markdown(f"No CSV of the result: {error}"))


def _score(
    used: ModelInUse, choices: tuple[object, ...], upload: uploads.Upload, column: str
) -> ScoredUpload:
    bar = st.progress(0.0, text="Scoring …")

    def show_progress(done: int, total: int) -> None:
        bar.progress(done / total, text=f"Scored {done:,} of {total:,} reviews")

    try:
        predictions = predict(used, upload.list_texts(column), show_progress)
    finally:
        bar.empty()
    scored = downloads.add_predictions(upload.table, predictions)
    csv, problem = None, ""
    try:
        csv = downloads.write_csv(scored)
    except SchemaMismatchError as error:
        problem = str(error)
    rejects = downloads.list_rejects(predictions, upload.left_out)
    return ScoredUpload(choices, scored, predictions, rejects, downloads.write_parquet(scored), csv, problem)


def _show_summary(scored: ScoredUpload, labels: tuple[str, ...]) -> None:
    predictions = scored.predictions
    reasons = predictions[schema.REJECT_REASON].value_counts()
    rejected = int(reasons.sum())
    counts = {
        "Rows": len(predictions),
        "Scored": len(predictions) - rejected,
        "Rejected": rejected,
        "Unsure": int(predictions[schema.UNSURE].sum()),
        "Truncated": int(predictions[schema.TRUNCATED].sum()),
    }
    if len(scored.rejects) > rejected:
        counts["Left out"] = len(scored.rejects) - rejected
    show_figures({name: f"{number:,}" for name, number in counts.items()})
    mix, rejects = st.columns(2)
    with mix:
        st.subheader("Labels")
        counted = predictions[schema.LABEL].value_counts().reindex(list(labels), fill_value=0)
        bars = pd.DataFrame({"label": counted.index, "reviews": counted.to_numpy()})
        listed = ", ".join(f"{row.label} {row.reviews:,}" for row in bars.itertuples())
        st.bar_chart(
            bars, x="label", y="reviews", x_label="", horizontal=True, sort=False, height=60 + 30 * len(bars),
            alt=f"Reviews by label: {listed}",
        )  # fmt: skip
    with rejects:
        st.subheader("Rejects")
        if scored.rejects.empty:
            st.text("None: every review has a label.")
        else:
            _show_rejects(scored, reasons)


def _show_rejects(scored: ScoredUpload, reasons: "pd.Series[int]") -> None:
    words = [escape_markdown(explain_reject(str(reason))) for reason in reasons.index]
    counts = [int(number) for number in reasons]
    left_out = len(scored.rejects) - sum(counts)
    if left_out:
        words.append("the line cannot be read")
        counts.append(left_out)
    st.table(pd.DataFrame({"rows": counts}, index=pd.Index(words, name="reason")))
    with st.expander("Each of them"):
        st.dataframe(scored.rejects.head(_SHOWN_REJECTS), hide_index=True, alt="Rejected rows with reasons")


def _show_downloads(scored: ScoredUpload, name: str) -> None:
    stem = Path(name).stem
    places = st.columns(3)
    if scored.csv is None:
        places[0].text(f"No CSV: {scored.csv_problem}")
    else:
        places[0].download_button(
            "Download CSV", scored.csv, f"{stem}-scored.csv", "text/csv", on_click="ignore"
        )
    kind = "application/vnd.apache.parquet"
    places[1].download_button(
        "Download Parquet", scored.parquet, f"{stem}-scored.parquet", kind, on_click="ignore"
    )
    if not scored.rejects.empty:
        data = scored.rejects.to_csv(index=False).encode()
        places[2].download_button(
            "Download rejects", data, f"{stem}-rejects.csv", "text/csv", on_click="ignore"
        )
