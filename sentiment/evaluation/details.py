"""Find the columns that slices are cut by, and reduce their values to what a slice needs."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

CATEGORY, STARS, DATE, TITLE = "category", "stars", "date", "title"
# Names of columns in public review data sets and shops, in any case of letters; the first one found counts.
NAMES = {
    CATEGORY: ("category", "product_category", "main_category", "product"),
    STARS: ("stars", "star_rating", "rating", "overall"),
    DATE: ("review_date", "date", "timestamp", "unixreviewtime"),
    TITLE: ("title", "summary", "headline", "review_headline"),
}
NO_VALUE = "(none)"
HAS_TITLE = "yes"
_MAX_VALUE_CHARS = 40
# A number with fewer digits would be a time before 1974, so it is a year, or a date such as 20240331.
_SINCE_1970 = r"-?\d{9,}(?:\.\d+)?"
# A number of seconds since 1970 above it would be later than the year 5000, so the unit is milliseconds.
_LARGEST_SECONDS = 1e11
# pandas has no later time in nanoseconds: the year 2262.
_LAST_SECOND = 9.2e9


def find_details(columns: Sequence[str], text_columns: Sequence[str] = ()) -> dict[str, str]:
    """Return the names of the columns to cut slices by; the keys are `CATEGORY`, `STARS`, `DATE` and `TITLE`.

    A key without a column is absent. A column in `text_columns` is taken only as the title, of which slices
    do not show the text. A name that several columns have is not taken.
    """
    texts = set(text_columns)
    found = {}
    for kind, names in NAMES.items():
        usable = [
            name for name in columns if columns.count(name) == 1 and (kind == TITLE or name not in texts)
        ]
        by_name = {str(name).lower(): name for name in reversed(usable)}
        first = next((by_name[name] for name in names if name in by_name), None)
        if first is not None:
            found[kind] = first
    return found


def reduce_details(values: Mapping[str, Any]) -> "dict[str, pd.Series[Any]]":
    """Return the details (values by `CATEGORY`, `STARS`, `DATE` or `TITLE`), each converted to one type.

    Category and stars are short texts, the date is a day in UTC or NaT, the title is `HAS_TITLE` or None.
    Reduced details stay as they are.
    """
    reduced = {}
    for kind, given in values.items():
        if kind == DATE:
            reduced[kind] = _read_days(pd.Series(given))
            continue
        series = pd.Series(given, dtype=object)
        if kind == TITLE:
            has_title = series.notna() & series.map(str).str.strip().ne("")
            reduced[kind] = has_title.map({True: HAS_TITLE, False: None}).astype(object)
        else:
            shown = series.map(_show_value)
            reduced[kind] = shown.str.replace(r"\.0+$", "", regex=True) if kind == STARS else shown
    return reduced


def _read_days(dates: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return UTC days of dates, texts, or seconds or milliseconds since 1970; NaT for any other value."""
    if pd.api.types.is_datetime64_any_dtype(dates):
        return pd.to_datetime(dates, utc=True).dt.floor("D")
    # As texts, because a column may have values of several types, of which pandas takes only some.
    texts = dates.map(str).str.strip().str.replace(r"\.0+$", "", regex=True)
    is_number = texts.str.fullmatch(_SINCE_1970)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning about an unknown time zone quotes the value
        times = pd.to_datetime(texts.mask(is_number), format="mixed", errors="coerce", utc=True)
    return times.fillna(_read_numbers(texts.where(is_number))).dt.floor("D")


def _read_numbers(texts: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return UTC times of texts of seconds or milliseconds since 1970; NaT for null and too late times."""
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    seconds = numbers.where(numbers.abs() <= _LARGEST_SECONDS, numbers / 1000)
    is_time = seconds.abs() < _LAST_SECOND
    # As whole numbers: `pd.to_datetime(floats, unit="s")` fails now and then if there are nulls (pandas 2.3).
    times = seconds.where(is_time, 0).astype("int64").astype("datetime64[s]").dt.as_unit("ns")
    return times.where(is_time).dt.tz_localize("UTC")


def _show_value(value: object) -> str:
    """Return the value as a short text that can be encoded; 5.0 as 5."""
    if value is None or value != value:  # NaN differs from itself
        return NO_VALUE
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    text = text if len(text) <= _MAX_VALUE_CHARS else text[: _MAX_VALUE_CHARS - 1] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")
