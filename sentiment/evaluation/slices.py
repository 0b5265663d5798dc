"""Cut judged reviews into slices, such as one category or long texts, and measure each slice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .. import schema
from .details import CATEGORY, DATE, NO_VALUE, STARS, TITLE, find_details, reduce_details
from .intervals import measure_share
from .judged import JudgedReviews

# The interval of the accuracy of fewer reviews is too wide to judge them by.
MIN_ROWS = 30
# Last numbers of tokens of the slices by length. Fixed numbers keep the slices of two models comparable.
LAST_TOKENS = (16, 32, 64, 128, 256, 512)
# If a column has more values, the commonest ones are slices, and the others together are one slice.
MAX_VALUES = 30
# Dates over more months are cut into years.
MAX_MONTHS = 24


@dataclass(frozen=True)
class Slice:
    """Hold the positions of the reviews that share one value, int64; `name` is the kind of the value."""

    name: str
    value: str
    rows: np.ndarray

    @property
    def is_judged(self) -> bool:
        """Return True if there are enough reviews to judge the slice by."""
        return len(self.rows) >= MIN_ROWS


@dataclass(frozen=True)
class SliceResult:
    """Hold the accuracy of a slice of `rows` reviews and its 95 % interval."""

    name: str
    value: str
    rows: int
    accuracy: float
    low: float
    high: float


def find_slices(judged: JudgedReviews) -> tuple[Slice, ...]:
    """Return slices by tokens, truncation and those columns of the details that are known here.

    The slices of one name contain each review once. They include slices too small to be judged, and no name
    with only one slice.
    """
    found = (*_slice_predictions(judged.predictions), *_slice_details(judged.details))
    return tuple(part for parts in found if len(parts) > 1 for part in parts)


def measure_slices(judged: JudgedReviews, slices: Sequence[Slice] | None = None) -> tuple[SliceResult, ...]:
    """Measure the slices (default: `find_slices`) that have at least `MIN_ROWS` reviews."""
    is_right = judged.is_right
    results = []
    for part in find_slices(judged) if slices is None else slices:
        if part.is_judged:
            share = measure_share(is_right[part.rows])
            results.append(
                SliceResult(part.name, part.value, len(part.rows), share.value, share.low, share.high)
            )
    return tuple(results)


def find_worst(results: Sequence[SliceResult]) -> SliceResult | None:
    """Return the slice whose accuracy is surely the lowest: the one with the lowest upper bound.

    The lowest accuracy would often be that of a tiny slice, by chance.
    """
    return min(results, key=lambda result: result.high, default=None)


def _slice_predictions(predictions: pd.DataFrame) -> Iterator[list[Slice]]:
    n_tokens = predictions[schema.N_TOKENS].to_numpy(dtype=np.int64)
    group = np.searchsorted(LAST_TOKENS, n_tokens)
    firsts = (0, *(last + 1 for last in LAST_TOKENS))
    names = [f"{first}-{last}" for first, last in zip(firsts, LAST_TOKENS, strict=False)]
    names.append(f"over {LAST_TOKENS[-1]}")
    yield _cut("tokens", pd.Series(group), lambda number: names[number])
    truncated = predictions[schema.TRUNCATED].astype(bool)
    yield _cut("truncated", truncated, lambda value: "yes" if value else "no")


def _slice_details(details: pd.DataFrame) -> Iterator[list[Slice]]:
    found = find_details(list(details.columns))
    reduced = reduce_details({kind: details[column] for kind, column in found.items()})
    for kind in (CATEGORY, STARS):
        if kind in reduced:
            yield _cut(kind, _join_rare(reduced[kind]))
    if DATE in reduced:
        yield _cut_days(reduced[DATE])
    if TITLE in reduced:
        yield _cut("title", reduced[TITLE].notna(), lambda value: "yes" if value else "no")


def _cut(name: str, values: "pd.Series[Any]", show: Callable[..., str] = str) -> list[Slice]:
    """Return a slice per distinct value, in the order of the values."""
    groups = values.reset_index(drop=True).groupby(values.to_numpy(), sort=True).indices
    return [Slice(name, show(value), np.asarray(rows)) for value, rows in groups.items()]


def _cut_days(days: "pd.Series[Any]") -> list[Slice]:
    months = days.dt.strftime("%Y-%m").fillna(NO_VALUE)
    if months.nunique() > MAX_MONTHS:
        return _cut("year", days.dt.strftime("%Y").fillna(NO_VALUE))
    return _cut("month", months)


def _join_rare(values: "pd.Series[Any]") -> "pd.Series[Any]":
    counts = values.value_counts()
    if len(counts) <= MAX_VALUES:
        return values.astype(object)
    rare = set(counts.index[MAX_VALUES - 1 :])
    return values.where(~values.isin(rare), f"{len(rare):,} other values").astype(object)
