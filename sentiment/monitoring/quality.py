"""Check the data of a night: how much came, how old it is, what came late, twice, damaged or rejected."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .alerts import CRITICAL, WARNING, Alert
from .history import NIGHT
from .observation import Observation

# The same weekday of so many weeks is the norm; with fewer than MIN_WEEKS of them, all days of a week are.
WEEKS, MIN_WEEKS, MIN_DAYS = 8, 2, 3
# Smaller differences from the norm are chance (Poisson), whatever their ratio.
_MIN_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Limits:
    """Hold the bounds of data and accuracy; `max_volume_ratio` bounds the rows in both directions."""

    max_volume_ratio: float = 2.0
    max_freshness_hours: float = 36.0
    max_reject_share: float = 0.05
    max_repeated_share: float = 0.2
    max_accuracy_drop: float = 0.03


def find_expected_rows(night: datetime.date, nights: pd.DataFrame) -> float | None:
    """Return the usual number of input rows on this weekday; None while too few nights are known.

    `nights` are rows of `history.load_nights`. The norm is the median of the last WEEKS same weekdays, or,
    with too few of them, of the seven days before.
    """
    day = pd.Timestamp(night)
    ages = (day - nights[NIGHT]).dt.days
    same = nights.loc[(ages > 0) & (ages <= 7 * WEEKS) & (ages % 7 == 0), "input_rows"]
    if len(same) >= MIN_WEEKS:
        return float(same.median())
    recent = nights.loc[(ages > 0) & (ages <= 7), "input_rows"]
    return float(recent.median()) if len(recent) >= MIN_DAYS else None


def check_data(
    seen: Observation, expected_rows: float | None, limits: Limits, is_first: bool = False
) -> list[Alert]:
    """Return an alert for each bound that the data of the night breaks.

    In the first night no file is late: it takes all that there is.
    """
    return [
        *_check_volume(seen, expected_rows, limits),
        *_check_files(seen, limits, is_first),
        *_check_rows(seen, limits),
    ]


def _check_volume(seen: Observation, expected: float | None, limits: Limits) -> Iterator[Alert]:
    if not expected:
        return
    if not seen.input_rows:
        yield Alert.of(
            seen,
            "empty",
            "volume",
            CRITICAL,
            f"no new rows; expected about {expected:,.0f}, as on this weekday",
            "look whether the delivery ran, and whether REVIEWS_INPUT is its folder",
        )
        return
    ratio = seen.input_rows / expected
    is_large = abs(seen.input_rows - expected) > _MIN_DEVIATIONS * np.sqrt(expected)
    if is_large and not 1 / limits.max_volume_ratio <= ratio <= limits.max_volume_ratio:
        yield Alert.of(
            seen,
            "volume",
            "volume",
            WARNING,
            f"{seen.input_rows:,} rows; expected about {expected:,.0f}, as on this weekday",
            "look for a partial or a double delivery; if the change is meant, the norm follows in some weeks",
        )


def _check_files(seen: Observation, limits: Limits, is_first: bool) -> Iterator[Alert]:
    age = seen.freshness_hours
    if age is not None and age > limits.max_freshness_hours:
        yield Alert.of(
            seen,
            "freshness",
            "freshness",
            WARNING,
            f"the newest input file is {age:,.0f} hours old; expected at most {limits.max_freshness_hours:g}",
            "look whether the delivery ran",
        )
    if (late := seen.late_files) and not is_first:
        days = sorted({str(file.day) for file in late})
        yield Alert.of(
            seen,
            "late_files",
            "late files",
            WARNING,
            f"{len(late):,} files of earlier days came late, {sum(file.rows for file in late):,} rows: "
            f"{', '.join(days[:5])}",
            "their rows are scored now; reports on those days change",
        )
    if seen.bad_files:
        yield Alert.of(
            seen,
            "bad_files",
            "input files",
            CRITICAL,
            f"{len(seen.bad_files):,} input files cannot be used; the first: {seen.bad_files[0]['reason']}",
            "have them delivered again; the next night scores them",
            {bad["path"] for bad in seen.bad_files},
        )


def _check_rows(seen: Observation, limits: Limits) -> Iterator[Alert]:
    share = seen.reject_share
    if share is not None and share > limits.max_reject_share:
        reasons = sorted(seen.profile.rejects.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{reason} {rows:,}" for reason, rows in reasons)
        yield Alert.of(
            seen,
            "rejects",
            "rejects",
            WARNING,
            f"{share:.1%} of the rows are rejects; expected at most {limits.max_reject_share:.1%}: {listed}",
            "docs/batch.md explains each reason; look at the rows in the folder _rejected of the batch",
        )
    repeated = seen.skipped_rows / seen.input_rows if seen.input_rows else 0.0
    if repeated > limits.max_repeated_share:
        yield Alert.of(
            seen,
            "repeated_rows",
            "repeated rows",
            WARNING,
            f"{repeated:.1%} of the new rows were known already (id and text), or a later row has their id; "
            f"expected at most {limits.max_repeated_share:.1%}",
            "look for a delivery that came twice; no review was scored twice",
        )
