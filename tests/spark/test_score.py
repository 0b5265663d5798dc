"""`score` on any DataFrame and in SQL: on classic Spark, over Spark Connect, and in a stream."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

import sentiment
from sentiment.errors import ConfigError, ModelNotFoundError
from sentiment.models import loading
from sentiment.models.predictions import predict_each
from tests.factories import ROOT, make_reviews


@pytest.fixture
def rows(spark, use_tiny_model):
    reviews = make_reviews(40)
    reviews.loc[3, "text"] = None
    return spark.createDataFrame(reviews[["review_id", "text"]])


def predict_alone(uri, reviews):
    model = loading.load_model(uri)
    return predict_each(model, reviews["text"].tolist()).assign(review_id=reviews["review_id"])


def test_a_dataframe_gets_the_columns_of_the_model_and_keeps_its_own(rows, use_tiny_model):
    scored = sentiment.score(rows, model_uri=use_tiny_model.uri)
    found = scored.toPandas().sort_values("review_id").reset_index(drop=True)
    alone = predict_alone(use_tiny_model.uri, rows.toPandas()).sort_values("review_id").reset_index(drop=True)
    assert list(found.columns[:3]) == ["review_id", "text", "label"]
    assert found["label"].equals(alone["label"])
    assert (found["score"] - alone["score"]).abs().max() < 1e-5
    assert found["reject_reason"].value_counts().to_dict() == {"null_text": 1}


def test_options_of_the_model_are_passed_on(rows, use_tiny_model):
    scored = sentiment.score(rows, model_uri=use_tiny_model.uri, probabilities=True, min_score=1.0)
    row = scored.where("label IS NOT NULL").first()
    assert row["unsure"]
    assert sum(row["probabilities"]) == pytest.approx(1)


def test_sql_calls_the_model(spark, rows, use_tiny_model):
    spark.udf.register("sentiment", sentiment.sentiment_udf(use_tiny_model.uri))
    rows.createOrReplaceTempView("reviews")
    found = spark.sql("SELECT review_id, sentiment(text).label AS label FROM reviews").toPandas()
    expected = sentiment.score(rows, model_uri=use_tiny_model.uri).select("review_id", "label").toPandas()
    assert (
        found.sort_values("review_id").to_numpy().tolist()
        == expected.sort_values("review_id").to_numpy().tolist()
    )


def test_a_column_that_is_missing_or_taken_is_refused(rows, use_tiny_model):
    with pytest.raises(ConfigError, match="body is not a column"):
        sentiment.score(rows, text_col="body", model_uri=use_tiny_model.uri)
    with pytest.raises(ConfigError, match="adds the columns label"):
        sentiment.score(rows.withColumnRenamed("review_id", "label"), model_uri=use_tiny_model.uri)
    with pytest.raises(ModelNotFoundError):
        sentiment.score(rows, model_uri="models:/nothing@champion")


def test_a_stream_is_scored_batch_by_batch(spark, use_tiny_model, tmp_path):
    """The example of docs/batch.md."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        part = make_reviews(30)[number * 10 : number * 10 + 10][["review_id", "text"]]
        part.to_parquet(tmp_path / "in" / f"{number}.parquet")

    def publish(batch, number):
        scored = sentiment.score(batch, model_uri=use_tiny_model.uri).drop("text")
        scored.write.mode("overwrite").parquet(str(tmp_path / "out" / f"batch={number}"))

    stream = spark.readStream.schema("review_id string, text string").option("maxFilesPerTrigger", 1)
    query = (
        stream.parquet(str(tmp_path / "in"))
        .writeStream.foreachBatch(publish)
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    found = pd.read_parquet(tmp_path / "out")
    assert sorted(found["review_id"]) == sorted(f"r{i}" for i in range(30))
    assert found["label"].notna().all()


@pytest.mark.reliability  # it takes a minute, and Spark Connect changes with Spark, not with each commit
def test_spark_connect_gives_the_same_rows_with_one_model_per_worker(use_tiny_model, write_parquet):
    reviews = make_reviews(40)[["review_id", "text"]]
    reviews.loc[3, "text"] = None
    client = subprocess.run(
        [sys.executable, "-m", "tests.spark.connect_client", write_parquet(reviews), use_tiny_model.uri],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": use_tiny_model.tracking_uri, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert client.returncode == 0, client.stderr[-3000:]
    found = json.loads(client.stdout.splitlines()[-1])
    alone = predict_alone(use_tiny_model.uri, reviews).set_index("review_id")
    assert {name: row[0] for name, row in found["rows"].items()} == alone["label"].where(
        alone["label"].notna(), None
    ).to_dict()
    assert all(
        row[1] is None or abs(row[1] - alone["score"][name]) < 1e-5 for name, row in found["rows"].items()
    )
    assert found["rows"]["r3"][2] == "null_text"
    assert "probabilities" in found["columns"]
    assert found["sql"] == found["again"] == {name: row[0] for name, row in found["rows"].items()}
    # `probabilities` is another model option, and a worker keeps only the last model.
    assert set(found["loads"].values()) <= {0, 1, 2}
    assert "needs classic Spark" in found["refused"]
