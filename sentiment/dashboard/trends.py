"""Sum up scores by period and by category."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .. import schema

DAY, MONTH = "D", "M"
PERIODS = {DAY: "Day", MONTH: "Month"}
REVIEWS = "reviews"
PERIOD, CHANGE, OTHER = "period", "change", "others"
_SHOWN_CATEGORIES = 20


@dataclass(frozen=True)
class Measure:
    """Name what is summed up: the mean of a column, or the share of a label; `is_share` is in [0, 1]."""

    title: str
    column: str
    label: str | None = None
    is_share: bool = True


def list_measures(scores: pd.DataFrame) -> list[Measure]:
    """Return what a table can be summed up by; the share of each label first."""
    labels = sorted(scores[schema.LABEL].dropna().unique(), reverse=True)
    found = [Measure(f"share of {label}", schema.LABEL, str(label)) for label in labels]
    found.append(Measure("mean score", schema.SCORE))
    if schema.UNSURE in scores:
        found.append(Measure("share of unsure", schema.UNSURE))
    if schema.EXPECTED in scores:
        found.append(Measure("mean expected label", schema.EXPECTED, is_share=False))
    return found


def sum_up_periods(
    scores: pd.DataFrame, dates: "pd.Series[pd.Timestamp]", measure: Measure, period: str
) -> pd.DataFrame:
    """Return a row per calendar period: `period` (its first day), `reviews`, the measure, and its `change`.

    `change` is the difference from the period before; null if one of both has no reviews. Rows without a date
    are left out.
    """
    known = dates.notna()
    values = _find_values(scores[known], measure)
    periods = dates[known].dt.to_period(period)
    found = values.groupby(periods).agg(["size", "mean"])
    if found.empty:
        return pd.DataFrame(columns=[PERIOD, REVIEWS, measure.title, CHANGE])
    every = pd.period_range(found.index.min(), found.index.max(), freq=period)
    found = found.reindex(every)
    return pd.DataFrame(
        {
            PERIOD: every.to_timestamp(),
            REVIEWS: found["size"].fillna(0).astype(int).to_numpy(),
            measure.title: found["mean"].to_numpy(),
            CHANGE: found["mean"].diff().to_numpy(),
        }
    )


def sum_up_categories(scores: pd.DataFrame, column: str, measure: Measure) -> pd.DataFrame:
    """Return a row per value of a column, the most frequent first: its name, `reviews` and the measure.

    Values after the most frequent ones are one row, `others`; null is a value.
    """
    names = scores[column].astype("string").fillna("(none)")
    frequent = names.value_counts().index[:_SHOWN_CATEGORIES]
    names = names.where(names.isin(frequent), OTHER)
    found = _find_values(scores, measure).groupby(names).agg(["size", "mean"])
    found = found.sort_values("size", ascending=False)
    found = pd.concat([found[found.index != OTHER], found[found.index == OTHER]])
    return pd.DataFrame(
        {
            column: found.index.to_numpy(),
            REVIEWS: found["size"].to_numpy(),
            measure.title: found["mean"].to_numpy(),
        }
    )


def parse_dates(values: "pd.Series[Any]") -> "pd.Series[pd.Timestamp]":
    """Return dates without zone (those of UTC); a value that is no date is null."""
    found = pd.to_datetime(
        values, errors="coerce", utc=True, format=None if values.dtype != object else "mixed"
    )
    return found.dt.tz_localize(None)


def keep_rows(
    scores: pd.DataFrame, chosen: Mapping[str, Sequence[object]], low: float, high: float, unsure_only: bool
) -> pd.DataFrame:
    """Return the rows with one of the chosen values in each column, and a score in [low, high]."""
    kept = scores[schema.SCORE].between(low, high)
    for column, values in chosen.items():
        if values:
            kept &= scores[column].isin(values)
    if unsure_only:
        kept &= scores[schema.UNSURE].fillna(False).astype(bool)
    return scores[kept]


def _find_values(scores: pd.DataFrame, measure: Measure) -> "pd.Series[float]":
    values = scores[measure.column]
    return (values == measure.label if measure.label is not None else values).astype(float)
