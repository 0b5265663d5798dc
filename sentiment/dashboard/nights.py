"""Choose and add up the results of the nights that a page shows."""

import datetime
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..monitoring import history
from .settings import Settings

# The references of a figure, and their names in the app.
AGAINST = {"model": "the model's test set", "trailing": "the nights before"}


@dataclass(frozen=True)
class Nights:
    """Hold the tables of `monitoring.history`: a row per night, figure and alert, the oldest first."""

    nights: pd.DataFrame
    figures: pd.DataFrame
    alerts: pd.DataFrame


def find_folder(settings: Settings) -> str | None:
    """Return the folder that the operator has set, else the one next to the scores, where the job writes."""
    if settings.monitoring is not None or settings.scores is None:
        return settings.monitoring
    default = history.find_default_folder(settings.scores)
    return None if default is None else str(default)


def load_nights(folder: Path, days: int | None = None) -> Nights:
    """Load the newest night and those of the `days` - 1 days before it; None loads all. Raises StoreError."""
    newest = history.find_newest(folder)
    since = None if days is None or newest is None else newest - datetime.timedelta(days=days - 1)
    return Nights(
        history.load_nights(folder, since),
        history.load_figures(folder, since),
        history.load_alerts(folder, since),
    )


def list_drift(figures: pd.DataFrame, against: str) -> pd.DataFrame:
    """Return the rows of the newest night that has this reference, the figures that drifted first."""
    some = figures[figures["against"] == against]
    newest: pd.DataFrame = some[some[history.NIGHT] == some[history.NIGHT].max()]
    return newest.sort_values(["is_alarm", "is_drifted", "effect"], ascending=False)


def count_rejects(nights: pd.DataFrame) -> dict[str, int]:
    """Add up the rejected rows by reason, the most frequent first."""
    total: Counter[str] = Counter()
    for counts in nights["rejects"]:
        total.update(counts)
    return dict(total.most_common())
