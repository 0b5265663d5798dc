"""A model whose graphs compute wrongly, used by all entry points: job, REST, `score.py`, app, MLflow."""

import json
import logging
import os
import sys
from pathlib import Path

import pytest

from sentiment.inference.processor import find_processor
from sentiment.models import loading, registry
from sentiment.serving.champion import load_served_model
from tests.e2e.conftest import BIN, run_command, run_python
from tests.factories import ROOT, make_reviews
from tests.hostile import damage_graph, register_copy

WARNING = "engine reference runs"
HERE = find_processor()


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    """Register a copy of the tiny model with damaged graphs, and return tracking URI and model URI."""
    folder = tmp_path_factory.mktemp("damaged")
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = tiny_model.tracking_uri
    try:
        registry.use_tracking(ROOT)
        uri = register_copy(tiny_model.uri, folder / "model", "damaged", change=damage_graphs)
    finally:
        if before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before
    return tiny_model.tracking_uri, uri


def damage_graphs(folder):
    graphs = list((folder / "artifacts" / "encoder").glob("*.xml"))
    assert graphs, "the tiny model carries a graph"
    for graph in graphs:
        damage_graph(graph)


@pytest.fixture
def use_model(model, monkeypatch):
    """The damaged model's URI, with MLflow pointed at it in this process."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", model[0])
    registry.use_tracking(ROOT)
    return model[1]


@pytest.fixture
def without_torch(tmp_path):
    """Return the environment of a process without torch."""
    (tmp_path / "sitecustomize.py").write_text("import sys\n\nsys.modules['torch'] = None\n")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


def run_scoring(model, tmp_path, **environment):
    tracking_uri, uri = model
    make_reviews(60).to_parquet(tmp_path / "reviews.parquet")
    return run_command(
        *(BIN / "spark-submit", "jobs/score_reviews.py", "--input", tmp_path / "reviews.parquet"),
        *("--output", tmp_path / "scores", "--summary", tmp_path / "score.json", "--model_uri", uri),
        *("--cascade", "off"),
        MLFLOW_TRACKING_URI=tracking_uri,
        **environment,
    )


def test_the_job_scores_with_the_next_engine_and_says_so_once(model, tmp_path, use_tiny_model):
    done = run_scoring(model, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(WARNING) == 1
    summary = json.loads((tmp_path / "score.json").read_text())
    assert summary["engines"] == ["reference"]
    assert summary["instruction_sets"] == [HERE.instruction_set]
    assert [WARNING in warning for warning in summary["warnings"]] == [True]
    manifest = json.loads((Path(summary["batch"]) / "_MANIFEST.json").read_text())
    assert manifest["engines"] == [f"reference on {HERE.instruction_set}"]


@pytest.mark.reliability  # the service and score.py show the same with all tests, in less time
def test_the_job_ends_with_4_and_names_the_flags_if_no_engine_is_right(model, tmp_path, without_torch):
    done = run_scoring(model, tmp_path, **without_torch)
    assert done.returncode == 4, done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert str(HERE) in error
    assert not list((tmp_path / "scores").glob("model=*"))


@pytest.mark.parametrize("is_installed", [True, False])
def test_score_py(model, is_installed, without_torch):
    environment = {"MLFLOW_TRACKING_URI": model[0], "SENTIMENT_MODEL_URI": model[1]}
    done = run_python("score.py", "--json", **environment, **({} if is_installed else without_torch))
    if is_installed:
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(WARNING) == 1
        assert json.loads(done.stdout)["label"] in ("negative", "positive")
    else:
        assert done.returncode == 4
        assert str(HERE) in done.stderr


def test_the_service_refuses_to_start_if_no_engine_is_right(model, without_torch):
    done = run_python(
        *("score.py", "--serve", "--port", "0", "--model_uri", model[1]),
        MLFLOW_TRACKING_URI=model[0],
        **without_torch,
    )
    assert done.returncode == 4
    assert str(HERE) in done.stderr


def test_the_service_knows_which_engine_serves_and_why(use_model):
    served = load_served_model(use_model, {}, False, None)
    model = served.model
    assert (model.engine, model.instruction_set) == ("reference", HERE.instruction_set)
    assert WARNING in model.engine_warning


def test_the_app_shows_the_warning(use_model):
    from sentiment.dashboard.model import open_model

    used = open_model(use_model, ROOT)
    assert used.model.engine == "reference"
    assert WARNING in used.model.engine_warning


def test_plain_mlflow_warns_once(model):
    script = f"import mlflow; print(mlflow.pyfunc.load_model({model[1]!r}).predict(['great phone']).label[0])"
    done = run_python("-c", script, MLFLOW_TRACKING_URI=model[0], PYTHONPATH="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("negative", "positive")
    assert done.stderr.count(WARNING) == 1


def test_a_program_may_silence_the_warning_and_report_it_itself(use_model, caplog):
    level = logging.getLogger(loading.MODEL_LOGGER).level
    try:
        loading.silence_engine_warning()
        model = loading.load_model(use_model)
    finally:
        logging.getLogger(loading.MODEL_LOGGER).setLevel(level)
    assert WARNING not in caplog.text
    assert WARNING in model.engine_warning
    assert "torch" in sys.modules, "the reference engine runs"
