"""Record alerts and hand each to the channels once; record nights that failed."""

import datetime
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import MonitoringError, SentimentError, StoreError
from . import history
from .alerts import CRITICAL, KINDS, LAPSE_NIGHTS, Alert, Channel, is_due

_COLUMNS = ("store", "kind", "subject", "severity", "message", "advice", "is_new")
# For one kind of alert: the ISO night on which a channel got an item, by channel and item.
Delivered = Mapping[str, Mapping[str, str]]
# An alert that a channel did not take is handed to it again on so many nights.
RESEND_NIGHTS = 7


def deliver_overdue(folder: Path, night: datetime.date, channels: Sequence[Channel]) -> list[str]:
    """Hand alerts of nights before to the channels that did not take them; return what went wrong."""
    problems = []
    for day, names in load_overdue(folder, night, {channel.name for channel in channels}).items():
        late = [channel for channel in channels if channel.name in names]
        try:
            deliver(folder, day, load_earlier_alerts(folder, day, day), late)
        except (MonitoringError, StoreError) as error:
            problems.append(f"alerts of the night of {day} are not delivered yet: {error}")
    return problems


def load_overdue(folder: Path, night: datetime.date, names: Set[str]) -> dict[datetime.date, set[str]]:
    """Return the nights before with an alert that one of these channels did not take, and those channels."""
    rows = history.load_rows(folder, history.ALERTS, night - datetime.timedelta(days=RESEND_NIGHTS))
    found: dict[datetime.date, set[str]] = {}
    for row in rows[rows[history.NIGHT] < pd.Timestamp(night)].to_dict("records"):
        # A channel that was not asked then, because it is newer, is not in `delivered`.
        failed = {name for name in names & {*row["delivered"]} if {*row["items"]} - {*row["delivered"][name]}}
        if failed:
            found.setdefault(row[history.NIGHT].date(), set()).update(failed)
    return found


def load_earlier_alerts(
    folder: Path, since: datetime.date, until: datetime.date | None = None
) -> list[Alert]:
    """Return the alerts that were recorded for these nights; `until` is the last one, None for all."""
    rows = history.load_alerts(folder, since)
    if until is not None:
        rows = rows[rows[history.NIGHT] <= pd.Timestamp(until)]
    return [
        Alert(
            night=row[history.NIGHT].date(),
            # None in a row of an earlier version.
            items=tuple(row["items"] if row["items"] is not None else ()),
            **{name: row[name] for name in _COLUMNS},
        )
        for row in rows.to_dict("records")
    ]


def deliver(folder: Path, night: datetime.date, alerts: Sequence[Alert], channels: Sequence[Channel]) -> None:
    """Write the alerts of a night down, and hand those that a channel does not have to it.

    A kill between delivery and note repeats an alert with the same key. Raises MonitoringError or StoreError
    after all channels have been tried, also if nothing can be written down.
    """
    problems: list[SentimentError] = []
    got: dict[str, dict[str, dict[str, str]]] = {}

    def note() -> None:
        try:
            rows = [as_row(alert, got.get(alert.kind, {})) for alert in alerts]
            history.write_rows(folder, history.ALERTS, night, rows)
        except StoreError as error:
            problems.append(error)

    try:
        got = load_delivered(folder, night)
    except StoreError as error:
        problems.append(error)
    note()
    for alert in alerts:
        for channel in channels:
            known = got.setdefault(alert.kind, {}).setdefault(channel.name, {})
            if not is_due(alert, known):
                continue
            try:
                channel.deliver(alert)
                known.update(dict.fromkeys(alert.items, night.isoformat()))
            except MonitoringError as error:
                problems.append(error)
            note()
    if problems:
        raise problems[0]


def load_delivered(folder: Path, night: datetime.date) -> dict[str, dict[str, dict[str, str]]]:
    """Return what channels got of each kind: in this night, finished or not, and of lasting events before."""
    day = pd.Timestamp(night)
    since = night - datetime.timedelta(days=history.TRAILING_DAYS)
    nights = history.load_nights(folder, since)
    nights = nights[(nights[history.NIGHT] < day) & (nights["status"] != history.FAILED)]
    recent = [*nights[history.NIGHT].tail(LAPSE_NIGHTS), day]
    rows = history.load_rows(folder, history.ALERTS, since)
    found: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows[rows[history.NIGHT].isin(recent)].to_dict("records"):
        if row[history.NIGHT] == day or KINDS[row["kind"]]:
            for channel, items in row["delivered"].items():
                found.setdefault(row["kind"], {}).setdefault(channel, {}).update(items)
    return found


def record_failure(
    night: datetime.date, store: str, folder: Path, error: SentimentError, channels: Sequence[Channel]
) -> None:
    """Record a night that failed, unless an earlier run of it succeeded, and alert.

    What goes wrong with that is added to the message of the error.
    """
    advice = f"fix this and run the night again: --date {night.isoformat()}"
    message = " ".join(str(error).split())
    alert = Alert(night, store, "failed", "nightly job", CRITICAL, message, advice, ("nightly job",))
    others: list[Alert] = []
    problems = []
    try:
        _record_failed_night(folder, night, message)
        others = [old for old in load_earlier_alerts(folder, night, night) if old.kind != alert.kind]
    except StoreError as other:
        problems.append(f"the night was not recorded: {other}")
    try:
        deliver(folder, night, [*others, alert], channels)
    except SentimentError as other:
        problems.append(f"the alert on it was not delivered, or not noted: {other}")
    error.args = ("; and ".join([str(error), *problems]),)


def _record_failed_night(folder: Path, night: datetime.date, message: str) -> None:
    known = history.load_nights(folder, since=night)
    done = known[(known[history.NIGHT] == pd.Timestamp(night)) & (known["status"] != history.FAILED)]
    if done.empty:
        counts = dict.fromkeys(
            ("batches", "input_rows", "scored_rows", "rejected_rows", "skipped_rows", "files", "late_files"),
            0,
        )
        row = {"status": history.FAILED, **counts, "bad_files": 0, "drifted_figures": 0, "alerts": 1}
        history.write_rows(folder, history.FIGURES, night, [])
        history.write_rows(folder, history.NIGHTS, night, [{**row, "missing": {"night": message}}])


def as_row(alert: Alert, delivered: Delivered) -> dict[str, Any]:
    """Return the row of an alert in its table; items that are not raised any more are left out.

    A channel without items is one that did not take the alert.
    """
    row = {name: getattr(alert, name) for name in ("key", "items", *_COLUMNS)}
    now = datetime.datetime.now(datetime.UTC)
    got = {
        channel: {item: at for item, at in items.items() if item in alert.items}
        for channel, items in delivered.items()
    }
    return {**row, "raised_at": now, "delivered": got}
