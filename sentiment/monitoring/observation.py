"""Hold the data of a night that monitoring judges: counts, files and a profile, without access to a store."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import schema
from ..evaluation.profile import Profile

# A day in the path of a file, such as `date=2026-01-31/` or `reviews-2026-01-31.parquet`.
_DAY = re.compile(r"(?<!\d)(\d{4}-\d{2}-\d{2})(?!\d)")
_FOLDER_DAY = re.compile(r"[\w.-]+=(\d{4}-\d{2}-\d{2})")


# Settings of the model that a run can replace, and the figures that depend on each.
SETTINGS: Mapping[str, frozenset[str]] = {
    "min_score": frozenset({schema.UNSURE}),
    "target_accuracy": frozenset({schema.UNSURE}),
    "cascade": frozenset({schema.STAGE, schema.SCORE, schema.UNSURE}),
}


@dataclass(frozen=True)
class SeenFile:
    """Hold an input file of the night: path, time of its last change, and number of rows taken from it."""

    path: str
    modified: datetime.datetime
    rows: int

    @property
    def day(self) -> datetime.date | None:
        """Return the day that the folders, else the file, have in their name; None if not exactly one."""
        parts = self.path.split("/")
        found = {match[1] for part in parts[:-1] if (match := _FOLDER_DAY.fullmatch(part))}
        found = found or set(_DAY.findall(parts[-1]))
        if len(found) != 1:
            return None
        try:
            return datetime.date.fromisoformat(found.pop())
        except ValueError:
            return None


@dataclass(frozen=True)
class Observation:
    """Hold the sums of the batches of one night.

    `now` is the time in UTC at which the ages of files are measured: the time of the observation, but at most
    the end of the night. `store` is the address of the scores. `input_rows` are the rows that the night
    took. `skipped_rows` of them were not scored, because the store has the same text for their id, or a later
    row has their id. `rescored_rows` are from runs with `rescore`. `settings` are those of SETTINGS that the
    run replaced. `bad_files` have `path` and `reason`. `missing` has the reason why a figure is missing, by a
    name of the figure.
    """

    night: datetime.date
    now: datetime.datetime
    model_uri: str
    model_version: str
    store: str = ""
    profile: Profile = field(default_factory=Profile)
    batches: int = 0
    input_rows: int = 0
    skipped_rows: int = 0
    rescored_rows: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[SeenFile] = ()
    bad_files: Sequence[Mapping[str, str]] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def reject_share(self) -> float | None:
        """Return the share of rejects among scored rows and rejects; None without such rows."""
        rows = self.profile.rows
        return sum(self.profile.rejects.values()) / rows if rows else None

    @property
    def unsure_share(self) -> float | None:
        unsure, scored = self.profile.flags.get("unsure"), self.profile.scored_rows
        return unsure / scored if unsure is not None and scored else None

    @property
    def freshness_hours(self) -> float | None:
        """Return the age of the newest input file in hours; None if the night took no file."""
        if not self.files:
            return None
        newest = max(file.modified for file in self.files)
        return max(0.0, (self.now - newest).total_seconds() / 3600)

    @property
    def late_files(self) -> list[SeenFile]:
        """Return the files of earlier days; a night scores reviews of its own day and of the day before."""
        usual = self.night - datetime.timedelta(days=1)
        return [file for file in self.files if file.day is not None and file.day < usual]
