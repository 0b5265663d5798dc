"""What a model says of values, and what becomes of those it fails on."""

import json
import math

import pandas as pd
import pytest

from sentiment import schema
from sentiment.errors import ModelError
from sentiment.predictions import list_predictions, make_reject, predict_each


class BrittleModel:
    """Fails on every mini-batch that holds one of `bad`."""

    def __init__(self, *bad):
        self.bad = set(bad)
        self.calls = 0

    def predict(self, frame):
        self.calls += 1
        if self.bad & set(frame["text"]):
            raise ValueError(f"cannot read {self.bad}")
        n = len(frame)
        columns = {"label": ["positive"] * n, "score": [0.9] * n, "n_tokens": [1] * n}
        more = {"truncated": [False] * n, "stage": ["encoder"] * n, "reject_reason": [None] * n}
        return pd.DataFrame(columns | more)


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_a_text_that_breaks_the_model_is_rejected_alone(n):
    texts = pd.Series([f"t{i}" for i in range(n)])
    model = BrittleModel("t0")
    found = predict_each(model, texts)
    assert found[schema.REJECT_REASON].tolist() == [schema.MODEL_FAILED] + [None] * (n - 1)
    assert found[schema.LABEL].tolist() == [None] + ["positive"] * (n - 1)
    assert list(found.columns) == list(schema.PREDICTION_COLUMNS)
    assert model.calls <= 16


def test_a_model_that_fails_on_everything_is_a_model_error_and_soon():
    texts = pd.Series([f"t{i}" for i in range(5000)])
    model = BrittleModel(*texts)
    with pytest.raises(ModelError) as caught:
        predict_each(model, texts)
    assert "t0" not in str(caught.value)
    assert model.calls < 60


def test_a_model_that_fails_on_most_of_a_few_texts_is_a_model_error():
    with pytest.raises(ModelError):
        predict_each(BrittleModel("a", "b"), pd.Series(["a", "b", "c"]))


def test_predictions_are_json_with_none_where_there_is_nothing():
    class Model:
        def predict(self, frame):
            columns = {"label": ["positive", None], "score": [0.9, math.nan], "n_tokens": [3, 0]}
            more = {
                "truncated": [False, False],
                "stage": ["encoder", None],
                "reject_reason": [None, "null_text"],
            }
            return pd.DataFrame(columns | more)

    found = list_predictions(Model(), ["a", None])
    assert json.loads(json.dumps(found)) == found
    assert found[0]["score"] == 0.9
    assert found[1] == make_reject(schema.NULL_TEXT)
    assert list_predictions(Model(), []) == []
