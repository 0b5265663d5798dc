"""Hold what a night brought, as the core of monitoring sees it: counts, files and a profile, no store."""

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


# Settings of a run in place of those of the model, and the figures that depend on them.
SETTINGS: Mapping[str, frozenset[str]] = {
    "min_score": frozenset({schema.UNSURE}),
    "target_accuracy": frozenset({schema.UNSURE}),
    "cascade": frozenset({schema.STAGE, schema.SCORE, schema.UNSURE}),
}


@dataclass(frozen=True)
class SeenFile:
    """Hold an input file of the night: its path, when it was written, and the rows that were taken of it."""

    path: str
    modified: datetime.datetime
    rows: int

    @property
    def day(self) -> datetime.date | None:
        """Return the day that the name of the folder or the file states; None if none or several do."""
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
    """Hold the batches of one night. `missing` says why figures are missing.

    `store` is the address of the scores. `now` is when the night was looked at, in UTC. `input_rows` are
    those that the night took; of them `skipped_rows` were not scored, because the store has their ids with
    the same texts, or a later row has their id; `rescored_rows` are of a run that scores all rows again. `settings` are
    those of SETTINGS that differ from the model's own. `bad_files` have `path` and `reason`.
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
        """Return how old the newest input file is; None if the night took no file."""
        if not self.files:
            return None
        newest = max(file.modified for file in self.files)
        return max(0.0, (self.now - newest).total_seconds() / 3600)

    @property
    def late_files(self) -> list[SeenFile]:
        """Return the files of earlier days; a night scores reviews of its own day and of the day before."""
        usual = self.night - datetime.timedelta(days=1)
        return [file for file in self.files if file.day is not None and file.day < usual]
