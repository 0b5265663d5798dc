"""A rule about text holds at every door; the table's and the service's are in tests/spark and tests/web."""

from pathlib import Path

import mlflow
import pytest

import score
from sentiment import schema
from sentiment.dashboard import model as dashboard
from sentiment.inference.predictor import Predictor
from sentiment.models import registry

LONG = "good " * 200_001
DOORS = {
    "predictor": lambda uri, texts: _make_predictor(uri).predict(texts),
    "mlflow": lambda uri, texts: mlflow.pyfunc.load_model(uri).predict(texts),
    "app": lambda uri, texts: dashboard.predict(dashboard.open_model(uri, Path()), texts),
}


def _make_predictor(uri, **options):
    return Predictor(registry.resolve_model(uri).folder / "artifacts" / "encoder", **options)


@pytest.mark.parametrize("door", DOORS)
def test_a_text_of_more_than_a_million_characters_is_a_reject(door, use_tiny_model):
    found = DOORS[door](use_tiny_model.uri, [LONG[:1_000_000], LONG, "good"])
    assert found[schema.REJECT_REASON].tolist() == [None, schema.TOO_LONG_TEXT, None]


def test_a_text_of_more_than_a_million_characters_is_a_reject_of_score_py(use_tiny_model, monkeypatch):
    monkeypatch.setenv("SENTIMENT_MODEL_URI", use_tiny_model.uri)
    assert score.predict_sentiment(LONG)["reject_reason"] == schema.TOO_LONG_TEXT


def test_the_limit_is_an_option_of_the_model(use_tiny_model):
    texts = ["good " * 2, "good " * 2 + "."]
    configured = mlflow.pyfunc.load_model(use_tiny_model.uri, model_config={"max_text_chars": 10})
    for found in (
        configured.predict(texts),
        _make_predictor(use_tiny_model.uri, max_text_chars=10).predict(texts),
    ):
        assert found[schema.REJECT_REASON].tolist() == [None, schema.TOO_LONG_TEXT]
