"""Record alerts and hand each to the channels once; record nights that failed."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import MonitoringError, SentimentError
from . import history
from .alerts import CRITICAL, Alert, Channel

_COLUMNS = ("key", "kind", "subject", "severity", "message", "advice")


def load_earlier_alerts(folder: Path, since: datetime.date) -> list[Alert]:
    """Return the alerts that were recorded for this night and later ones."""
    rows = history.load_alerts(folder, since)
    return [
        Alert(night=row[history.NIGHT].date(), **{name: row[name] for name in _COLUMNS})
        for row in rows.to_dict("records")
    ]


def deliver(folder: Path, night: datetime.date, alerts: Sequence[Alert], channels: Sequence[Channel]) -> None:
    """Write the alerts of a night down, and hand those that a channel does not have to it.

    A kill between delivery and note repeats an alert with the same key. Raises MonitoringError after all
    other channels have been tried.
    """
    delivered = load_delivered(folder, night)
    problems = []
    history.write_rows(folder, history.ALERTS, night, [as_row(a, delivered.get(a.key, ())) for a in alerts])
    for alert in alerts:
        for channel in channels:
            if channel.name in delivered.get(alert.key, ()):
                continue
            try:
                channel.deliver(alert)
            except MonitoringError as error:
                problems.append(error)
                continue
            delivered[alert.key] = (*delivered.get(alert.key, ()), channel.name)
            rows = [as_row(a, delivered.get(a.key, ())) for a in alerts]
            history.write_rows(folder, history.ALERTS, night, rows)
    if problems:
        raise problems[0]


def load_delivered(folder: Path, night: datetime.date) -> dict[str, tuple[str, ...]]:
    """Return the channels that have each alert of a night, finished or not, by the key of the alert."""
    rows = history.load_rows(folder, history.ALERTS, since=night)
    rows = rows[rows[history.NIGHT] == pd.Timestamp(night)]
    return {
        key: tuple(names.split(", "))
        for key, names in zip(rows["key"], rows["delivered_to"], strict=True)
        if names
    }


def record_failure(
    night: datetime.date, folder: Path, error: SentimentError, channels: Sequence[Channel]
) -> None:
    """Record a night that failed, unless an earlier run of it succeeded, and alert."""
    known = history.load_nights(folder, since=night)
    done = known[(known[history.NIGHT] == pd.Timestamp(night)) & (known["status"] != "failed")]
    alert = Alert.of(
        night,
        "failed",
        "nightly job",
        CRITICAL,
        " ".join(str(error).split()),
        f"fix this and run the night again: --date {night.isoformat()}",
    )
    if done.empty:
        counts = dict.fromkeys(
            ("batches", "input_rows", "scored_rows", "rejected_rows", "skipped_rows", "files", "late_files"),
            0,
        )
        row = {"status": "failed", **counts, "bad_files": 0, "drifted_figures": 0, "alerts": 1}
        history.write_rows(folder, history.FIGURES, night, [])
        history.write_rows(folder, history.NIGHTS, night, [{**row, "missing": {"night": str(error)}}])
    try:
        others = [
            old for old in load_earlier_alerts(folder, night) if old.night == night and old.key != alert.key
        ]
        deliver(folder, night, [*others, alert], channels)
    except MonitoringError as other:
        error.args = (f"{error}; and the alert on it was not delivered: {other}",)


def as_row(alert: Alert, delivered: Sequence[str]) -> dict[str, Any]:
    """Return the row of an alert in its table."""
    row = {name: getattr(alert, name) for name in _COLUMNS}
    now = datetime.datetime.now(datetime.timezone.utc)
    return {**row, "raised_at": now, "delivered_to": ", ".join(delivered)}
