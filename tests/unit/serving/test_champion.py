"""The model that serves, and what a new one must show before it takes its place."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sentiment.errors import ModelError, ModelLoadError, RegistryError
from sentiment.inference.engines import list_cpu_engines, load_engine
from sentiment.inference.minibatches import pad_rows
from sentiment.inference.processor import find_processor
from sentiment.inference.settings import load_settings
from sentiment.models import loading, registry
from sentiment.serving.champion import Champion, load_served_model
from tests.standins import GOOD, StandIn


class Model(StandIn):
    """Gives `row` for each text, and fails on `fails_on`."""

    def __init__(self, row=GOOD, fails_on="nothing"):
        self.row = row
        self.fails_on = fails_on
        self.seen = []

    def predict_one(self, value):
        self.seen.append(value)
        if value == self.fails_on:
            raise ValueError(value)
        return self.row


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Loads a stand-in as if the registry had it, with an input example beside it."""

    def load(model, example=None):
        if example is not None:
            (tmp_path / "serving_input_example.json").write_text(json.dumps(example))
        reference = SimpleNamespace(folder=tmp_path, version="3", uri="models:/m/3")
        monkeypatch.setattr(registry, "resolve_model", lambda uri: reference)
        monkeypatch.setattr(loading, "load_model", lambda *_: model)
        return load_served_model("models:/m@champion", {}, False, None)

    return load


def test_a_new_model_is_warmed_and_answers_its_own_example(load):
    model = Model()
    served = load(model, {"dataframe_split": {"columns": ["text"], "data": [["its example"], [None]]}})
    assert served.reference.version == "3"
    assert model.seen[-2:] == ["its example", None]
    assert len({len(text) for text in model.seen[:-2]}) > 2


@pytest.mark.parametrize(
    "row",
    [
        ("maybe", 0.9, False, 3, False, "encoder", None),
        ("positive", float("nan"), False, 3, False, "encoder", None),
        ("positive", 1.5, False, 3, False, "encoder", None),
        ("positive", None, False, 3, False, "encoder", None),
        (None, None, False, 0, False, None, "some_reason"),
    ],
)
def test_a_model_that_gives_neither_score_nor_reject_is_refused(load, row):
    with pytest.raises(ModelLoadError, match="neither a score nor a reject"):
        load(Model(row))


def test_a_model_that_fails_its_own_example_is_refused_and_its_text_is_not_told(load):
    frame = {"columns": ["text"], "data": [["its example"], ["another"], ["third"]]}
    with pytest.raises(ModelError) as caught:
        load(Model(fails_on="its example"), {"dataframe_split": frame})
    assert "its example" not in str(caught.value)


def test_an_example_that_is_none_is_refused(load):
    with pytest.raises(ModelLoadError, match="expected an input example"):
        load(Model(), {"something": "else"})


def test_a_real_model_is_loaded_checked_and_served(use_tiny_model):
    served = load_served_model("models:/sentiment@champion", {}, False, None)
    carried = load_settings(served.reference.folder / "artifacts" / "encoder")
    name = list_cpu_engines(carried.cpu_engine, find_processor())[0]
    assert (served.reference.version, served.model.engine) == ("1", name)
    engine = load_engine(served.reference.folder / "artifacts" / "encoder", name)
    assert served.model.budget_tokens == engine.budget_tokens
    for n_tokens in (1, 33, 384, 385, 500):
        padded, _ = pad_rows([np.ones(n_tokens, dtype=np.int32)], 0, engine.step_tokens)
        assert served.model.row_cost(n_tokens) == padded.shape[1]


def test_a_uri_without_versions_is_not_looked_at_again():
    model = SimpleNamespace(reference=SimpleNamespace(version="abc"))
    champion = Champion("/a/folder", lambda uri: model, lambda uri: None)
    champion.start()
    assert champion.refresh() is None


def test_a_refused_version_is_tried_again_after_another_one_was_there():
    versions = iter(["2", "2", "1", "2"])
    loads = []

    def load(uri):
        loads.append(uri)
        if len(loads) > 1:
            raise ModelLoadError("broken")
        return SimpleNamespace(reference=SimpleNamespace(version="1"))

    champion = Champion("models:/m@champion", load, lambda uri: next(versions))
    champion.start()
    with pytest.raises(ModelLoadError):
        champion.refresh()
    assert champion.refresh() is None
    assert champion.refresh() is None
    with pytest.raises(ModelLoadError):
        champion.refresh()
    assert champion.current.reference.version == "1"


def test_a_version_whose_download_was_cut_off_is_tried_again():
    ends = iter([None, RegistryError("does not answer"), None])
    versions = iter(["1", "2"])

    def load(uri):
        error = next(ends)
        if error is not None:
            raise error
        return SimpleNamespace(reference=SimpleNamespace(version=next(versions)), version="1")

    champion = Champion("models:/m@champion", load, lambda uri: "2")
    champion.start()
    with pytest.raises(RegistryError):
        champion.refresh()
    assert champion.refused_version is None
    assert champion.refresh().reference.version == "2"
