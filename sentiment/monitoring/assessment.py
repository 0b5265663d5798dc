"""Judge a night by its profile and by the nights before it: drift, accuracy, data quality, alerts."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd

from ..evaluation.intervals import Interval
from ..evaluation.profile import Profile
from .accuracy import choose_known, estimate_accuracy
from .accuracy_alerts import check_estimate, check_realised
from .alerts import KINDS, LAPSE_NIGHTS, WARNING, Alert
from .drift import MIN_ROWS, MODEL, TRAILING, Drift, find_drift, is_persistent
from .figures import MODEL_FIGURES, Distribution, add_distributions, list_distributions
from .history import ALERT, EMPTY, NIGHT, OK, TRAILING_DAYS
from .observation import SETTINGS, Observation
from .quality import Limits, check_data, find_expected_rows

# A norm of fewer nights would be that of some weekdays only.
MIN_TRAILING_NIGHTS = 7


@dataclass(frozen=True)
class Past:
    """Hold what is known before a night: earlier rows of `history`, by their loaders, and profiles.

    `profiles` are those of the TRAILING_DAYS before. `reference` is that of the model's test set, None if the
    model has none. `labelled` counts rows of those days whose labels have come in, None if none have.
    """

    nights: pd.DataFrame
    figures: pd.DataFrame
    alerts: Sequence[Alert] = ()
    profiles: Mapping[datetime.date, Profile] = field(default_factory=dict)
    reference: Profile | None = None
    labelled: Profile | None = None


@dataclass(frozen=True)
class Assessment:
    """Hold the judgement of one night. `alarms` are figures that have drifted for several nights.

    `alerts` are all that are raised, also those that nights before raised.
    """

    seen: Observation
    expected_rows: float | None
    drifts: Sequence[Drift]
    alarms: frozenset[tuple[str, str]]
    estimate: Interval | None
    alerts: Sequence[Alert]
    missing: Mapping[str, str]

    def as_figures(self) -> list[dict[str, Any]]:
        """Return the rows of the table of figures."""
        return [
            {**asdict(drift), "is_alarm": (drift.figure, drift.against) in self.alarms}
            for drift in self.drifts
        ]

    def as_night(self) -> dict[str, Any]:
        """Return the row of the table of nights, without the columns that only the job knows."""
        seen, profile = self.seen, self.seen.profile
        return {
            "status": ALERT if self.alerts else OK if seen.input_rows else EMPTY,
            "model_uri": seen.model_uri,
            "model_version": seen.model_version,
            "batches": seen.batches,
            "input_rows": seen.input_rows,
            "scored_rows": profile.scored_rows,
            "rejected_rows": sum(profile.rejects.values()),
            "skipped_rows": seen.skipped_rows,
            "rescored_rows": seen.rescored_rows,
            "reject_share": seen.reject_share,
            "unsure_share": seen.unsure_share,
            "expected_rows": self.expected_rows,
            "volume_ratio": seen.input_rows / self.expected_rows if self.expected_rows else None,
            "freshness_hours": seen.freshness_hours,
            "files": len(seen.files),
            "late_files": len(seen.late_files),
            "bad_files": len(seen.bad_files),
            "estimated_accuracy": self.estimate.value if self.estimate else None,
            "estimated_low": self.estimate.low if self.estimate else None,
            "estimated_high": self.estimate.high if self.estimate else None,
            "drifted_figures": len({drift.figure for drift in self.drifts if drift.is_drifted}),
            "alerts": len(self.alerts),
            "labels": dict(profile.labels),
            "stages": dict(profile.stages),
            "rejects": dict(profile.rejects),
            "settings": dict(seen.settings),
            "missing": dict(self.missing),
        }


def assess(seen: Observation, past: Past, limits: Limits, seed: int = 0) -> Assessment:
    """Judge one night; rows of this or later nights in `past` do not count."""
    past = _before(seen.night, past)
    references, missing = choose_references(seen, past)
    drifts = find_drift(list_distributions(seen.profile), references, seed)
    missing |= {
        f"drift against {against}": f"fewer than {MIN_ROWS} rows in the night, or in what it is compared with"
        for against in references
        if seen.profile.rows and against not in {drift.against for drift in drifts}
    }
    alarms = find_alarms(drifts, past.figures)
    # The scores of a stage are as accurate as in the test set only if it gets the same reviews as there.
    is_usual = "cascade" not in seen.settings
    known = choose_known(past.reference if is_usual else None, past.labelled)
    estimate = estimate_accuracy(seen.profile, known)
    if estimate is not None and known is None:
        reason = "the model has no profile of its test set" if is_usual else "the run has another cascade"
        missing["calibrated estimate"] = f"{reason}, and no labels came in"
    expected = None if seen.rescored_rows else find_expected_rows(seen.night, _list_usual(past.nights))
    raised = [
        *check_data(seen, expected, limits, is_first=past.nights.empty),
        *_report_drift(seen, drifts, alarms),
        *check_estimate(seen, estimate, known, limits),
        *check_realised(seen, past.nights, past.reference, limits),
    ]
    alerts = [replace(alert, is_new=_is_new(alert, past)) for alert in raised]
    return Assessment(seen, expected, drifts, alarms, estimate, alerts, {**missing, **seen.missing})


def choose_references(
    seen: Observation, past: Past
) -> tuple[dict[str, dict[str, Distribution]], dict[str, str]]:
    """Return the figures to compare with, by MODEL and TRAILING, and why figures are missing.

    Figures that depend on the model are compared with nights of the same model and settings only.
    """
    references, missing = {}, {}
    changed = frozenset[str]().union(*(SETTINGS[name] for name in seen.settings))
    if past.reference is not None:
        references[MODEL] = list_distributions(past.reference)
        # In a test set every text is there once.
        references[MODEL].pop("repeated_text", None)
        for name in changed:
            references[MODEL].pop(name, None)
        if changed:
            missing[f"drift of {', '.join(sorted(changed))} against the model"] = (
                f"the run has settings in place of the model's: {', '.join(sorted(seen.settings))}"
            )
    else:
        missing["drift against the model"] = "the model has no profile of its test set; fine-tune it again"
    is_same = (past.nights["model_version"] == seen.model_version) & (
        past.nights["settings"].map(dict) == dict(seen.settings)
    )
    same = set(past.nights.loc[is_same, NIGHT].dt.date)
    figures = {night: list_distributions(profile) for night, profile in past.profiles.items()}
    trailing = add_distributions(
        {name: figure for name, figure in found.items() if name not in MODEL_FIGURES or night in same}
        for night, found in figures.items()
    )
    if len(figures) < MIN_TRAILING_NIGHTS:
        trailing = {}
        missing["drift against earlier nights"] = _count_nights(len(figures), "nights with rows")
    elif len(same & set(figures)) < MIN_TRAILING_NIGHTS:
        trailing = {name: figure for name, figure in trailing.items() if name not in MODEL_FIGURES}
        missing["drift of predictions against earlier nights"] = _count_nights(
            len(same & set(figures)), "nights of this model and these settings"
        )
    return references | ({TRAILING: trailing} if trailing else {}), missing


def _list_usual(nights: pd.DataFrame) -> pd.DataFrame:
    """Return the nights that are a norm: those that scored all rows again are none."""
    return nights[nights["rescored_rows"].fillna(0) == 0]


def _is_new(alert: Alert, past: Past) -> bool:
    """Return whether the alert is about an item that the nights just before did not raise."""
    if not KINDS[alert.kind]:
        return True
    recent = set(past.nights[NIGHT].drop_duplicates().sort_values().tail(LAPSE_NIGHTS).dt.date)
    known = {
        item for old in past.alerts if old.kind == alert.kind and old.night in recent for item in old.items
    }
    return not known.issuperset(alert.items)


def _count_nights(found: int, nights: str) -> str:
    return f"{nights} in the {TRAILING_DAYS} days before: {found}; expected at least {MIN_TRAILING_NIGHTS}"


def find_alarms(drifts: Sequence[Drift], figures: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """Return figure and reference of each drift that persists; `figures` are rows of earlier nights."""
    alarms = set()
    for drift in drifts:
        same = (figures["figure"] == drift.figure) & (figures["against"] == drift.against)
        earlier = figures.loc[same].sort_values(NIGHT)["is_drifted"].astype(bool).tolist()
        if is_persistent([*earlier, drift.is_drifted]):
            alarms.add((drift.figure, drift.against))
    return frozenset(alarms)


def _before(night: datetime.date, past: Past) -> Past:
    day = pd.Timestamp(night)
    first = night - datetime.timedelta(days=TRAILING_DAYS)
    unusual = {*past.nights[NIGHT].dt.date} - {*_list_usual(past.nights)[NIGHT].dt.date}
    return Past(
        past.nights[past.nights[NIGHT] < day],
        past.figures[past.figures[NIGHT] < day],
        [alert for alert in past.alerts if alert.night < night],
        {
            at: profile
            for at, profile in past.profiles.items()
            if first <= at < night and profile.rows and at not in unusual
        },
        past.reference,
        past.labelled,
    )


def _report_drift(
    seen: Observation, drifts: Sequence[Drift], alarms: frozenset[tuple[str, str]]
) -> list[Alert]:
    found = sorted(
        (drift for drift in drifts if (drift.figure, drift.against) in alarms), key=lambda d: -d.effect
    )
    if not found:
        return []
    listed = "; ".join(describe_drift(drift) for drift in found[:5])
    figures = sorted({drift.figure for drift in found})
    advice = "look at the report: if the reviews have changed, label some of them and judge the model again"
    return [Alert.of(seen, "drift", ", ".join(figures), WARNING, listed, advice, figures)]


def describe_drift(drift: Drift) -> str:
    """Return a clause that states one drift in numbers."""
    against = "the test set of the model" if drift.against == MODEL else f"the {TRAILING_DAYS} days before"
    if drift.category is None:
        figures = f"mean {drift.value:.3g}, was {drift.reference_value:.3g}"
    else:
        figures = f"{drift.category} {drift.value:.1%}, was {drift.reference_value:.1%}"
    return f"{drift.figure} against {against}: {figures} (largest difference {drift.effect:.2f})"
