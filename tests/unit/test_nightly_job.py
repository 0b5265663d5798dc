"""The parts of jobs/nightly.py that need neither Spark nor a registry."""

import dataclasses
import datetime
from pathlib import Path

import pandas as pd
import pytest

from jobs import nightly
from sentiment.config import NightlyConfig, ScoreConfig, load_config
from sentiment.dashboard.nights import find_folder
from sentiment.dashboard.settings import read_settings
from sentiment.errors import (
    ConfigError,
    ModelError,
    StoreLockedError,
    UnreadableFileError,
    UnusableLabelsError,
)
from sentiment.monitoring.batches import list_published
from sentiment.monitoring.late_labels import load_labels
from sentiment.monitoring.published import observe
from sentiment.tables.store.files import StoredFile
from sentiment.tables.store.manifests import MANIFEST
from tests.factories import make_manifest
from tests.unit.monitoring.nights import World

TODAY = datetime.date(2026, 3, 2)


def make_config(**options):
    return NightlyConfig(input="/in", output="/out", **options)


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
        *("--conf", "/dev/null"),
        *("--input", "/in", "--output", "/out", "--text_col", "title,content", "--date_col", "day"),
        *("--rescore", "True", "--since", "2026-01-31", "--until", "2026-02-01"),
    ]


def test_without_a_date_column_a_date_only_names_the_night():
    arguments = nightly.list_arguments(make_config(date="2026-01-31"), datetime.date(2026, 1, 31))
    assert arguments == ["--conf", "/dev/null", "--input", "/in", "--output", "/out"]


def test_values_of_the_scoring_hold_for_the_whole_night_and_arguments_win(tmp_path):
    (tmp_path / "score.yaml").write_text("date_col: day\nstorage_options: keys.json\nchunk_rows: 5\n")
    (tmp_path / "nightly.yaml").write_text("chunk_rows: 6\n")
    given = {"input": "/in", "output": "/out", "date": "2026-01-31", "storage_options": "other.json"}
    config = load_config(NightlyConfig, tmp_path / "nightly.yaml", given, tmp_path / "score.yaml")
    assert (config.date_col, config.storage_options, config.chunk_rows) == ("day", "other.json", 6)
    assert "--since" in nightly.list_arguments(config, datetime.date(2026, 1, 31))
    # A default that is passed wins too: the scoring job reads no file of its own.
    config = load_config(NightlyConfig, None, {**given, "chunk_rows": 200_000}, tmp_path / "score.yaml")
    arguments = nightly.list_arguments(config, datetime.date(2026, 1, 31))
    parsed = load_config(
        ScoreConfig,
        Path(arguments[1]),
        {
            name.removeprefix("--"): value
            for name, value in zip(arguments[2::2], arguments[3::2], strict=True)
        },
    )
    assert parsed.chunk_rows == 200_000


def test_runs_and_alerts_name_the_store_and_no_path_that_is_none(tmp_path):
    def find_store(output):
        config = NightlyConfig(input="/in", output=output, monitoring=str(tmp_path))
        return nightly.open_doors(config, TODAY, tmp_path).store

    assert [find_store(o) for o in ("s3://b/scores/", "delta:/data/s", "/data/s/")] == [
        "s3://b/scores", "/data/s", "/data/s"
    ]  # fmt: skip


def find_truth(config, ids, names=("negative", "positive")):
    return nightly.find_truth(config, load_labels(config.labels, ids, config.label_col), ids, names)


def test_late_labels_become_labels_of_the_model(tmp_path):
    rows = pd.DataFrame({"shop": [1, 1, 2, 2], "id": ["a", "b", "a", "b"], "stars": [1, 3, 5, None]})
    rows.to_parquet(tmp_path / "labels.parquet")
    config = make_config(labels=str(tmp_path), label_col="stars", label_map="1,2=negative;3=;4,5=positive")
    labels = find_truth(config, ["shop", "id"])
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
        find_truth(make_config(labels=str(tmp_path)), ["shop", "id"])


def test_labels_without_the_id_columns_are_an_error(tmp_path):
    pd.DataFrame({"id": ["a"], "label": ["positive"]}).to_parquet(tmp_path / "labels.parquet")
    with pytest.raises(UnreadableFileError, match="columns shop, id, label"):
        load_labels(str(tmp_path), ["shop", "id"], "label")


@pytest.mark.parametrize(
    ("output", "folder"),
    [
        ("/data/scores/", "/data/scores-monitoring"),
        ("delta:/data/s", "/data/s-monitoring"),
        ("file:///data/s", "/data/s-monitoring"),
    ],
)
def test_results_lie_next_to_a_store_on_a_mounted_file_system_and_the_app_finds_them(output, folder):
    assert str(nightly.choose_folder(NightlyConfig(input="/in", output=output))) == folder
    assert find_folder(read_settings({"SENTIMENT_SCORES": output})) == folder


def test_for_a_store_in_a_bucket_the_place_of_the_results_must_be_given(tmp_path):
    with pytest.raises(ConfigError, match="--monitoring"):
        nightly.choose_folder(NightlyConfig(input="/in", output="s3://bucket/scores"))
    assert find_folder(read_settings({"SENTIMENT_SCORES": "s3://bucket/scores"})) is None
    given = NightlyConfig(input="/in", output="s3://bucket/scores", monitoring=str(tmp_path))
    assert nightly.choose_folder(given) == tmp_path


ROWS = {
    **{"label": "positive", "score": 0.9, "unsure": False, "stage": "encoder", "n_tokens": 4},
    **{"model_version": "1", "sequence": 1, "text_digest": 7},
}


def publish(folder, rows, rejected=None, **facts):
    """Publish a batch by hand, with scored rows of these values over ROWS."""
    batch = folder / "model=1" / f"batch=2026-03-02-{len(list(folder.glob('*/*'))):012x}"
    (batch / "_rejected").mkdir(parents=True)
    frame = pd.DataFrame(rows).assign(**{name: ROWS[name] for name in ROWS if name not in rows})
    frame.to_parquet(batch / "part-0.parquet", index=False)
    if rejected is not None:
        pd.DataFrame(rejected).to_parquet(batch / "_rejected" / "part-0.parquet", index=False)
    counts = {"scored_rows": len(frame), "rejected_rows": len(rejected["id"]) if rejected else 0}
    manifest = make_manifest(int(frame["sequence"].max()), **{**counts, **facts})
    (batch / MANIFEST).write_text(manifest.to_json())


def label(folder, labels, numbers=(1,), **options):
    """Return the rows of one night that have labels, and what is missing."""
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    config = NightlyConfig(
        input="/in", output=str(folder / "scores"), labels=str(folder / "labels.parquet"), **options
    )
    nights, missing = nightly.label(config, config.labels, {TODAY: lambda number, name: number in numbers})
    return nights[TODAY].rows if nights else None, missing


def test_a_reject_without_an_id_does_not_keep_labels_from_rows(tmp_path):
    """A null makes floats of whole numbers in pandas, and 1.0 is not 1."""
    rejected = {"id": pd.array([None], dtype="Int64"), "reject_reason": ["null_id"], "sequence": [1]}
    publish(tmp_path / "scores", {"id": [1, 2]}, rejected, id_types={"id": "bigint"})
    rows, missing = label(tmp_path, {"id": [1, 2, None], "label": ["positive", "negative", "positive"]})
    assert (rows["id"].tolist(), rows["is_right"].tolist(), missing) == (["1", "2"], [True, False], {})


def test_labels_of_no_scored_row_are_said(tmp_path):
    publish(tmp_path / "scores", {"id": [1, 2]}, id_types={"id": "bigint"})
    rows, missing = label(tmp_path, {"id": ["a", "b"], "label": ["positive", "negative"]})
    assert rows is None
    assert "no label has the id" in missing["realised accuracy"]


def test_a_compacted_file_is_read_once_and_only_its_needed_columns(tmp_path, monkeypatch):
    part = make_manifest(1, scored_rows=2, rejected_rows=0, id_types={"id": "bigint"})
    parts = (part, dataclasses.replace(part, sequence=2))
    rows = {"id": [1, 2, 1, 2], "sequence": [1, 1, 2, 2]}
    publish(tmp_path / "scores", rows, id_types={"id": "bigint"}, parts=parts)
    loaded = []
    load = StoredFile.load
    monkeypatch.setattr(
        StoredFile, "load", lambda self, names=None: loaded.append(names) or load(self, names)
    )
    rows, _ = label(tmp_path, {"id": [1, 2], "label": ["positive", "negative"]}, numbers=(1, 2))
    assert (len(rows), len(loaded)) == (4, 1)
    assert set(loaded[0]) == {"id", "label", "score", "stage", "model_version", "sequence"}


def test_labels_mean_what_they_meant_for_the_model_that_scored_the_batch(tmp_path):
    three = ("negative", "neutral", "positive")
    ids = {"id_types": {"id": "bigint"}}
    publish(tmp_path / "scores", {"id": [1]}, **ids)
    publish(tmp_path / "scores", {"id": [2], "sequence": 2, "label": "neutral"}, label_names=three, **ids)
    # A label that the older model does not have costs its batches, not the night.
    words = {"id": [1, 2, 3], "label": ["positive", "neutral", "negative"]}
    rows, missing = label(tmp_path, words, numbers=(1, 2))
    assert rows["id"].tolist() == ["2"]
    assert "labels of the model are negative, positive" in str(missing)


def test_what_waits_is_not_of_the_night_and_a_night_of_the_past_has_its_own_model(tmp_path):
    skipped = {"known": 3, "superseded": 2, "waiting": 50}
    publish(tmp_path, {"id": [1]}, input_rows=56, skipped_rows=skipped, id_types={"id": "bigint"})
    [batch] = list_published(nightly.open_for_reading(NightlyConfig(input="/i", output=str(tmp_path))))
    assert (batch.input_rows, batch.skipped_rows) == (6, 5)
    now = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
    seen = observe(TODAY, now, ("models:/m/9", "9"), [batch], lambda number, name: True, {})
    assert (seen.model_version, seen.input_rows) == ("3", 6)


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
