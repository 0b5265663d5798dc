"""Write the report of a night: one HTML file that needs nothing else, without review text."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..evaluation.figures import as_svg
from ..evaluation.page import Headline, render_page
from ..evaluation.sections import Section, Table
from ..schema import REJECT_REASONS
from .alerts import Alert
from .history import NIGHT
from .pictures import draw_pictures

_NONE = "-"
# Rows of a table at most; the Parquet tables have all rows.
_MAX_ROWS = 40
_NOTHING = {
    "next": "",
    "labels": "No row was scored in these nights.",
    "accuracy": "No row was scored in these nights.",
    "drift": "No figure could be compared: there is no reference yet.",
    "rejects": "No row of this night was rejected.",
    "steps": "The steps of this night were not timed.",
    "missing": "",
}


def render_report(
    night: datetime.date, nights: pd.DataFrame, figures: pd.DataFrame, alerts: Sequence[Alert]
) -> str:
    """Return the report of a night as HTML.

    `nights` and `figures` are frames of `history.load_nights` and `history.load_figures`, with the rows of
    this night and of the nights before.
    """
    day = pd.Timestamp(night)
    nights, figures = nights[nights[NIGHT] <= day], figures[figures[NIGHT] <= day]
    tonight: dict[str, Any] = nights[nights[NIGHT] == day].to_dict("records")[-1]  # type: ignore[assignment]
    pictures = draw_pictures(nights, figures)
    built = {
        "next": _describe_next(alerts),
        "volume": _describe_volume(tonight),
        "labels": Section("Labels", figure="labels", table=_tabulate(tonight["labels"], "label")),
        "accuracy": _describe_accuracy(nights),
        "drift": _describe_drift(figures[figures[NIGHT] == day]),
        "rejects": _describe_rejects(tonight["rejects"]),
        "steps": _describe_steps(tonight["steps"]),
    }
    sections = {name: section for name, section in built.items() if section is not None}
    for name in ("labels", "accuracy"):
        if name not in pictures:
            del sections[name]
    missing = {name: _NOTHING[name] for name in built if name not in sections}
    return render_page(
        title=f"Night of {night.isoformat()}",
        lead=f"Model {tonight['model_uri']}, version {tonight['model_version']}.",
        headlines=_list_headlines(tonight),
        summary=_summarise(tonight, alerts),
        sections=sections,
        missing={**missing, **tonight["missing"]},
        figures={name: as_svg(picture, name) for name, picture in pictures.items()},
    )


def _list_headlines(night: Mapping[str, Any]) -> list[Headline]:
    expected = "" if _is_null(night["expected_rows"]) else f"expected {night['expected_rows']:,.0f}"
    low, high = night["estimated_low"], night["estimated_high"]
    return [
        Headline("new rows", f"{night['input_rows']:,}", expected),
        Headline("rejects", _show(night["reject_share"], "{:.1%}"), f"{night['rejected_rows']:,} rows"),
        Headline(
            "estimated accuracy",
            _show(night["estimated_accuracy"], "{:.3f}"),
            "" if _is_null(low) else f"{low:.3f} to {high:.3f}",
        ),
        Headline("figures that drifted", f"{night['drifted_figures']:,}", "of this night"),
        Headline("alerts", f"{night['alerts']:,}", ""),
    ]


def _summarise(night: Mapping[str, Any], alerts: Sequence[Alert]) -> str:
    if alerts:
        need = "1 alert needs" if len(alerts) == 1 else f"{len(alerts):,} alerts need"
        return f"{need} attention; what to do is below."
    if not night["input_rows"]:
        return "Nothing was pending: no row was scored."
    return "Nothing needs attention."


def _describe_next(alerts: Sequence[Alert]) -> Section:
    if not alerts:
        return Section("What to do next", ("Nothing.",))
    rows = tuple(
        (alert.severity, "new" if alert.is_new else "lasts", alert.subject, alert.message, alert.advice)
        for alert in alerts
    )
    return Section("What to do next", (), Table(("", "", "subject", "found", "what to do"), rows, texts=5))


def _describe_volume(night: Mapping[str, Any]) -> Section:
    names = ("input_rows", "scored_rows", "rejected_rows", "skipped_rows", "files", "late_files", "bad_files")
    rows = [(name.replace("_", " "), f"{night[name]:,}") for name in names]
    rows.append(("age of the newest file, hours", _show(night["freshness_hours"], "{:,.1f}")))
    return Section("Data", (), Table(("", "this night"), tuple(rows)), "volume")


def _describe_accuracy(nights: pd.DataFrame) -> Section:
    known = nights[nights["realised_accuracy"].notna()]
    sentence = (
        "The estimate follows from the scores and holds as far as the reviews are like those the model was "
        "tested on: where the domain has drifted, it is too high. The realised accuracy is that of rows "
        "whose labels have come in."
    )
    rows = tuple(
        (
            f"{row[NIGHT]:%Y-%m-%d}",
            f"{int(row['realised_rows']):,}",
            f"{row['realised_accuracy']:.3f}",
            _show(row["estimated_accuracy"], "{:.3f}"),
        )
        for _, row in known.tail(_MAX_ROWS).iterrows()
    )
    table = Table(("night", "labelled rows", "realised", "estimated"), rows) if rows else None
    return Section("Accuracy", (sentence,), table, "accuracy")


def _describe_drift(figures: pd.DataFrame) -> Section | None:
    if not len(figures):
        return None
    ordered = figures.sort_values(["is_drifted", "effect"], ascending=False)
    rows = tuple(
        (
            row["figure"],
            row["against"],
            "alarm" if row["is_alarm"] else "drifted" if row["is_drifted"] else "as usual",
            row["category"] or "mean",
            f"{row['value']:.3g}",
            f"{row['reference_value']:.3g}",
            f"{row['effect']:.3f}",
            f"{row['psi']:.3f}",
            _show(row["adjusted_p_value"], "{:.3f}"),
        )
        for _, row in ordered.head(_MAX_ROWS).iterrows()
    )
    sentences = (
        "A figure has drifted if it differs more than chance explains (adjusted p at most 0.05) and enough "
        "to matter. There is an alarm if it drifted in two of three nights.",
    )
    columns = ("figure", "against", "", "of", "value", "reference", "difference", "PSI", "adjusted p")
    return Section("Drift", sentences, Table(columns, rows, texts=4), "drift")


def _describe_rejects(rejects: Mapping[str, int]) -> Section | None:
    if not rejects:
        return None
    ordered = sorted(rejects.items(), key=lambda item: -item[1])
    rows = tuple((reason, REJECT_REASONS.get(reason, _NONE), f"{n:,}") for reason, n in ordered)
    return Section("Rejects", (), Table(("reason", "meaning", "rows"), rows, texts=2))


def _describe_steps(steps: Mapping[str, float]) -> Section | None:
    if not steps:
        return None
    total = sum(steps.values())
    slowest = sorted(steps.items(), key=lambda item: -item[1])
    rows = tuple((name, f"{seconds:,.1f}", f"{seconds / max(total, 1e-9):.0%}") for name, seconds in slowest)
    return Section("Slowest steps", (), Table(("step", "seconds", "share"), rows))


def _tabulate(counts: Mapping[str, int], name: str) -> Table | None:
    """Return a table of counts with their shares; None if there are no counts."""
    total = sum(counts.values())
    rows = tuple((key, f"{n:,}", f"{n / total:.1%}") for key, n in counts.items())
    return Table((name, "rows", "share"), rows) if rows else None


def _show(value: float | None, form: str) -> str:
    return _NONE if _is_null(value) else form.format(value)


def _is_null(value: Any) -> bool:
    return bool(pd.isna(value))
