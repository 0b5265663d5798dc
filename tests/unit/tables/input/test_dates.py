"""Dates in the forms in which review tables hold them."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from sentiment.tables.input.dates import is_date_type, parse_days

DAY = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, 30)
_SECONDS = int(NOON.replace(tzinfo=UTC).timestamp())


def parse(values, kind=None):
    return parse_days(pa.array(values, kind)).to_pylist()


@pytest.mark.parametrize(
    "text",
    [
        *("2026-01-31", "2026-1-31", " 2026-01-31 ", "2026-01-31T23:59:59", "2026-01-31 23:59:59.123456"),
        *("2026-01-31T12:00:00Z", "2026-01-31T23:00:00-00:30", "2026-02-01T00:30:00+01:00", "20260131"),
        *("01 31, 2026", "1 31, 2026", "Jan 31, 2026", "January 31, 2026"),
        *(str(_SECONDS), str(_SECONDS * 1_000), str(_SECONDS * 10**6), str(_SECONDS * 10**9)),
    ],
)
def test_a_text_states_a_day(text):
    assert parse([text, None]) == [DAY, None]


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "today", "now", "None", "nan", "2026", "2026-01", "2026-13-01", "2026-02-30"),
        *("31/01/2026", "01/31/2026", "1.31.2026", "31 January 2026", "20261331", "0", "-1", "1e9"),
        *("2026-01-31Tnoon", "2026-01-31 ?", "13 31, 2026", "99999999999999999999999"),
    ],
)
def test_a_text_that_may_be_read_in_two_ways_or_none_is_no_day(text):
    assert parse([text, "2026-01-31"]) == [None, DAY]


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.uint64()])
def test_a_number_is_a_unix_time_in_any_unit(scale, kind):
    time = _SECONDS * scale
    assert parse([float(time) if kind == pa.float64() else time, None], kind) == [DAY, None]


def test_a_number_of_eight_digits_is_a_day():
    assert parse([20260131, 20260230, None]) == [DAY, None, None]
    assert parse([20260131], pa.int32()) == [DAY]


@pytest.mark.parametrize("number", [0, 5, 2026, 20261331, -(10**9), 10**8 - 1, 2**63 - 1, 1.5, float("nan")])
def test_other_numbers_are_no_days(number):
    assert parse([number]) == [None]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us")),
        *(pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
    ],
)
def test_a_time_of_any_unit_is_on_its_day(kind):
    assert is_date_type(kind)
    day = DAY if pa.types.is_date(kind) else NOON
    assert parse([day, None], kind) == [DAY, None]


def test_the_day_of_a_time_with_a_zone_is_that_of_utc():
    late = pa.array([datetime(2026, 2, 1, 0, 30)], pa.timestamp("us", "UTC")).cast(
        pa.timestamp("us", "+01:00")
    )
    assert parse_days(late).to_pylist() == [date(2026, 2, 1)]
    assert parse_days(late.cast(pa.timestamp("us", "-05:00"))).to_pylist() == [date(2026, 2, 1)]


@pytest.mark.parametrize("instant", [-(2**63) + 1, 2**63 - 1])
def test_a_nanosecond_at_the_end_of_its_range_has_a_day(instant):
    assert parse_days(pa.array([instant]).cast(pa.timestamp("ns"))).null_count == 0


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_kind_of_string_is_read(kind):
    assert is_date_type(kind)
    assert parse(["2026-01-31"], kind) == [DAY]


def test_a_dictionary_and_a_column_of_nulls_are_read():
    words = pa.array(["2026-01-31", None]).dictionary_encode()
    assert is_date_type(words.type)
    assert parse_days(words).to_pylist() == [DAY, None]
    assert parse_days(pa.nulls(2)).to_pylist() == [None, None]


def test_a_text_that_is_no_utf8_is_no_day():
    broken = pa.array([b"\xff\xfe", b"2026-01-31"]).view(pa.string())
    assert parse_days(broken).to_pylist() == [None, DAY]


@pytest.mark.parametrize(
    "kind", [pa.bool_(), pa.time32("s"), pa.duration("s"), pa.binary(), pa.list_(pa.date32())]
)
def test_other_types_are_no_dates(kind):
    assert not is_date_type(kind)
