"""A three-class and a five-star model from labelled reviews to every door, with the same predictions."""

import json
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

import score
from sentiment import schema
from sentiment.config import FinetuneConfig, ScoreConfig, ServeConfig
from sentiment.dashboard import model as dashboard_model
from sentiment.models import loading, registry
from sentiment.serving.champion import Champion, load_served_model
from sentiment.serving.server import assemble
from sentiment.tables.runs import run_scoring
from sentiment.tables.store.opening import open_store
from sentiment.tables.store.scores import load_scores
from sentiment.training.finetuning import FinetuneSummary, finetune
from tests.factories import make_tiny_encoder, using_store

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
# A word per class, so that a tiny encoder can tell them apart.
WORDS = {
    "three_way": {"negative": "bad", "neutral": "phone", "positive": "great"},
    "stars": {"1": "awful", "2": "bad", "3": "phone", "4": "good", "5": "great"},
}
FILLER = ("the", "battery", "screen", "it", "works", "is", "and", "very")


def make_rows(words, n):
    rows = []
    for i in range(n):
        label = list(words)[i % len(words)]
        filler = " ".join(FILLER[(i * 7 + j) % len(FILLER)] for j in range(1 + i % 5))
        rows.append({"review_id": f"r{i}", "text": f"{filler} {words[label]} {i}", "label": label})
    return pd.DataFrame(rows)


# Stars have one column more than three classes, so they run with all tests.
@pytest.fixture(scope="module", params=["stars", pytest.param("three_way", marks=pytest.mark.reliability)])
def tuned(request, tmp_path_factory):
    """A summary of fine-tuning with these labels, in a store of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    words = WORDS[request.param]
    make_rows(words, 600).to_parquet(folder / "train.parquet")
    config = FinetuneConfig(
        dataset_name=str(folder / "train.parquet"),
        label_scheme=request.param,
        distilbert_model=str(make_tiny_encoder(folder / "encoder", initializer_range=0.05)),
        lr=5e-3,
        epochs=5,
        max_length=32,
        alias="champion",
        min_score=0.6,
    )
    with using_store(f"sqlite:///{folder / 'mlflow.db'}"):
        yield words, finetune(config, lambda *_: None)


@pytest.fixture
def texts(tuned):
    words, _ = tuned
    return [*make_rows(words, 40)["text"], None, "", "the it", "😀"]


def test_fine_tuning_learns_and_measures_all_classes(tuned):
    words, summary = tuned
    assert isinstance(summary, FinetuneSummary)
    assert summary.labels == summary.test.labels == tuple(words)
    assert summary.test.accuracy > 0.9, "the words tell the classes apart"
    assert np.array(summary.test.confusion).shape == (len(words), len(words))
    assert (summary.test.mean_absolute_error is not None) == ("5" in words)
    assert any("the cascade is off" in note for note in summary.notes)
    assert ("lexicon" in summary.baselines) == ("neutral" in words)
    registered = registry.resolve_model(summary.model_uri)
    assert registered.labels == tuple(words)


def test_every_door_gives_the_same_predictions(tuned, texts, monkeypatch):
    words, summary = tuned
    reference = registry.resolve_model(summary.model_uri)
    plain = registry.import_mlflow().pyfunc.load_model(
        summary.model_uri, model_config={"probabilities": True}
    )
    expected = plain.predict(pd.DataFrame({"text": texts}))
    assert set(expected["label"].dropna()) == set(words)
    probabilities = np.array(expected["probabilities"].dropna().tolist())
    scored = expected[expected["label"].notna()]
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert [list(words)[i] for i in probabilities.argmax(axis=1)] == scored["label"].tolist()
    assert np.allclose(probabilities.max(axis=1), scored["score"].astype(float))
    assert scored["unsure"].tolist() == (scored["score"] < 0.6).tolist()
    if "5" in words:
        mean = probabilities @ np.arange(1, 6)
        assert np.allclose(scored["expected"].astype(float), mean)

    columns = [name for name in expected.columns if name != "probabilities"]
    monkeypatch.setenv("SENTIMENT_MODEL_URI", summary.model_uri)
    score._load_champion.cache_clear()
    by_score = pd.DataFrame(score.predict_sentiment(texts))
    assert_same(by_score, expected[columns])
    used = dashboard_model.ModelInUse(reference, loading.load_model(reference))
    assert_same(dashboard_model.predict(used, texts), expected[columns])

    with ExitStack() as stack:
        config = ServeConfig(reload_seconds=0, model_uri=summary.model_uri)
        champion = Champion(
            config.model_uri,
            lambda uri: load_served_model(uri, {"probabilities": True}, False, None),
            lambda uri: "1",
        )
        champion.start()
        guard, _ = assemble(config, champion, {})
        client = stack.enter_context(TestClient(guard, base_url="http://localhost"))
        answer = client.post("/v1/sentiment", json={"texts": texts, "top_k": 9}).json()["predictions"]
        explained = client.post("/v1/sentiment", json={"texts": texts[:1], "explain": True}).json()
    assert_same(pd.DataFrame(answer)[columns], expected[columns])
    best = [[row["label"] for row in one["scores"]] for one in answer]
    assert [row[0] if row else None for row in best] == [one["label"] for one in answer]
    assert {len(row) for row in best} == {0, len(words)}
    assert explained["predictions"][0]["explanation"]["words"]


def test_the_table_has_the_columns_of_the_labels(tuned, texts, spark, tmp_path):
    words, summary = tuned
    frame = pd.DataFrame({"review_id": [f"r{i}" for i in range(len(texts))], "text": texts})
    frame.to_parquet(tmp_path / "reviews.parquet")
    config = ScoreConfig(
        input=str(tmp_path / "reviews.parquet"),
        output=str(tmp_path / "scores"),
        model_uri=summary.model_uri,
        max_reject_share=1,
        probabilities=True,
        min_score=0.7,
    )
    run = score_once(config, spark)
    assert (run.label_names, run.scored_rows + run.rejected_rows) == (tuple(words), len(texts))
    table = load_scores(config.output)
    model = loading.load_model(summary.model_uri, {"probabilities": True, "min_score": 0.7})
    found = pd.DataFrame(model.predict_columns(texts)).assign(review_id=frame["review_id"])
    both = table.merge(found, on="review_id", suffixes=("", "_model"))
    assert len(both) == run.scored_rows
    for name in ("label", "unsure"):
        assert both[name].tolist() == both[f"{name}_model"].tolist()
    # In float32, the other rows of a mini-batch change the last digits.
    for name in ("score", "probabilities", *(["expected"] if "5" in words else [])):
        assert np.allclose(np.array(both[name].tolist()), np.array(both[f"{name}_model"].tolist()), atol=1e-6)
    assert int(table["unsure"].sum()) == run.unsure_rows
    manifest = json.loads(Path(run.batch, "_MANIFEST.json").read_text())
    assert manifest["label_names"] == list(words)

    later = ScoreConfig(**{**vars(config), "probabilities": False, "min_score": None})
    frame.iloc[:3].assign(review_id=["n0", "n1", "n2"]).to_parquet(tmp_path / "reviews.parquet")
    assert score_once(later, spark).scored_rows == 3
    merged = load_scores(config.output, "all").set_index("review_id")
    assert merged.loc["n0", "probabilities"] is None
    assert len(merged.loc["r0", "probabilities"]) == len(words)


def test_mlflows_own_udf_gives_the_same_labels(tuned, texts, spark):
    words, summary = tuned
    columns = schema.list_prediction_types(tuple(words))
    kind = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    udf = registry.import_mlflow().pyfunc.spark_udf(spark, summary.model_uri, kind, env_manager="local")
    rows = spark.createDataFrame(pd.DataFrame({"n": range(10), "text": texts[:10]}))
    found = rows.withColumn("p", udf("text")).select("n", "p.*").toPandas().sort_values("n")
    expected = loading.load_model(summary.model_uri).predict_columns(texts[:10])
    assert found["label"].tolist() == expected["label"]
    assert found["score"].tolist() == pytest.approx(expected["score"])


def score_once(config, spark):
    with open_store(config.output) as store:
        return run_scoring(config, store, lambda: spark, NOW, lambda *_: None)


def assert_same(found, expected):
    assert list(found.columns) == list(expected.columns)
    for name in expected.columns:
        ours, theirs = found[name].tolist(), expected[name].tolist()
        if name in ("score", "expected"):
            assert pd.Series(ours, dtype=float).tolist() == pytest.approx(
                pd.Series(theirs, dtype=float).tolist(), nan_ok=True
            )
        else:
            assert [None if pd.isna(value) else value for value in ours] == [
                None if pd.isna(value) else value for value in theirs
            ]
