"""Show the page of the nights: runs, alerts, accuracy, drift and data quality."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from ..monitoring.history import EMPTY, NIGHT, OK, find_state
from .charts import draw_lines
from .figures import show_figures
from .hints import show_hint
from .nights import AGAINST, Nights, count_rejects, find_folder, list_drift, load_nights
from .paths import choose_path
from .settings import MONITORING_VARIABLE, read_settings
from .wording import escape_markdown, explain_reject

_COMMAND = "python jobs/nightly.py --input var/reviews --output var/scores --monitoring var/monitoring"
_SPANS = {"30 days": 30, "90 days": 90, "1 year": 365, "everything": None}
_ICONS = {"critical": ":material/error:", "warning": ":material/warning:"}
_SHOWN_ALERTS = 20
_RUN_COLUMNS = (
    *("night", "status", "model_version", "input_rows", "scored_rows", "rejected_rows", "skipped_rows"),
    *("reject_share", "unsure_share", "volume_ratio", "freshness_hours", "late_files", "bad_files"),
    *("estimated_accuracy", "realised_accuracy", "drifted_figures", "alerts", "seconds", "run_id"),
)
_ALERT_COLUMNS = ("night", "severity", "kind", "subject", "message", "advice", "items", "is_new", "raised_at")
_LAST_FIGURES = (
    ("Scored", "scored_rows", "{:,.0f}"),
    ("Rejected", "reject_share", "{:.2%}"),
    ("Unsure", "unsure_share", "{:.1%}"),
    ("Estimated accuracy", "estimated_accuracy", "{:.1%}"),
)


def show() -> None:
    """Show the page; raise StoreError if a file cannot be read."""
    fixed = find_folder(read_settings(os.environ))
    folder = choose_path(
        "Folder of the nights", "monitoring_path", fixed, MONITORING_VARIABLE,
        "Folder that the nightly job writes.",
    )  # fmt: skip
    span = st.segmented_control("Show", list(_SPANS), default="90 days", required=True)
    found = _load(folder, find_state(Path(folder)), _SPANS[span or "90 days"]) if folder else None
    if found is None or found.nights.empty:
        show_hint(
            "No night is chosen or recorded yet. This command runs one, and it can run every night:", _COMMAND
        )
        return
    _show_last(found.nights)
    _show_alerts(found.alerts)
    runs, accuracy, drift, quality = st.tabs(["Runs", "Accuracy", "Drift", "Quality"])
    with runs:
        _show_runs(found.nights)
    with accuracy:
        _show_accuracy(found.nights)
    with drift:
        _show_drift(found.figures)
    with quality:
        _show_quality(found.nights)


@st.cache_resource(max_entries=4, show_spinner="Reading the nights …")
def _load(folder: str, state: tuple[int, ...], days: int | None) -> Nights:
    return load_nights(Path(folder), days)


def _show_last(nights: pd.DataFrame) -> None:
    last = nights.iloc[-1]
    before = nights.iloc[-2] if len(nights) > 1 else None
    st.subheader(f"Last night: {last[NIGHT]:%d %B %Y}")
    if last["status"] == EMPTY:
        st.info("Nothing was pending.")
    elif last["status"] != OK:
        st.warning("This night raised alerts or did not end well. See below.")
    figures: dict[str, str] = {"Status": str(last["status"])}
    changes: dict[str, str | None] = {}
    for title, column, style in _LAST_FIGURES:
        value = last.get(column)
        figures[title] = "unknown" if pd.isna(value) else style.format(value)
        if before is not None and not pd.isna(value) and not pd.isna(before.get(column)):
            changes[title] = style.format(value - before[column])
    show_figures(figures, changes)
    if changes:
        st.caption("The small figures are the changes from the night before.")


def _show_alerts(alerts: pd.DataFrame) -> None:
    st.subheader("Alerts")
    if alerts.empty:
        st.text("None in this time.")
        return
    newest = alerts.iloc[::-1]
    for alert in newest.head(_SHOWN_ALERTS if len(newest) <= 3 else 3).to_dict("records"):
        line = f"{alert[NIGHT]:%d %b %Y}: {alert['message']} {alert['advice'] or ''}"
        show = st.error if alert["severity"] == "critical" else st.warning
        show(escape_markdown(line), icon=_ICONS.get(alert["severity"]))
    with st.expander(f"All {len(newest):,} alerts"):
        st.dataframe(
            newest[list(_ALERT_COLUMNS)],
            hide_index=True,
            alt="Alerts, the newest first",
            column_config=_dates(),
        )


def _show_runs(nights: pd.DataFrame) -> None:
    draw_lines(nights, NIGHT, ["scored_rows", "rejected_rows"], "~s", "Rows per night")
    columns = [name for name in _RUN_COLUMNS if name in nights]
    st.dataframe(
        nights.iloc[::-1][columns], hide_index=True, alt="Nights, the newest first", column_config=_dates()
    )


def _show_accuracy(nights: pd.DataFrame) -> None:
    names = ("estimated_accuracy", "estimated_low", "estimated_high", "realised_accuracy")
    columns = [name for name in names if name in nights and nights[name].notna().any()]
    if not columns:
        st.info("No night has an accuracy: the model states no calibration, or no labels have come in.")
        return
    draw_lines(nights, NIGHT, columns, ".1%", "Accuracy")
    st.caption(
        "Estimated from the calibrated scores, with its interval; realised from labels that came in later."
    )


def _show_drift(figures: pd.DataFrame) -> None:
    if figures.empty:
        st.info("No figures in this time.")
        return
    against = st.radio(
        "Compared with", sorted(figures["against"].unique()), horizontal=True,
        format_func=lambda name: AGAINST.get(name, name),
    )  # fmt: skip
    newest = list_drift(figures, against)
    names = newest["figure"].tolist()
    chosen = st.multiselect("Figures", names, names[:3])
    some = figures[(figures["against"] == against) & figures["figure"].isin(chosen)]
    if not some.empty:
        wide = some.pivot_table(index=NIGHT, columns="figure", values="effect").reset_index()
        draw_lines(wide, NIGHT, [name for name in chosen if name in wide], ".2f", "Effect of the drift")
    st.caption("The effect is the largest difference of two shares. It counts from `min_effect` on.")
    st.dataframe(newest, hide_index=True, alt="Figures of the last night", column_config=_dates())


def _show_quality(nights: pd.DataFrame) -> None:
    shares = [name for name in ("reject_share", "unsure_share") if nights[name].notna().any()]
    if shares:
        draw_lines(nights, NIGHT, shares, ".1%", "Shares of rows")
    if nights["volume_ratio"].notna().any():
        draw_lines(nights, NIGHT, ["volume_ratio"], ".2f", "Rows compared with the expected rows")
    reasons = count_rejects(nights)
    if reasons:
        words = pd.Index([escape_markdown(explain_reject(name)) for name in reasons], name="reject reason")
        st.table(pd.DataFrame({"rows": list(reasons.values())}, index=words))


def _dates() -> dict[str, Any]:
    shares = ("reject_share", "unsure_share", "estimated_accuracy", "realised_accuracy")
    formats = {name: st.column_config.NumberColumn(format="percent") for name in shares}
    return {NIGHT: st.column_config.DateColumn(pinned=True), **formats}
