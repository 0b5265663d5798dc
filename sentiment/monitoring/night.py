"""Run one night: score what is pending, judge it by the nights before, and record, report and alert once.

Each step can be killed and the night run again: batches stay its own by the journal, files are replaced by a
rename, the MLflow run is found again by its tags, and a delivered alert is written down.
"""

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import BadFilesError, MonitoringError, SentimentError
from ..evaluation.profile import Profile
from . import history, journal
from .alerts import Alert, Channel
from .assessment import Assessment, Past, assess
from .delivery import as_row, deliver, deliver_overdue, load_delivered, load_earlier_alerts, record_failure
from .observation import Observation
from .published import Includes
from .quality import Limits
from .realised import Labelled, add_up, measure_nights
from .report import render_report
from .steps import Steps

REPORTS = "reports"
# Labels are joined with nights of so many days: late ones seldom come later.
LABEL_DAYS = 90
# No rule, and no picture of the report, looks further back.
MEMORY_DAYS = 90


LabelledNights = Mapping[datetime.date, Labelled]


@dataclass(frozen=True)
class Champion:
    """Hold the model of a night: a URI that no moved alias changes, and the profile of its test set."""

    uri: str
    version: str
    reference: Profile | None = None


@dataclass(frozen=True)
class Doors:
    """Do what needs the registry, the store, Spark or MLflow; each may raise a SentimentError.

    `store` is the address of the scores, which alerts name. `plan` and `score` return the summary of
    jobs/score_reviews.py, or raise a BadFilesError with it if files are unusable and all others are done.
    `list_names` returns the names of all batches by their numbers. `observe` gets a test for batches. `label`
    gets such tests by night, and returns rows with labels, and why some are missing; None if there is no
    source of labels. `log` returns the id of an MLflow run.
    """

    store: str
    resolve: Callable[[], Champion]
    plan: Callable[[Champion], Mapping[str, Any]]
    score: Callable[[Champion], Mapping[str, Any]]
    list_names: Callable[[], Mapping[int, str]]
    observe: Callable[[Champion, Includes], Observation]
    label: Callable[[Mapping[datetime.date, Includes]], tuple[LabelledNights, Mapping[str, str]]] | None
    log: Callable[[datetime.date, Mapping[str, Any], str], str]


@dataclass(frozen=True)
class NightResult:
    """Hold what a night came to: the summary of its scoring, and the error about unusable files."""

    row: Mapping[str, Any]
    alerts: Sequence[Alert]
    scoring: Mapping[str, Any]
    report: Path
    failure: SentimentError | None = None
    warnings: Sequence[str] = ()


def run_night(
    night: datetime.date,
    folder: Path,
    doors: Doors,
    channels: Sequence[Channel],
    limits: Limits,
    steps: Steps,
) -> NightResult:
    """Run one night; the caller holds the lock of the folder. Raises the error of the step that failed.

    A failed step is recorded and alerted too, so that a night that is not done does not pass unnoticed.
    """
    try:
        return _run_steps(night, folder, doors, channels, limits, steps)
    # An error that nobody expected is reported by its class: its message may hold a review.
    except Exception as error:
        failed = steps.failed
        known = error if isinstance(error, SentimentError) else MonitoringError(_describe(error))
        known.args = (f"step {failed.name if failed else 'start'}: {known}",)
        record_failure(night, doors.store, folder, known, channels)
        raise known from error


def _run_steps(
    night: datetime.date,
    folder: Path,
    doors: Doors,
    channels: Sequence[Channel],
    limits: Limits,
    steps: Steps,
) -> NightResult:
    champion = steps.run("champion", doors.resolve)
    scoring, failure = steps.run("plan", lambda: _tolerate(lambda: doors.plan(champion)))
    killed = steps.run("begin", lambda: _begin(folder, night, doors.list_names()))
    if scoring["pending_rows"]:
        scoring, failure = steps.run("score", lambda: _tolerate(lambda: doors.score(champion)))
    notes = journal.load_journal(folder)
    seen = steps.run(
        "profile", lambda: doors.observe(champion, lambda *batch: journal.belongs(notes, night, *batch))
    )
    bad_files = {bad["path"]: bad for bad in (*seen.bad_files, *scoring["bad_files"])}
    labelled, missing = steps.run("labels", lambda: _label(folder, night, notes, doors))
    if seen.model_version != champion.version:  # a night of the past
        champion = replace(champion, version=seen.model_version, reference=None)
        missing = {**missing, "drift against the model": "the night was scored by another model than today's"}
    seen = replace(
        seen,
        night=night,
        store=doors.store,
        bad_files=list(bad_files.values()),
        missing={**seen.missing, **missing},
    )
    past = steps.run("history", lambda: _load_past(folder, night, champion, labelled))
    judged = steps.run("drift", lambda: assess(seen, past, limits))
    steps.run("record", lambda: _record(folder, judged, steps))
    report = steps.run("report", lambda: _write_report(folder, night))
    run_id = steps.run("mlflow", lambda: doors.log(night, judged.as_night(), report.read_text("utf-8")))
    problems = steps.run("overdue", lambda: deliver_overdue(folder, night, channels))
    steps.run("alerts", lambda: deliver(folder, night, judged.alerts, channels))
    row = steps.run("finish", lambda: _finish(folder, night, judged, run_id, doors.list_names(), steps))
    warnings = problems + [
        f"the night of {other} was killed before it was recorded; run it again: --date {other}"
        for other in killed
    ]
    return NightResult(row, judged.alerts, scoring, report, failure, warnings)


def _describe(error: Exception) -> str:
    return f"unexpected {type(error).__name__}; run again with --debug to see where"


def _tolerate(work: Callable[[], Mapping[str, Any]]) -> tuple[Mapping[str, Any], SentimentError | None]:
    """Return a summary, and the error about files that are unusable while all others are done."""
    try:
        return work(), None
    except BadFilesError as error:
        if error.summary is None:
            raise
        return error.summary, error


def _begin(folder: Path, night: datetime.date, names: Mapping[int, str]) -> list[datetime.date]:
    """Write down that the night runs; return other nights that were killed."""
    notes = journal.load_journal(folder)
    journal.write_journal(folder, journal.begin(notes, night, names))
    return journal.list_killed(notes, night)


def _label(
    folder: Path, night: datetime.date, notes: journal.Journal, doors: Doors
) -> tuple[LabelledNights, Mapping[str, str]]:
    """Measure and record the accuracy of nights whose labels came in; also return why figures are missing."""
    if doors.label is None:
        return {}, {}
    first = night - datetime.timedelta(days=LABEL_DAYS)
    labelled, missing = doors.label(
        {day: functools.partial(journal.belongs, notes, day) for day in notes if first <= day <= night}
    )
    for day, row in measure_nights(labelled, measured_on=night).items():
        history.write_rows(folder, history.REALISED, day, [row])
    return labelled, missing


def _load_past(folder: Path, night: datetime.date, champion: Champion, labelled: LabelledNights) -> Past:
    since = night - datetime.timedelta(days=MEMORY_DAYS)
    nights = history.load_nights(folder, since)
    nights = nights[nights["status"] != history.FAILED]
    days = [night - datetime.timedelta(days=ago) for ago in range(1, history.TRAILING_DAYS + 1)]
    recent = {day: labelled[day] for day in days if day in labelled}
    return Past(
        nights=nights,
        figures=history.load_figures(folder, since),
        alerts=load_earlier_alerts(folder, since),
        profiles=history.load_profiles(folder, days),
        reference=champion.reference,
        labelled=add_up(recent.values(), champion.version),
    )


def _record(folder: Path, judged: Assessment, steps: Steps) -> None:
    """Write profile, figures and the row of the night, which makes the others count."""
    night = judged.seen.night
    history.write_profile(folder, night, judged.seen.profile)
    history.write_rows(folder, history.FIGURES, night, judged.as_figures())
    delivered = load_delivered(folder, night)
    rows = [as_row(alert, delivered.get(alert.kind, {})) for alert in judged.alerts]
    history.write_rows(folder, history.ALERTS, night, rows)
    row = {**judged.as_night(), "steps": steps.seconds, "seconds": sum(steps.seconds.values())}
    history.write_rows(folder, history.NIGHTS, night, [row])


def _finish(
    folder: Path,
    night: datetime.date,
    judged: Assessment,
    run_id: str,
    names: Mapping[int, str],
    steps: Steps,
) -> dict[str, Any]:
    row = {
        **judged.as_night(),
        "steps": steps.seconds,
        "seconds": sum(steps.seconds.values()),
        "run_id": run_id,
    }
    history.write_rows(folder, history.NIGHTS, night, [row])
    journal.write_journal(folder, journal.end(journal.load_journal(folder), night, names))
    return {history.NIGHT: night.isoformat(), **row}


def _write_report(folder: Path, night: datetime.date) -> Path:
    since = night - datetime.timedelta(days=MEMORY_DAYS)
    alerts = load_earlier_alerts(folder, night, night)
    nights, figures = history.load_nights(folder, since), history.load_figures(folder, since)
    content = render_report(night, nights, figures, alerts)
    path = folder / REPORTS / f"{night.isoformat()}.html"
    history.replace_file(path, content.encode())
    return path
