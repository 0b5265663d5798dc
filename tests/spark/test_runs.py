"""The scoring run on a real session and a real, tiny model."""

import json
import os
import shutil
import struct
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sentiment
from sentiment import schema
from sentiment.config import ScoreConfig
from sentiment.errors import (
    ConfigError,
    EmptyInputError,
    HeldBatchError,
    ModelError,
    ModelNotFoundError,
    StoreError,
    StoreLockedError,
)
from sentiment.evaluation.profile import load as load_profile
from sentiment.inference.engines import list_cpu_engines
from sentiment.inference.processor import find_processor
from sentiment.inference.settings import load_settings
from sentiment.models import loading, registry
from sentiment.models.predictions import predict_each
from sentiment.tables import chunks, runs
from sentiment.tables.runs import run_scoring
from sentiment.tables.store.opening import open_store
from tests.factories import make_reviews

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
# Set before the Spark session starts its workers.
COLLECTED = time.monotonic()


# Added to a model's predictor: it raises if one of the texts is bad.
FAILS_ON_BAD = """
_real_columns = Predictor.predict_columns


def _fail_on_bad(self, values, progress=None):
    if any("bad" in str(value) for value in values):
        raise ValueError("bad")
    return _real_columns(self, values, progress)


Predictor.predict_columns = _fail_on_bad
"""


@pytest.fixture
def score(spark, use_tiny_model, tmp_path):
    """Runs a scoring over `input` into `tmp_path/scores`."""

    def run(input, progress=lambda *_: None, **options):
        config = ScoreConfig(
            **{"input": input, "output": str(tmp_path / "scores"), "model_uri": use_tiny_model.uri, **options}
        )
        with open_store(config.output) as store:
            return run_scoring(config, store, lambda: spark, NOW, progress)

    return run


def make_mixed_reviews():
    """300 reviews with every kind of row that the table can hold."""
    reviews = make_reviews(300)
    reviews.loc[[3, 4], "text"] = [None, " \t"]
    reviews.loc[[5, 6], "review_id"] = None
    return reviews


def read_published(output):
    return pd.read_parquet(output).sort_values("review_id").reset_index(drop=True)


def test_every_row_ends_as_one_score_or_one_reject(score, write_parquet, tmp_path):
    summary = score(write_parquet(make_mixed_reviews()))
    assert (summary.input_rows, summary.scored_rows, summary.rejected_rows) == (300, 296, 4)
    assert summary.rejected_by_reason == {"null_text": 1, "blank_text": 1, "null_id": 2}
    assert summary.warnings == ["2 rows have no review_id: rejected as null_id"]
    scored = read_published(tmp_path / "scores")
    rejected = pd.read_parquet(Path(summary.batch) / "_rejected")
    expected = make_mixed_reviews()
    left = expected[expected["review_id"].notna() & ~expected.index.isin([3, 4])]["review_id"]
    assert sorted(scored["review_id"]) == sorted(left)
    assert sorted(rejected["review_id"].dropna()) == ["r3", "r4"]
    assert rejected["review_id"].isna().sum() == 2


def test_the_summary_says_what_scored_and_how_soon(score, write_parquet, use_tiny_model):
    # No other test uses these options, so a worker of an earlier test loads the model again.
    summary = score(write_parquet(make_mixed_reviews()), max_text_chars=987_654)
    assert sum(summary.stages.values()) == summary.scored_rows
    encoder = registry.resolve_model(use_tiny_model.uri).folder / "artifacts" / "encoder"
    assert summary.engines == list_cpu_engines(load_settings(encoder).cpu_engine, find_processor())[:1]
    assert summary.instruction_sets == [find_processor().instruction_set]
    asked = score(
        write_parquet(make_reviews(20), "again.parquet"), engine="reference", max_text_chars=987_653
    )
    assert asked.engines == ["reference"]
    assert asked.model_loads == asked.python_workers >= 1
    assert 0 < asked.worker_start_seconds < time.monotonic() - COLLECTED


def test_the_published_table_has_the_contract_columns_and_no_text(score, write_parquet, tmp_path):
    summary = score(write_parquet(make_mixed_reviews()))
    batch = Path(summary.batch)
    scored = pd.read_parquet(next(batch.glob("part-*.parquet")))
    assert list(scored.columns) == [
        *("review_id", "label", "score", "unsure", "n_tokens", "truncated", "stage"),
        *("text_digest", "model_version", "scored_at", "sequence"),
    ]
    assert set(scored["model_version"]) == {"1"}
    assert set(scored["scored_at"].dt.tz_convert("UTC")) == {pd.Timestamp(NOW)}
    rejected = pd.read_parquet(batch / "_rejected")
    assert list(rejected.columns) == [
        *("review_id", "reject_reason", "text_digest", "model_version", "scored_at", "sequence")
    ]
    manifest = json.loads((batch / "_MANIFEST.json").read_text())
    assert manifest["input_rows"] == 300
    assert [file["rows"] for file in manifest["consumption"]["inputs"]] == [300]
    assert batch == tmp_path / "scores" / "model=1" / f"batch=2026-01-31-{batch.name[-12:]}"
    assert sorted(p.name for p in (tmp_path / "scores").iterdir()) == ["model=1"]


def test_the_table_equals_what_the_model_says_of_each_review_alone(
    score, write_parquet, use_tiny_model, tmp_path
):
    reviews = make_reviews(60)
    score(write_parquet(reviews))
    model = loading.load_model(use_tiny_model.uri)
    alone = pd.concat([predict_each(model, [text]) for text in reviews["text"]]).assign(
        review_id=reviews["review_id"].to_numpy()
    )
    alone = alone.sort_values("review_id").reset_index(drop=True)
    table = read_published(tmp_path / "scores")
    assert table["label"].tolist() == alone["label"].tolist()
    assert (table["score"] - alone["score"]).abs().max() < 1e-5
    assert table["n_tokens"].tolist() == alone["n_tokens"].tolist()


def test_the_model_is_loaded_once_a_worker(score, write_parquet):
    summary = score(write_parquet(make_reviews(200)), rows_per_task=10)
    assert summary.python_workers >= 1
    assert summary.model_loads <= summary.python_workers


def test_partitions_do_not_change_the_scores(score, write_parquet, tmp_path):
    path = write_parquet(make_reviews(200))
    for tasks in (10, 200):
        score(path, rows_per_task=tasks, output=str(tmp_path / f"by-{tasks}"))
    few, many = (read_published(tmp_path / f"by-{tasks}") for tasks in (10, 200))
    assert few["label"].equals(many["label"])
    assert (few["score"] - many["score"]).abs().max() < 1e-5


def read_outcomes(output):
    """The published label of each id, as readers see it."""
    return sentiment.load_scores(str(output)).set_index("review_id")


@pytest.mark.parametrize("chunk_rows", [pytest.param(200, marks=pytest.mark.reliability), 23])
def test_the_latest_row_of_an_id_wins_within_a_chunk_and_across_chunks(
    score, write_parquet, tmp_path, chunk_rows
):
    reviews = make_reviews(60)
    same = reviews.iloc[:3]  # repeated id and text
    other = reviews.iloc[3:5].assign(text="a hate broken awful bad")
    path = write_parquet(pd.concat([reviews, same, other]))
    summary = score(path, chunk_rows=chunk_rows)
    assert (summary.input_rows, summary.rejected_rows) == (65, 0)
    assert summary.scored_rows + summary.superseded_rows + summary.skipped_rows == 65
    if chunk_rows == 200:
        assert (summary.scored_rows, summary.superseded_rows, summary.conflicting_ids) == (60, 5, 2)
        assert summary.warnings == ["2 ids have several texts in one chunk: the latest was scored"]
    found = read_outcomes(tmp_path / "scores")
    assert sorted(found.index) == sorted(reviews["review_id"])
    score(write_parquet(other, "other.parquet"), output=str(tmp_path / "other"))
    alone = read_outcomes(tmp_path / "other")
    assert found.loc[alone.index, "text_digest"].equals(alone["text_digest"])
    assert score(path, chunk_rows=chunk_rows).scored_rows == 0


def test_the_order_column_decides_which_row_is_the_latest(score, write_parquet, tmp_path):
    reviews = pd.DataFrame(
        {"review_id": ["a", "a", "a"], "text": ["good one", "good two", "good three"], "at": [2.0, 3.0, None]}
    )
    score(write_parquet(reviews), order_col="at")
    score(write_parquet(reviews.iloc[1:2], "two.parquet"), output=str(tmp_path / "two"))
    assert read_outcomes(tmp_path / "scores")["text_digest"].equals(
        read_outcomes(tmp_path / "two")["text_digest"]
    )


def test_a_newer_file_has_the_latest_rows_whatever_its_name(score, write_parquet, tmp_path):
    new = write_parquet({"review_id": ["a"], "text": ["good and new"]}, "in/a.parquet")
    old = write_parquet({"review_id": ["a"], "text": ["old and bad"]}, "in/b.parquet")
    os.utime(old, (1, 1))
    score(str(tmp_path / "in"))
    score(new, output=str(tmp_path / "new"))
    assert read_outcomes(tmp_path / "scores")["text_digest"].equals(
        read_outcomes(tmp_path / "new")["text_digest"]
    )


def test_rows_of_an_id_with_several_texts_can_be_rejected(score, write_parquet):
    reviews = make_reviews(20)
    repeated = pd.concat([reviews, reviews.iloc[:3], reviews.iloc[3:5].assign(text="Another text.")])
    summary = score(write_parquet(repeated), on_duplicate="reject", max_reject_share=1)
    assert (summary.scored_rows, summary.superseded_rows) == (18, 3)
    assert summary.rejected_by_reason == {"duplicate_id": 4}


def test_equal_texts_are_scored_once(score, write_parquet):
    summary = score(write_parquet(make_reviews(40, text=["good"] * 30 + [f"bad {i}" for i in range(10)])))
    assert (summary.scored_rows, summary.repeated_texts) == (40, 29)


def test_a_batch_has_a_profile_of_its_rows_without_text(score, write_parquet):
    reviews = make_reviews(40, text=["good"] * 30 + [f"bad {i}" for i in range(9)] + [None])
    summary = score(write_parquet(reviews), rows_per_task=3, max_reject_share=1)
    profile = load_profile(json.loads((Path(summary.batch) / "_MANIFEST.json").read_text())["profile"])
    assert (profile.scored_rows, profile.rejects) == (39, {"null_text": 1})
    assert profile.labels == summary.labels
    assert (len(profile.digests), sum(profile.digests.values())) == (10, 39)
    assert sum(profile.figures["n_chars"]) == sum(profile.figures["n_tokens"]) == 39


def test_rows_that_the_model_failed_on_are_tried_again_once_if_asked(score, write_parquet):
    path = write_parquet(make_reviews(10, text=[None] + ["good"] * 9))
    manifest = Path(score(path, max_reject_share=1).batch) / "_MANIFEST.json"
    # As if the model had failed on the row.
    manifest.write_text(manifest.read_text().replace("null_text", "model_failed"))
    assert score(path).pending_rows == 0
    again = score(path, retry_failed=True, max_reject_share=1)
    assert (again.scored_rows, again.skipped_rows, again.rejected_rows) == (0, 9, 1)
    assert score(path, retry_failed=True).pending_rows == 0


def test_a_row_without_id_never_replaces_one_with_an_id(score, write_parquet, tmp_path):
    """Whatever the ids are: the second row has no id, and its number in the file is the id of the first."""
    for first in ("1", "0"):
        ids = [first, None, None]
        summary = score(
            write_parquet({"review_id": ids, "text": ["good"] * 3}, f"{first}.parquet"),
            output=str(tmp_path / f"scores-{first}"),
            max_reject_share=1,
        )
        assert (summary.scored_rows, summary.rejected_by_reason) == (1, {"null_id": 2})


def test_an_id_that_is_no_number_is_a_null_id(score, write_parquet):
    ids = [1.0, float("nan"), float("nan"), 4.0]
    summary = score(write_parquet({"review_id": ids, "text": ["good"] * 4}), max_reject_share=1)
    assert (summary.scored_rows, summary.rejected_by_reason) == (2, {"null_id": 2})


def test_a_second_run_scores_nothing_and_changes_nothing(score, write_parquet, tmp_path):
    path = write_parquet(make_reviews(40))
    first = score(path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "scores").rglob("*")}
    second = score(path)
    assert (first.scored_rows, first.skipped_rows) == (40, 0)
    assert (second.scored_rows, second.skipped_rows, second.model_loads) == (0, 40, 0)
    assert second.batch is None
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "scores").rglob("*")} == before


def test_only_files_that_are_new_or_changed_are_scored(score, write_parquet, tmp_path):
    write_parquet(make_reviews(40), "in/a.parquet")
    score(str(tmp_path / "in"))
    write_parquet(make_reviews(60).iloc[40:], "in/b.parquet")
    second = score(str(tmp_path / "in"))
    assert (second.input_rows, second.scored_rows, second.skipped_rows) == (60, 20, 40)
    assert len(read_published(tmp_path / "scores")) == 60
    manifest = json.loads((Path(second.batch) / "_MANIFEST.json").read_text())
    assert [Path(f["path"]).name for f in manifest["consumption"]["inputs"]] == ["b.parquet"]


def test_another_text_column_than_the_models_is_a_warning(score, write_parquet):
    summary = score(write_parquet(make_reviews(10).rename(columns={"text": "body"})), text_col="body")
    assert summary.warnings == ["the model was trained on text_col text, this run scores body"]


@pytest.mark.parametrize(
    ("reviews", "options", "error"),
    [
        (make_reviews(3).iloc[:0], {}, EmptyInputError),
        (make_reviews(3), {"model_uri": "models:/nothing@champion"}, ModelNotFoundError),
        (make_reviews(3), {"model_uri": "models:/nothing/7"}, ModelNotFoundError),
        (make_reviews(3), {"model_uri": "/no/such/folder"}, ModelNotFoundError),
        (make_reviews(3), {"model_uri": "nonsense"}, ModelNotFoundError),
    ],
)
def test_a_run_that_cannot_be_done_leaves_nothing(score, write_parquet, tmp_path, reviews, options, error):
    with pytest.raises(error):
        score(write_parquet(reviews), **options)
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize("place", ["reviews", "reviews/scores", "."])
def test_an_output_that_is_or_touches_the_input_is_refused(score, write_parquet, tmp_path, place):
    write_parquet(make_reviews(3), "reviews/a.parquet")
    with pytest.raises(ConfigError, match="would be read as reviews"):
        score(str(tmp_path / "reviews"), output=str(tmp_path / place))
    assert [p.name for p in tmp_path.rglob("*.parquet")] == ["a.parquet"]


def test_a_store_in_use_is_refused_before_spark_does_anything(score, write_parquet, tmp_path):
    with open_store(str(tmp_path / "scores")), pytest.raises(StoreLockedError):
        score(write_parquet(make_reviews(3)))


def test_progress_rises_to_all_rows_through_all_chunks(score, write_parquet):
    reports = []
    summary = score(
        write_parquet(make_reviews(300)),
        chunk_rows=100,
        progress=lambda stage, done, total, unit: reports.append((done, total, unit)),
    )
    rows = [(done, total) for done, total, unit in reports if unit == "rows"]
    assert [done for done, _ in rows] == sorted(done for done, _ in rows)
    assert {total for _, total in rows} == {300}
    assert rows[-1] == (300, 300)
    assert len(summary.batches) == 3


def test_the_audit_refuses_rows_that_do_not_add_up(score, write_parquet, tmp_path, monkeypatch):
    real = chunks.read_reviews
    monkeypatch.setattr(chunks, "read_reviews", lambda *a, **k: real(*a, **k).where("review_id <> 'r7'"))
    with pytest.raises(StoreError, match="40 rows were read, 39 scored"):
        score(write_parquet(make_reviews(40)))
    assert not (tmp_path / "scores").exists()


def test_a_model_that_breaks_its_contract_is_not_published(score, write_parquet, tmp_path, monkeypatch):
    from pyspark.sql import functions as F

    real = chunks.score_rows
    monkeypatch.setattr(
        chunks, "score_rows", lambda *a: real(*a).withColumn(schema.SCORE, F.lit(float("nan")))
    )
    with pytest.raises(StoreError, match="40 scores outside"):
        score(write_parquet(make_reviews(40)))
    assert not (tmp_path / "scores").exists()


def test_bytes_that_are_no_utf8_reject_their_row_alone(score, tmp_path):
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 2, 6)), pa.py_buffer(b"\xff\xfegood")]
    )
    pq.write_table(pa.table({"review_id": ["bad", "fine"], "text": text}), tmp_path / "reviews.parquet")
    summary = score(str(tmp_path / "reviews.parquet"), max_reject_share=0.5)
    assert summary.rejected_by_reason == {"undecodable_text": 1}
    assert read_published(tmp_path / "scores")["review_id"].tolist() == ["fine"]


def test_a_text_longer_than_the_limit_is_a_reject(score, write_parquet, tmp_path):
    reviews = make_reviews(4, text=["good", "good " * 3, "x" * 1_000_001, "    " * 4])
    limited = score(write_parquet(reviews), max_text_chars=14, max_reject_share=1)
    assert limited.rejected_by_reason == {"too_long_text": 3}
    default = score(write_parquet(reviews), output=str(tmp_path / "default"), max_reject_share=1)
    assert default.rejected_by_reason == {"too_long_text": 1, "blank_text": 1}


def test_odd_file_names_and_nanosecond_columns_do_not_stop_a_run(score, write_parquet):
    reviews = make_reviews(10).assign(bought=pd.Timestamp("2026-01-01").as_unit("ns"))
    assert score(write_parquet(reviews, "in/part[1]{a}*.parquet")).scored_rows == 10


@pytest.mark.parametrize("prefix", ["file://", "file:"])
def test_an_output_in_the_input_is_refused_by_any_name(score, write_parquet, tmp_path, prefix):
    write_parquet(make_reviews(3), "in/a.parquet")
    with pytest.raises(ConfigError, match="would be read as reviews"):
        score(f"{prefix}{tmp_path}/in", output=f"{tmp_path}/in/scores")


def test_the_same_columns_written_otherwise_are_the_same_run(score, write_parquet):
    path = write_parquet(make_reviews(10).assign(title="good"))
    score(path, text_col="title,text")
    assert score(path, text_col="title, text").skipped_rows == 10


def test_an_input_that_changes_during_the_run_is_not_published(score, write_parquet, tmp_path, monkeypatch):
    path = write_parquet(make_reviews(10))
    real = chunks.write_rows
    monkeypatch.setattr(chunks, "write_rows", lambda *a: (real(*a), os.utime(path, (1, 1)))[0])
    with pytest.raises(StoreError, match="changed while it was scored"):
        score(path)
    assert not (tmp_path / "scores").exists()


def test_a_file_that_lost_rows_before_publishing_is_not_published(
    score, write_parquet, tmp_path, monkeypatch
):
    real = chunks.write_rows

    def lose_a_row(*arguments):
        written = real(*arguments)
        return replace(written, files=tuple(replace(file, rows=file.rows - 1) for file in written.files))

    monkeypatch.setattr(chunks, "write_rows", lose_a_row)
    with pytest.raises(StoreError, match="9 of 10 counted rows"):
        score(write_parquet(make_reviews(10)))
    assert not (tmp_path / "scores").exists()


def test_a_model_that_fails_in_a_worker_is_a_model_error(score, write_parquet, tmp_path, use_tiny_model):
    broken = tmp_path / "broken"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, broken)
    (broken / "artifacts" / "encoder" / "tokenizer.json").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="failed in a Spark worker") as caught:
        score(write_parquet(make_reviews(10)), model_uri=str(broken), allow_unverified=True)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "scores").exists()


def test_a_model_that_fails_on_most_of_a_few_texts_is_a_model_error(
    score, write_parquet, tmp_path, use_tiny_model
):
    """In each task so few that each may be the text's fault, and too many to be."""
    broken = tmp_path / "broken"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, broken)
    predictor = next(broken.glob("code/*/inference/predictor.py"))
    predictor.write_text(predictor.read_text() + FAILS_ON_BAD)
    path = write_parquet(make_reviews(60, text=[f"bad {i}" for i in range(50)] + ["good"] * 10))
    with pytest.raises(ModelError, match="failed in a Spark worker") as caught:
        score(path, model_uri=str(broken), allow_unverified=True)
    assert caught.value.exit_code == 4


def test_an_error_in_a_later_chunk_has_the_summary_of_those_published(
    score, write_parquet, tmp_path, monkeypatch
):
    real, published = runs.score_chunk, []

    def publish_once(*arguments):
        if published:
            raise StoreError("the disk is full")
        published.append(real(*arguments))
        return published[0]

    monkeypatch.setattr(runs, "score_chunk", publish_once)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        score(write_parquet(make_reviews(50)), chunk_rows=20)
    summary = caught.value.summary
    assert summary["batches"] == [published[0].batch.location]
    assert summary["scored_rows"] == len(read_published(tmp_path / "scores")) == 20
    assert summary["engines"]


def test_each_batch_names_only_the_engines_that_scored_it(score, write_parquet, tmp_path, monkeypatch):
    """On a mixed cluster, or after a worker is replaced, chunks are scored by different engines."""
    real, engines = runs.WorkerCensus.workers, iter(["int8", "f32"])

    def rename(census):
        if not hasattr(census, "name"):
            census.name = next(engines)
        return frozenset(replace(worker, engine=census.name) for worker in real.fget(census))

    monkeypatch.setattr(runs.WorkerCensus, "workers", property(rename))
    summary = score(write_parquet(make_reviews(40)), chunk_rows=20)
    with open_store(str(tmp_path / "scores")) as store:
        found = [batch.manifest.engines for batch in store.list_batches()]
    assert [engines[0].split()[0] for engines in found] == ["int8", "f32"]
    assert [len(engines) for engines in found] == [1, 1]
    assert summary.engines == ["f32", "int8"]


def test_a_run_leaves_no_copy_of_the_models_weights(score, write_parquet, monkeypatch):
    found = []
    real = registry.resolve_model
    monkeypatch.setattr(registry, "resolve_model", lambda uri: found.append(real(uri)) or found[0])
    score(write_parquet(make_reviews(10)))
    assert not (found[0].folder / "artifacts").exists()


def test_too_many_rejects_hold_the_batch_for_a_look_until_the_next_run(score, write_parquet, tmp_path):
    path = write_parquet(make_reviews(20, text=[None] * 2 + ["good phone"] * 18))
    with pytest.raises(HeldBatchError, match=r"2 of 20 rows were rejected \(10.0%: null_text 2\)") as caught:
        score(path)
    assert caught.value.exit_code == 6
    assert not (tmp_path / "scores").exists()
    held = list((tmp_path / ".scores.staging").glob("*/part-*.pq"))
    assert len(pd.read_parquet(held[0])) == 2
    assert score(path, max_reject_share=0.1).scored_rows == 18
    assert not (tmp_path / ".scores.staging").exists()
