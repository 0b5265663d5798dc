"""Plan a month of deliveries, with events planted on known nights, from reviews in random order."""

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

FIRST = datetime.date(2026, 3, 2)  # a Monday
NIGHTS = 30
WEEKDAY_ROWS, WEEKEND_ROWS = 200, 120
# Of a data set that has not enough reviews for that. A figure of fewer than 100 rows is not compared, and
# truncated texts have no characters per token.
FEW_WEEKDAY_ROWS, FEW_WEEKEND_ROWS = 120, 110
LATE, DAMAGED, REPEATED, EMPTY, PROMOTION, DECAY, SHIFT = 9, 11, 14, 16, 18, 19, 26
LATE_DAYS, EXTRA_ROWS = 4, 60
# From DECAY on, this share more of the labels of each night is wrong: the model no longer fits.
DECAY_STEP = 0.05
# What must be reported, by night. The decay is slow: it may be reported on any night of a range.
EXPECTED = {
    LATE: {"late_files"},
    DAMAGED: {"bad_files"},
    REPEATED: {"repeated_rows"},
    EMPTY: {"empty"},
    # An alert needs two nights; the first one shows drifted figures.
    SHIFT + 1: {"drift"},
}
DECAY_NIGHTS = range(DECAY + 2, DECAY + 8)


@dataclass
class Month:
    """Take reviews in their order; `labels` are those that have come in, a day after their reviews."""

    usual: pd.DataFrame
    shifted: pd.DataFrame
    folder: Path
    rng: np.random.Generator
    labels: list[pd.DataFrame] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)

    def deliver(self, number: int) -> None:
        """Write the files of one night."""
        night = FIRST + datetime.timedelta(days=number)
        weekday, weekend = (
            (WEEKDAY_ROWS, WEEKEND_ROWS)
            if len(self.usual) >= NIGHTS * WEEKDAY_ROWS
            else (FEW_WEEKDAY_ROWS, FEW_WEEKEND_ROWS)
        )
        rows = weekday if night.weekday() < 5 else weekend
        reviews = self._take("shifted" if number >= SHIFT else "usual", rows)
        if number != EMPTY:
            self._write(reviews, night, night, "reviews.parquet")
            self._label(reviews, number)
        if number == LATE:
            late = self._take("usual", EXTRA_ROWS)
            self._write(late, night - datetime.timedelta(days=LATE_DAYS), night, "late.parquet")
        if number == DAMAGED:
            path = self._write(self._take("usual", EXTRA_ROWS), night, night, "damaged.parquet")
            path.write_bytes(path.read_bytes()[:-20])
        if number == DAMAGED + 1:  # it is delivered again, whole
            before = night - datetime.timedelta(days=1)
            self._write(self._take("usual", EXTRA_ROWS), before, night, "damaged.parquet")
        if number == REPEATED:
            self._write(reviews, night, night, "again.parquet")

    def write_labels(self, path: Path) -> None:
        """Write the labels that have come in."""
        pd.concat(self.labels or [self.usual.head(0)[["review_id", "label"]]]).to_parquet(path)

    def _take(self, kind: str, rows: int) -> pd.DataFrame:
        start = self.taken.get(kind, 0)
        self.taken[kind] = start + rows
        reviews: pd.DataFrame = getattr(self, kind).iloc[start : start + rows]
        assert len(reviews) == rows, f"too few reviews: {kind}"
        return reviews

    def _label(self, reviews: pd.DataFrame, number: int) -> None:
        known = reviews.loc[reviews["label"].notna(), ["review_id", "label"]].astype({"label": int})
        is_wrong = self.rng.random(len(known)) < max(0, number - DECAY + 1) * DECAY_STEP
        self.labels.append(known.assign(label=np.where(is_wrong, 1 - known["label"], known["label"])))

    def _write(self, reviews: pd.DataFrame, day: datetime.date, night: datetime.date, name: str) -> Path:
        path = self.folder / f"day={day}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        reviews[["review_id", "text"]].to_parquet(path)
        at = datetime.datetime.combine(night, datetime.time(1), datetime.UTC).timestamp()
        os.utime(path, (at, at))
        return path


def list_unexpected(alerts: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each planted event that was not reported on its night, and each other alert."""
    found: dict[int, set[str]] = {}
    for row in alerts[alerts["is_new"]].itertuples():
        found.setdefault((row.night.date() - FIRST).days, set()).add(row.kind)
    decays = [number for number, kinds in found.items() if "realised" in kinds]
    if len(decays) != 1 or decays[0] not in DECAY_NIGHTS:
        yield f"the decay was reported on nights {decays}, expected one of {list(DECAY_NIGHTS)}"
    for number in range(NIGHTS):
        # Late in the month the labels say that the model is wrong, which the estimate then follows.
        kinds = found.get(number, set()) - {"realised"}
        kinds -= {"accuracy"} if number > DECAY else set()
        if kinds != EXPECTED.get(number, set()):
            yield f"night {number}: {sorted(kinds)} reported, expected {sorted(EXPECTED.get(number, set()))}"
