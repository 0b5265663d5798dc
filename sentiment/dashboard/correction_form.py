"""Show the rows behind the figures with their texts, and let the reader correct labels."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import streamlit as st

from .. import schema
from . import corrections
from .scores import Reviews, find_text_columns, join_reviews, read_columns
from .settings import CORRECTIONS_VARIABLE, Settings
from .wording import count, escape_markdown

SHOWN_ROWS = 200
CORRECT = "correct label"
# Domino's proxy sends the name of the user who has logged in.
_USER_HEADER = "domino-username"
_ORDERS = {
    "the least sure first": (schema.SCORE, True),
    "the newest first": (schema.SCORED_AT, False),
    "the surest first": (schema.SCORE, False),
}


def show_rows(kept: pd.DataFrame, reviews: Reviews | None, ids: list[str], settings: Settings) -> None:
    """Show the first rows of a chosen order; with `reviews`, show their texts and a form for corrections."""
    st.subheader("Rows")
    order = st.selectbox("Order", list(_ORDERS))
    column, is_rising = _ORDERS[order]
    some = (
        kept.sort_values(column, ascending=is_rising, kind="stable").head(SHOWN_ROWS).reset_index(drop=True)
    )
    st.caption(f"{len(some):,} of {len(kept):,} rows")
    texts = find_text_columns(reviews)
    if reviews is None or not texts:
        st.dataframe(some, hide_index=True, alt="Scores of single reviews")
        st.info(
            "With the table of the reviews (above), the rows have their texts, and labels can be corrected."
        )
        return
    text_column = st.selectbox("Text column", texts)
    names = [text_column] if text_column not in some else []
    rows = join_reviews(some, read_columns(reviews, ids, [text_column], some), ids) if names else some
    gone = int(rows[text_column].isna().sum())
    if gone:
        st.caption(f"{gone:,} of these reviews have no text in the table of the reviews.")
    _show_form(rows, ids, text_column, settings)


def _show_form(rows: pd.DataFrame, ids: list[str], text_column: str, settings: Settings) -> None:
    # Only the operator sets this folder: the process of the app writes to it.
    place = settings.corrections
    saved = corrections.load_corrections(Path(place)) if place else None
    rows = corrections.apply_corrections(rows, saved, ids)
    labels = _list_labels(rows, saved)
    with st.form("corrections"):
        st.caption("Change a label in the first column, then save. The text is saved with it, for training.")
        edited = st.data_editor(
            rows.assign(**{CORRECT: rows[schema.LABEL]})[
                [text_column, schema.LABEL, schema.SCORE, *ids, CORRECT]
            ],
            hide_index=True,
            disabled=[text_column, schema.LABEL, schema.SCORE, *ids],
            column_order=[CORRECT, text_column, schema.LABEL, schema.SCORE, *ids],
            column_config={
                CORRECT: st.column_config.SelectboxColumn(options=labels, required=True, pinned=True),
                text_column: st.column_config.TextColumn(width="large"),
                schema.SCORE: st.column_config.NumberColumn(format="%.3f"),
            },
        )
        who = st.text_input("Your name", st.context.headers.get(_USER_HEADER, ""))
        is_asked = st.form_submit_button("Save the corrections", type="primary", disabled=place is None)
    if place is None:
        st.caption(f"Corrections can be saved where the operator has set {CORRECTIONS_VARIABLE}.")
    elif is_asked:
        _save(rows, edited[CORRECT], ids, text_column, who.strip(), Path(place))


def _list_labels(rows: pd.DataFrame, saved: pa.Table | None) -> list[str]:
    """Show a field for further labels, and return the labels to choose from.

    They are the labels of the rows, of earlier corrections and of the field, or, if all of these are in a
    usual set such as the five stars, this set.
    """
    more = st.text_input(
        "Further labels", key="further_labels", help="Labels that no row has, separated by commas"
    )
    known = {str(label) for label in rows[schema.LABEL].dropna()} | {*schema.split_columns(more)}
    if saved is not None:
        known |= set(saved.column(schema.LABEL).to_pylist())
    for usual in (schema.POLARITY_LABELS, schema.THREE_WAY_LABELS, schema.STAR_LABELS):
        if known <= {*usual}:
            return list(usual)
    return sorted(known)


def _save(
    rows: pd.DataFrame, labels: "pd.Series[str]", ids: list[str], text_column: str, who: str, folder: Path
) -> None:
    if not who:
        st.warning("Write your name: corrections are saved with it.")
        return
    new = corrections.make_corrections(rows, ids, text_column, labels, who, datetime.now(UTC))
    if not new.num_rows:
        st.warning("No label was changed.")
        return
    total = corrections.save_corrections(folder, new, ids)
    st.success(
        escape_markdown(
            f"Saved {count(new.num_rows, 'correction')}; {folder / corrections.FILE} has {total:,}. Train:"
        )
    )
    st.code(f"python jobs/finetune.py --dataset_name {folder}", language="bash", wrap_lines=True)
