"""Models that this project logged before they offered all that is asked of a model now."""

import json
import logging
import shutil
import warnings
from pathlib import Path

import pytest
import yaml

from sentiment import schema
from sentiment.errors import ModelLoadError
from sentiment.inference.processor import Processor, find_processor
from sentiment.models import loading, registry
from sentiment.models.earlier import find_safe_engine, is_earlier
from sentiment.models.predictions import list_predictions, predict_each
from sentiment.serving.champion import load_served_model
from tests.factories import read_signal_stack

pytestmark = pytest.mark.slow

TEXTS = ["great phone", None, "awful battery"]


@pytest.fixture
def earlier(use_tiny_model, tmp_path):
    """The tiny model as an earlier version logged it: without the option, the costs and the columns."""
    folder = tmp_path / "earlier"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, folder)
    content = yaml.safe_load((folder / "MLmodel").read_text())
    for option in ("max_text_chars", "min_score", "target_accuracy", "probabilities", "output"):
        del content["flavors"]["python_function"]["config"][option]
    (folder / "MLmodel").write_text(yaml.safe_dump(content))
    [package] = (folder / "code").glob("sentiment_model_*")
    code = package / "inference" / "pyfunc.py"
    source = code.read_text()
    for name in ("def row_cost", "def predict_columns", "def budget_tokens"):
        assert name in source
        source = source.replace(name, f"{name}_unknown")
    code.write_text(source)
    engine = package / "inference" / "engines" / "openvino.py"
    guard = "    @keeping_signal_stack()\n"
    assert guard in engine.read_text()
    engine.write_text(engine.read_text().replace(guard, ""))
    shutil.move(package, package.with_name("sentiment_model_earlier"))
    entry = folder / "sentiment_model.py"
    entry.write_text(entry.read_text().replace(package.name, "sentiment_model_earlier"))
    return str(folder)


def test_an_earlier_model_gives_the_predictions_that_it_always_gave(earlier, use_tiny_model):
    model = loading.load_model(earlier, allow_unverified=True)
    known = loading.load_model(use_tiny_model.uri)
    assert not is_earlier(registry.resolve_model(use_tiny_model.uri).folder)
    assert list_predictions(model, TEXTS) == list_predictions(known, TEXTS)
    assert (model.engine, model.labels, model.columns) == (known.engine, known.labels, known.columns)
    assert (model.budget_tokens, model.row_cost(33), model.row_cost(400)) == (512, 64, 448)


def test_an_earlier_model_leaves_the_process_its_signal_stack(earlier):
    before = read_signal_stack()
    model = loading.load_model(earlier, {"engine": "f32"}, allow_unverified=True)
    assert (model.engine, read_signal_stack()) == ("f32", before)


def test_the_limit_of_a_text_holds_for_an_earlier_model_too(earlier, caplog):
    with caplog.at_level(logging.WARNING):
        model = loading.load_model(earlier, {"max_text_chars": 12}, allow_unverified=True)
    assert not caplog.records, "MLflow has been told of an option that the model does not know"
    found = predict_each(model, TEXTS)[schema.REJECT_REASON].tolist()
    assert found == [None, schema.NULL_TEXT, schema.TOO_LONG_TEXT]
    default = loading.load_model(earlier, allow_unverified=True)
    assert predict_each(default, ["good " * 200_001])[schema.REJECT_REASON].tolist() == ["too_long_text"]


def test_the_scores_of_an_earlier_model_can_be_unsure_too(earlier):
    options = {"min_score": 0.9, "probabilities": True}
    found = predict_each(loading.load_model(earlier, options, allow_unverified=True), ["good the", "bad bad"])
    assert found[schema.UNSURE].tolist() == (found[schema.SCORE] < 0.9).tolist()
    for label, score, both in found[["label", "score", "probabilities"]].itertuples(index=False):
        assert both[schema.POLARITY_LABELS.index(label)] == score
        assert sum(both) == pytest.approx(1)
    with pytest.raises(ModelLoadError, match="fine-tune again"):
        loading.load_model(earlier, {"target_accuracy": 0.9}, allow_unverified=True)


def test_an_option_that_the_model_states_reaches_it(earlier):
    path = Path(earlier) / "MLmodel"
    content = yaml.safe_load(path.read_text())
    content["flavors"]["python_function"]["config"]["max_text_chars"] = 12
    path.write_text(yaml.safe_dump(content))
    model = loading.load_model(earlier, {"max_text_chars": 2_000_000}, allow_unverified=True)
    assert predict_each(model, ["good " * 220_000])[schema.LABEL].notna().all()


def test_a_model_that_chooses_by_processor_keeps_its_choice(earlier, monkeypatch):
    """Such a model states where it passed the gate."""
    settings = Path(earlier) / "artifacts" / "encoder" / "inference.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "cpu_engine": "int8_static"}))
    monkeypatch.setattr(
        "sentiment.inference.processor.find_processor", lambda: Processor("avx2", ("avx2",), False)
    )
    assert find_safe_engine(Path(earlier)) is None


def test_an_earlier_model_can_be_served(earlier):
    served = load_served_model(earlier, {"streams": 1}, True, None)
    assert served.model.instruction_set == find_processor().instruction_set
    assert served.model.engine_warning is None or "saturate" in served.model.engine_warning


def test_an_earlier_model_runs_no_int8_that_saturates(earlier, monkeypatch, caplog):
    settings = Path(earlier) / "artifacts" / "encoder" / "inference.json"
    content = json.loads(settings.read_text())
    del content["gated_on"]
    monkeypatch.setattr(
        "sentiment.inference.processor.find_processor", lambda: Processor("avx2", ("avx2",), False)
    )
    settings.write_text(json.dumps({**content, "cpu_engine": "int8"}))
    assert find_safe_engine(Path(earlier)) is None
    settings.write_text(json.dumps({**content, "cpu_engine": "int8_static"}))
    engine, warning = find_safe_engine(Path(earlier))
    assert engine == "int8"
    with caplog.at_level(logging.WARNING):
        model = loading.load_model(earlier, allow_unverified=True)
    assert model.engine_warning == warning
    assert caplog.text.count("saturate") == 1


OTHER = """
import mlflow

class Other(mlflow.pyfunc.PythonModel):
    engine = "none"

    def predict(self, context, model_input, params=None):
        return model_input

mlflow.models.set_model(Other())
"""


def test_a_model_of_something_else_is_refused_when_it_is_loaded(tracking, tmp_path):
    (tmp_path / "other.py").write_text(OTHER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would rather have type hints
        registry.import_mlflow().pyfunc.save_model(
            tmp_path / "model", python_model=str(tmp_path / "other.py"), pip_requirements=["pandas"]
        )
    with pytest.raises(ModelLoadError, match="is not a sentiment model.*found no budget_tokens"):
        loading.load_model(tmp_path / "model", allow_unverified=True)
