"""Tables of nights are replaced night by night, completely or not at all."""

import datetime

import pandas as pd
import pytest

from sentiment.errors import StoreError
from sentiment.monitoring import history
from tests.unit.monitoring.made import make_night

DAY = datetime.date(2026, 3, 2)
ROW = {"status": "ok", "input_rows": 5, "labels": {"positive": 5}, "missing": {}}


def test_a_folder_that_does_not_exist_has_no_rows_but_all_columns(tmp_path):
    nights = history.load_nights(tmp_path / "none")
    assert len(nights) == 0
    assert [*history.NIGHT_COLUMNS.names, *history.REALISED_COLUMNS.names[1:]] == list(nights.columns)
    assert list(history.load_figures(tmp_path).columns) == history.FIGURE_COLUMNS.names
    assert list(history.load_alerts(tmp_path).columns) == history.ALERT_COLUMNS.names


def test_a_night_that_is_written_again_replaces_its_own_row_only(tmp_path):
    for day, rows in ((DAY + datetime.timedelta(days=1), 2), (DAY, 1), (DAY, 7)):
        history.write_rows(tmp_path, history.NIGHTS, day, [{**ROW, "input_rows": rows}])
    nights = history.load_nights(tmp_path)
    assert nights["input_rows"].tolist() == [7, 2]
    assert nights["night"].tolist() == [pd.Timestamp("2026-03-02"), pd.Timestamp("2026-03-03")]
    assert nights["labels"].tolist() == [{"positive": 5}] * 2
    assert nights["realised_accuracy"].isna().all()


def test_figures_and_alerts_of_a_night_that_is_not_finished_do_not_show(tmp_path):
    history.write_rows(tmp_path, history.FIGURES, DAY, [{"figure": "label", "is_drifted": True}])
    assert len(history.load_figures(tmp_path)) == 0
    history.write_rows(tmp_path, history.NIGHTS, DAY, [ROW])
    assert history.load_figures(tmp_path)["figure"].tolist() == ["label"]


def test_an_unknown_column_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="found \\['rows_in'\\]"):
        history.write_rows(tmp_path, history.NIGHTS, DAY, [{"rows_in": 1}])


def test_a_damaged_file_is_named_and_not_skipped(tmp_path):
    history.write_rows(tmp_path, history.NIGHTS, DAY, [ROW])
    (tmp_path / "nights" / "2026-03-02.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="run its night again"):
        history.load_nights(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    history.replace_file(path, b"old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StoreError, match="No space left"):
        history.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_profiles_are_read_back(tmp_path):
    profile = make_night(n=10)
    history.write_profile(tmp_path, DAY, profile)
    other = DAY + datetime.timedelta(days=1)
    assert history.load_profiles(tmp_path, [DAY, other]) == {DAY: profile}


def test_files_of_nights_before_are_not_read(tmp_path):
    later = DAY + datetime.timedelta(days=1)
    for day in (DAY, later):
        history.write_rows(tmp_path, history.NIGHTS, day, [ROW])
        history.write_rows(tmp_path, history.FIGURES, day, [{"figure": str(day)}])
    for table in ("nights", "figures"):
        (tmp_path / table / f"{DAY}.parquet").write_bytes(b"damaged")
    assert history.load_nights(tmp_path, since=later)["night"].tolist() == [pd.Timestamp(later)]
    assert history.load_figures(tmp_path, since=later)["figure"].tolist() == [str(later)]
