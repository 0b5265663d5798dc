"""Read dates in the forms in which review tables hold them, as days in UTC."""

from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# Numbers are days written as digits (20260131), or Unix times in seconds, milliseconds, microseconds or
# nanoseconds. Each range begins in 1973 and ends in 2100, so none overlaps another.
_DIGITS = (19_000_101, 21_001_231)
_UNIX_RANGES = (
    (10**8, 5 * 10**9, "s"),
    (10**11, 5 * 10**12, "ms"),
    (10**14, 5 * 10**15, "us"),
    (10**17, 5 * 10**18, "ns"),
)
# A day with its month first is read only in forms that cannot be mistaken: `09 13, 2009` (the Amazon
# releases) and `Sep 13, 2009`. `09/10/2009` is not: half the world reads it as October.
_TEXT_FORMATS = ("%m %d, %Y", "%b %d, %Y", "%B %d, %Y")
# pandas reads `today` and `now` too, in every format.
_WORDED = r"^\w+ \d{1,2}, \d{4}$"
_ISO = r"^\d{4}-\d{1,2}-\d{1,2}([T ].*)?$"
_COMPACT = r"^\d{8}$"
_UNIX = r"^\d{9,19}$"


def is_date_type(kind: pa.DataType) -> bool:
    """Return True for types whose values may be dates; null counts, because its column has no values."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        (pa.types.is_temporal(kind) and not pa.types.is_time(kind) and not pa.types.is_duration(kind))
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_null(kind)
    )


def parse_days(values: pa.Array) -> pa.Array:
    """Return the days of an array as date32; null for a null and for a value that is no date."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return parse_days(values.dictionary_decode())
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.date32())
    if pa.types.is_timestamp(kind):
        # Cut to seconds first: pyarrow casts nanoseconds to days only if nothing is lost.
        utc = values.cast(pa.timestamp(kind.unit), safe=False) if kind.tz else values
        return pc.floor_temporal(utc, unit="day").cast(pa.date32(), safe=False)
    if pa.types.is_date(kind):
        return values.cast(pa.date32(), safe=False)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _parse_numbers(values.to_pandas())
    return _parse_texts(_decode(values))


def parse_day(value: str) -> date | None:
    """Return the day that a text states, None if it is no date."""
    day: date | None = parse_days(pa.array([value]))[0].as_py()
    return day


def _decode(values: pa.Array) -> pd.Series:
    """Return the texts of an array; what is no UTF-8 becomes a text that is no date."""
    texts = values.cast(pa.string())
    try:
        found: pd.Series = texts.to_pandas()
        return found
    except (pa.ArrowException, UnicodeDecodeError):
        found = texts.cast(pa.binary()).to_pylist()
        return pd.Series([None if text is None else text.decode(errors="replace") for text in found])


def _parse_numbers(numbers: pd.Series) -> pa.Array:
    days = pd.Series(pd.NaT, index=numbers.index, dtype="datetime64[us]")
    known = numbers.where(numbers.notna() & (numbers == numbers // 1))
    digits = known.between(*_DIGITS)
    written = known[digits].astype("int64").astype(str)
    days[digits] = pd.to_datetime(written, format="%Y%m%d", errors="coerce")
    for first, last, unit in _UNIX_RANGES:
        are_times = known.between(first, last)
        times = known[are_times].astype("int64")
        days[are_times] = pd.to_datetime(times, unit=unit).astype("datetime64[us]")  # type: ignore[call-overload]
    return _to_days(days)


def _parse_texts(texts: pd.Series) -> pa.Array:
    texts = texts.astype("string").str.strip()
    days = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[us]")

    def read(are_alike: pd.Series, **form: object) -> None:
        if are_alike.any():
            found = pd.to_datetime(texts[are_alike], errors="coerce", utc=True, **form)  # type: ignore[call-overload]
            days[are_alike] = found.dt.tz_localize(None).astype("datetime64[us]")

    is_iso = texts.str.match(_ISO).fillna(False).astype(bool)
    read(is_iso, format="ISO8601")
    # `2026-1-5` is no ISO date for pandas.
    read(is_iso & days.isna(), format="%Y-%m-%d")
    are_numbers = (texts.str.match(_COMPACT) | texts.str.match(_UNIX)).fillna(False).astype(bool)
    if are_numbers.any():
        numbers = _parse_numbers(texts[are_numbers].astype("int64"))
        days[are_numbers] = numbers.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
    is_worded = texts.str.match(_WORDED).fillna(False).astype(bool)
    for form in _TEXT_FORMATS:
        read(days.isna() & is_worded, format=form)
    return _to_days(days)


def _to_days(days: pd.Series) -> pa.Array:
    return pa.array(days.dt.normalize(), type=pa.timestamp("us")).cast(pa.date32())
