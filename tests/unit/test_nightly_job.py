"""The parts of jobs/nightly.py that need neither Spark nor a registry."""

import datetime

import pandas as pd
import pytest

from jobs import nightly
from sentiment.config import NightlyConfig
from sentiment.errors import (
    ConfigError,
    ModelError,
    StoreLockedError,
    UnreadableFileError,
    UnusableLabelsError,
)
from sentiment.monitoring.published import PublishedBatch
from tests.unit.monitoring.nights import World

TODAY = datetime.date(2026, 3, 2)


def make_config(**options):
    return NightlyConfig(input="/in", output="/out", **options)


def make_batch():
    return PublishedBatch(1, ("shop", "id"), ("negative", "positive"), 0, 0, {}, [], [], None, pd.DataFrame)


@pytest.mark.parametrize(
    ("date", "first", "nights"),
    [(None, TODAY, 1), ("2026-01-31", datetime.date(2026, 1, 31), 1), ("2026-01-31..2026-02-02", None, 3)],
)
def test_nights_of_a_date_or_a_range(date, first, nights):
    days = nightly.list_days(date, TODAY)
    assert len(days) == nights
    assert first is None or days == [first]


def test_the_scoring_job_gets_what_differs_from_its_defaults_and_the_day():
    config = make_config(
        text_col="title,content", rescore=True, date="2026-01-31", date_col="day", labels="/l"
    )
    assert nightly.list_arguments(config, datetime.date(2026, 1, 31)) == [
        *("--input", "/in", "--output", "/out", "--text_col", "title,content", "--date_col", "day"),
        *("--rescore", "True", "--since", "2026-01-31", "--until", "2026-02-01"),
    ]


def test_without_a_date_column_a_date_only_names_the_night():
    arguments = nightly.list_arguments(make_config(date="2026-01-31"), datetime.date(2026, 1, 31))
    assert arguments == ["--input", "/in", "--output", "/out"]


def test_late_labels_become_labels_of_the_model(tmp_path):
    rows = pd.DataFrame({"shop": [1, 1, 2, 2], "id": ["a", "b", "a", "b"], "stars": [1, 3, 5, None]})
    rows.to_parquet(tmp_path / "labels.parquet")
    config = make_config(labels=str(tmp_path), label_col="stars", label_map="1,2=negative;3=;4,5=positive")
    labels = nightly.load_labels(config, [make_batch()])
    assert list(labels.columns) == ["shop", "id", "truth"]
    assert labels["truth"].where(labels["truth"].notna(), None).tolist() == [
        "negative",
        None,
        "positive",
        None,
    ]


def test_labels_that_the_model_does_not_have_are_an_error(tmp_path):
    rows = pd.DataFrame({"shop": [1, 1], "id": ["a", "b"], "label": ["spam", "ham"]})
    rows.to_parquet(tmp_path / "labels.parquet")
    with pytest.raises(UnusableLabelsError):
        nightly.load_labels(make_config(labels=str(tmp_path)), [make_batch()])


def test_labels_without_the_id_columns_are_an_error(tmp_path):
    pd.DataFrame({"id": ["a"], "label": ["positive"]}).to_parquet(tmp_path / "labels.parquet")
    with pytest.raises(UnreadableFileError, match="columns shop, id, label"):
        nightly.load_labels(make_config(labels=str(tmp_path)), [make_batch()])


@pytest.mark.parametrize(
    ("output", "folder"),
    [("/data/scores/", "/data/scores-monitoring"), ("delta:/data/s", "/data/s-monitoring")],
)
def test_results_lie_next_to_a_store_on_a_mounted_file_system(output, folder):
    assert str(nightly.choose_folder(NightlyConfig(input="/in", output=output))) == folder


def test_for_a_store_in_a_bucket_the_place_of_the_results_must_be_given(tmp_path):
    with pytest.raises(ConfigError, match="--monitoring"):
        nightly.choose_folder(NightlyConfig(input="/in", output="s3://bucket/scores"))
    given = NightlyConfig(input="/in", output="s3://bucket/scores", monitoring=str(tmp_path))
    assert nightly.choose_folder(given) == tmp_path


def test_one_job_at_a_time(tmp_path):
    with (
        nightly._hold(tmp_path / "m"),
        pytest.raises(StoreLockedError, match="another nightly job"),
        nightly._hold(tmp_path / "m"),
    ):
        pass


def test_a_night_that_fails_keeps_the_summary_of_the_nights_before(tmp_path, monkeypatch):
    first = World(tmp_path / "world").run(TODAY)

    def run_night(day, *arguments):
        if day > TODAY:
            raise ModelError("step score: broken", {"pending_rows": 1})
        return first

    monkeypatch.setattr("sentiment.monitoring.night.run_night", run_night)
    monkeypatch.setattr("sentiment.models.registry.use_tracking", lambda home: "")
    config = make_config(date="2026-03-02..2026-03-04", date_col="day", monitoring=str(tmp_path / "m"))
    with pytest.raises(ModelError) as raised:
        nightly.run(config, lambda *arguments: None)
    assert [night["night"] for night in raised.value.summary["nights"]] == ["2026-03-02"]
    [nights, steps] = nightly.show(raised.value.summary)
    assert (nights.row_count, nights.columns[2]._cells[0].plain) == (1, "nothing was pending")
    assert steps.row_count > 5


def test_the_error_of_the_first_night_has_no_summary(tmp_path, monkeypatch):
    def run_night(*arguments):
        raise ModelError("step score: broken", {"pending_rows": 1})

    monkeypatch.setattr("sentiment.monitoring.night.run_night", run_night)
    monkeypatch.setattr("sentiment.models.registry.use_tracking", lambda home: "")
    with pytest.raises(ModelError) as raised:
        nightly.run(make_config(monitoring=str(tmp_path)), lambda *arguments: None)
    assert raised.value.summary is None
