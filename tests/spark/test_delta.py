"""Scoring from and into Delta tables, on a mounted folder and on an S3 server in this process."""

import base64
import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import sentiment
from sentiment.config import ScoreConfig
from sentiment.errors import ConfigError, InputError
from sentiment.tables.runs import run_scoring
from sentiment.tables.store.opening import open_store
from tests.factories import make_reviews

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


@pytest.fixture
def score(spark, use_tiny_model):
    """Runs a scoring with options of `ScoreConfig`."""

    def run(input, output, **options):
        config = ScoreConfig(input=str(input), output=output, model_uri=use_tiny_model.uri, **options)
        given = json.loads(Path(config.storage_options).read_text()) if config.storage_options else None
        with open_store(config.output, given) as store:
            return run_scoring(config, store, lambda: spark, NOW, lambda *_: None)

    return run


@pytest.fixture
def reviews(tmp_path):
    """A Delta table of 60 reviews in two files."""
    for part in (make_reviews(60)[:40], make_reviews(60)[40:]):
        write_deltalake(tmp_path / "reviews", part.reset_index(drop=True), mode="append")
    return tmp_path / "reviews"


def read_ids(output, **options):
    return sorted(sentiment.load_scores(output, **options)["review_id"])


def delete_by_vector(folder, rows):
    """Give the first file of a table a deletion vector, as Spark does for DELETE."""
    table = DeltaTable(folder)
    add = pa.table(table.get_add_actions()).to_pylist()[0]
    values = b"".join(struct.pack("<H", row) for row in rows)
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + values
    vector = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    padded = vector + b"\0" * (-len(vector) % 4)
    inline = base64.b85encode(padded).translate(bytes.maketrans(_B85, _Z85)).decode()
    descriptor = {
        "storageType": "i",
        "pathOrInlineDv": inline,
        "sizeInBytes": len(vector),
        "cardinality": len(rows),
    }
    file = {"path": add["path"], "size": add["size_bytes"], "partitionValues": {}, "dataChange": True}
    feature = ["deletionVectors"]
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": feature,
        "writerFeatures": feature,
    }
    stats = json.dumps({"numRecords": add["num_records"]})
    actions = [
        {"protocol": protocol},
        {"remove": {**file, "deletionTimestamp": 1, "extendedFileMetadata": True}},
        {"add": {**file, "modificationTime": 1, "deletionVector": descriptor, "stats": stats}},
    ]
    log = Path(folder) / "_delta_log" / f"{table.version() + 1:020}.json"
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_a_snapshot_is_read_and_not_the_files_of_the_folder(score, reviews, tmp_path):
    table = DeltaTable(reviews)
    table.delete("review_id IN ('r1', 'r2')")
    table.update({"text": "'a hate broken awful'"}, predicate="review_id = 'r3'")
    assert len(list(reviews.glob("*.parquet"))) > len(table.file_uris())
    output = str(tmp_path / "scores")
    summary = score(reviews, output)
    assert (summary.input_rows, summary.scored_rows) == (58, 58)
    assert read_ids(output) == sorted(f"r{i}" for i in range(60) if i not in (1, 2))
    assert score(reviews, output).scored_rows == 0


def test_rows_that_are_written_anew_are_read_but_not_scored_again(score, reviews, tmp_path):
    output = str(tmp_path / "scores")
    score(reviews, output)
    table = DeltaTable(reviews)
    table.optimize.compact()
    table.update({"text": "'a hate broken awful'"}, predicate="review_id = 'r3'")
    write_deltalake(reviews, make_reviews(62)[60:].reset_index(drop=True), mode="append")
    summary = score(reviews, output)
    assert (summary.scored_rows, summary.skipped_rows) == (3, 59)
    assert len(read_ids(output)) == 62
    assert len(sentiment.load_scores(output, model="all")) == 63


def test_a_column_that_comes_later_is_no_obstacle(score, reviews, tmp_path):
    wider = make_reviews(62)[60:].reset_index(drop=True).assign(country="FR")
    write_deltalake(reviews, wider, mode="append", schema_mode="merge")
    assert score(reviews, str(tmp_path / "scores")).scored_rows == 62


@pytest.mark.parametrize("chunk_rows", [1_000, 19])
def test_rows_with_a_deletion_vector_are_left_out(score, reviews, tmp_path, chunk_rows):
    output = str(tmp_path / "scores")
    gone = [0, 5, 19]
    delete_by_vector(reviews, gone)
    expected = sorted(pa.table(DeltaTable(reviews).scan())["review_id"].to_pylist())
    summary = score(reviews, output, chunk_rows=chunk_rows)
    assert summary.scored_rows == summary.input_rows == 57
    assert read_ids(output) == expected
    assert score(reviews, output).scored_rows == 0


def test_a_row_that_a_restore_brings_back_is_scored(score, reviews, tmp_path):
    output = str(tmp_path / "scores")
    delete_by_vector(reviews, [0, 5])
    assert score(reviews, output).scored_rows == 58
    DeltaTable(reviews).restore(1)
    assert score(reviews, output).scored_rows == 2


def test_an_older_version_or_time_is_read_on_request(score, reviews, tmp_path):
    assert score(reviews, str(tmp_path / "one"), version=0).scored_rows == 40
    stamp = DeltaTable(reviews).history()[-1]["timestamp"]
    moment = datetime.fromtimestamp(stamp / 1000, UTC).isoformat()
    assert score(reviews, str(tmp_path / "two"), timestamp=moment).scored_rows == 40
    with pytest.raises(InputError):
        score(reviews, str(tmp_path / "three"), version=99)
    make_reviews(3).to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(ConfigError, match="select a snapshot"):
        score(tmp_path / "plain.parquet", str(tmp_path / "four"), version=0)


def test_partition_values_come_from_the_log(score, tmp_path):
    days = ["2026-01-01", "2026-01-02 10:00", None]
    frame = make_reviews(6).assign(day=[days[i % 3] for i in range(6)])
    write_deltalake(tmp_path / "reviews", frame, partition_by=["day"])
    summary = score(
        tmp_path / "reviews", str(tmp_path / "scores"), date_col="day", since="2026-01-02", until="2026-01-03"
    )
    assert (summary.scored_rows, summary.waiting_rows) == (2, 4)


@pytest.mark.parametrize(
    ("feature", "configuration"),
    [
        ("columnMapping", {"delta.columnMapping.mode": "name"}),
        ("catalogManaged", {}),
        ("aFeatureOfTomorrow", {}),
    ],
)
def test_tables_that_mean_something_else_are_refused_by_name(
    score, reviews, tmp_path, feature, configuration
):
    log = reviews / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            features = {"readerFeatures": [feature], "writerFeatures": [feature]}
            line["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7, **features}
        if "metaData" in line:
            line["metaData"]["configuration"] = configuration
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=feature) as caught:
        score(reviews, str(tmp_path / "scores"))
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [pytest.param("folder", marks=pytest.mark.reliability), "s3"])
def test_a_delta_store_holds_what_a_folder_store_holds(score, tmp_path, request, place):
    """With rejects, several chunks, an older batch, a changed text and a drop."""
    output, options = f"delta:{tmp_path}/delta", {}
    source = tmp_path / "in"
    source.mkdir()
    if place == "s3":
        bucket = request.getfixturevalue("bucket")
        output = f"{bucket.uri}/scores"
        (tmp_path / "options.json").write_text(json.dumps(bucket.options))
        options = {"storage_options": str(tmp_path / "options.json")}
    kept = {"storage_options": bucket.options} if place == "s3" else {}
    first = make_reviews(50)
    first.loc[3, "text"] = None
    first.to_parquet(source / "a.parquet")
    one = [
        score(source, path, chunk_rows=20, **more)
        for path, more in ((str(tmp_path / "f"), {}), (output, options))
    ]
    make_reviews(60)[45:].assign(text=lambda f: f["text"].where(f["review_id"] != "r46", "bad")).to_parquet(
        source / "b.parquet"
    )
    two = [score(source, path, **more) for path, more in ((str(tmp_path / "f"), {}), (output, options))]
    for summaries in (one, two):
        assert summaries[0].scored_rows == summaries[1].scored_rows
        assert summaries[0].rejected_by_reason == summaries[1].rejected_by_reason
        assert summaries[0].skipped_rows == summaries[1].skipped_rows
    columns = ["review_id", "label", "score", "text_digest", "sequence"]
    folder, delta = (
        sentiment.load_scores(path, **more)[columns].sort_values("review_id").reset_index(drop=True)
        for path, more in ((str(tmp_path / "f"), {}), (output, kept))
    )
    pd.testing.assert_frame_equal(folder, delta)
    assert score(source, output, **options).scored_rows == 0


def test_reviews_in_a_bucket_are_scored(score, bucket, tmp_path):
    from pyarrow import parquet

    from sentiment.tables.storage import find_storage

    storage = find_storage(bucket.uri, bucket.options)
    for day, part in (("01", make_reviews(30)), ("02", make_reviews(40)[30:])):
        path = storage.to_path(f"{bucket.uri}/in/day=2026-01-{day}/a b.parquet")
        parquet.write_table(pa.Table.from_pandas(part), path, filesystem=storage.open())
    parquet.write_table(
        pa.table({"x": [1]}), storage.to_path(f"{bucket.uri}/in/bad.parquet"), filesystem=storage.open()
    )
    (tmp_path / "options.json").write_text(json.dumps(bucket.options))
    options = {"storage_options": str(tmp_path / "options.json"), "max_bad_files": 1}
    summary = score(
        f"{bucket.uri}/in", str(tmp_path / "scores"), date_col="day", since="2026-01-02", **options
    )
    assert (summary.scored_rows, summary.waiting_rows, len(summary.bad_files)) == (10, 30, 1)
    assert score(f"{bucket.uri}/in", str(tmp_path / "scores"), **options).scored_rows == 30


def test_read_scores_reads_both_stores(spark, score, tmp_path):
    make_reviews(20).to_parquet(tmp_path / "a.parquet")
    for output in (str(tmp_path / "f"), f"delta:{tmp_path}/d"):
        score(tmp_path / "a.parquet", output)
        found = sentiment.read_scores(spark, output)
        assert sorted(row["review_id"] for row in found.collect()) == read_ids(output)
        assert set(sentiment.load_scores(output).columns) == set(found.columns)
