"""What a model says of values, and what becomes of those it fails on."""

import json
import math

import pytest

from sentiment import schema
from sentiment.errors import ModelError
from sentiment.models.predictions import list_predictions, predict_each
from tests.standins import GOOD, StandIn


class BrittleModel(StandIn):
    """Fails on every mini-batch that holds one of `bad`."""

    def __init__(self, *bad):
        self.bad = set(bad)
        self.calls = 0

    def predict_columns(self, values):
        self.calls += 1
        if self.bad & set(values):
            raise ValueError(f"cannot read {self.bad}")
        return super().predict_columns(values)


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_a_text_that_breaks_the_model_is_rejected_alone(n):
    texts = [f"t{i}" for i in range(n)]
    model = BrittleModel("t0")
    found = predict_each(model, texts)
    assert found[schema.REJECT_REASON].tolist() == [schema.MODEL_FAILED] + [None] * (n - 1)
    assert found[schema.LABEL].tolist() == [None] + ["positive"] * (n - 1)
    assert tuple(found.columns) == model.columns
    assert model.calls <= 16


def test_a_model_that_fails_on_everything_is_a_model_error_and_soon():
    texts = [f"t{i}" for i in range(5000)]
    model = BrittleModel(*texts)
    with pytest.raises(ModelError) as caught:
        predict_each(model, texts)
    assert "t0" not in str(caught.value)
    assert model.calls < 60


def test_a_model_that_fails_on_most_of_a_few_texts_is_a_model_error():
    with pytest.raises(ModelError):
        predict_each(BrittleModel("a", "b"), ["a", "b", "c"])


def test_predictions_are_json_with_none_where_there_is_nothing():
    class Model(StandIn):
        def predict_one(self, value):
            return GOOD if value else (None, math.nan, False, 0, False, None, schema.NULL_TEXT)

    found = list_predictions(Model(), ["a", None])
    assert json.loads(json.dumps(found)) == found
    assert found[0]["score"] == 0.9
    empty = dict.fromkeys((schema.LABEL, schema.SCORE, schema.STAGE))
    assert found[1] == {
        **empty,
        schema.UNSURE: False,
        schema.N_TOKENS: 0,
        schema.TRUNCATED: False,
        schema.REJECT_REASON: schema.NULL_TEXT,
    }
    assert list_predictions(Model(), []) == []


def test_a_model_that_breaks_its_contract_is_an_error_and_no_reject():
    class Model(StandIn):
        def predict_columns(self, values):
            return {schema.LABEL: ["positive"]}

    for ask in (predict_each, list_predictions):
        with pytest.raises(ModelError, match="not a sentiment model"):
            ask(Model(), ["a"])


def test_the_types_of_the_columns_do_not_depend_on_the_rows():
    for texts in (["a"], ["bad"], ["a", "b", "bad"]):
        assert predict_each(BrittleModel("bad"), texts).dtypes[schema.SCORE] == "float64"
