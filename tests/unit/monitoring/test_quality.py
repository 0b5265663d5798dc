"""Volume, freshness, late, damaged and repeated data are alerts beyond their bounds, and only then."""

import datetime

import pandas as pd
import pytest

from sentiment.monitoring.observation import Observation, SeenFile
from sentiment.monitoring.quality import Limits, check_data, find_expected_rows
from tests.unit.monitoring.made import make_night

NIGHT = datetime.date(2026, 3, 30)  # a Monday
NOW = datetime.datetime(2026, 3, 30, 2, tzinfo=datetime.UTC)


def see(**changes):
    values = {
        "night": NIGHT,
        "now": NOW,
        "model_uri": "models:/m/1",
        "model_version": "1",
        "profile": make_night(n=100),
        "input_rows": 1_000,
    }
    return Observation(**{**values, **changes})


def find_kinds(seen, expected=None):
    return [alert.kind for alert in check_data(seen, expected, Limits())]


def make_file(path, hours=1.0):
    return SeenFile(path, NOW - datetime.timedelta(hours=hours), 10)


def make_nights(rows_by_age):
    days = [NIGHT - datetime.timedelta(days=age) for age in rows_by_age]
    return pd.DataFrame({"night": pd.to_datetime(days), "input_rows": list(rows_by_age.values())})


@pytest.mark.parametrize(
    ("rows_by_age", "expected"),
    [
        ({7: 100, 14: 120, 21: 110, 1: 9}, 110),
        ({7: 100, 1: 10, 2: 20}, 20),
        ({1: 10, 2: 20}, None),
        ({7: 100, 63: 900, 70: 900}, None),
        ({0: 5, -7: 5, -14: 5}, None),
    ],
)
def test_the_norm_is_that_of_the_weekday_else_of_the_week(rows_by_age, expected):
    assert find_expected_rows(NIGHT, make_nights(rows_by_age)) == expected


@pytest.mark.parametrize(
    ("rows", "expected", "kinds"),
    [
        (1_000, 1_000, []),
        (1_000, 1_990, []),
        (1_000, 2_100, ["volume"]),
        (1_000, 400, ["volume"]),
        (3, 8, []),
        (0, 1_000, ["empty"]),
        (0, None, []),
        (0, 0, []),
        (1_000, None, []),
    ],
)
def test_volume(rows, expected, kinds):
    assert find_kinds(see(input_rows=rows), expected) == kinds


def test_freshness_is_that_of_the_newest_file():
    assert find_kinds(see(files=[make_file("/in/a", 90), make_file("/in/b", 35)])) == []
    assert find_kinds(see(files=[make_file("/in/a", 90), make_file("/in/b", 37)])) == ["freshness"]
    assert see().freshness_hours is None


@pytest.mark.parametrize(
    ("path", "day"),
    [
        ("/in/date=2026-03-01/part.parquet", datetime.date(2026, 3, 1)),
        ("/in/reviews-2026-03-01.parquet", datetime.date(2026, 3, 1)),
        ("/in/date=2026-03-01/delivered-2026-03-09.parquet", datetime.date(2026, 3, 1)),
        ("/in/2026-03-01..2026-03-02.parquet", None),
        ("/in/2026-13-01.parquet", None),
        ("/in/92026-03-01.parquet", None),
        ("/backup-2026-03-01/part.parquet", None),
    ],
)
def test_the_day_of_a_file_is_in_its_name(path, day):
    assert make_file(path).day == day


def test_files_of_the_night_and_of_the_day_before_are_not_late():
    files = [make_file(f"/in/date=2026-03-{day}/x") for day in (28, 29, 30)]
    assert [file.path for file in see(files=files).late_files] == ["/in/date=2026-03-28/x"]
    assert find_kinds(see(files=files)) == ["late_files"]
    assert check_data(see(files=files), None, Limits(), is_first=True) == []


def test_damaged_files_rejects_and_repeated_rows():
    rejected = make_night(n=100)
    object.__setattr__(rejected, "rejects", {"null_text": 6})
    assert find_kinds(see(profile=rejected)) == ["rejects"]
    assert find_kinds(see(bad_files=[{"path": "/in/x.parquet", "reason": "empty"}])) == ["bad_files"]
    # Of a file that came twice before a run, the store knows no row: a later row has the id.
    assert find_kinds(see(skipped_rows=201)) == ["repeated_rows"]
    assert find_kinds(see(skipped_rows=200)) == []
