"""What a Spark Python worker does by itself, without Spark."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from sentiment import schema
from sentiment.errors import ModelError
from sentiment.tables import session, worker


class Census:
    def __init__(self):
        self.engines = []
        self.tasks = 0

    def note_worker(self):
        self.tasks += 1

    def note_load(self, engine):
        self.engines.append(engine)


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    monkeypatch.setattr(worker, "_loaded", {})
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "unset")


def test_a_model_is_loaded_once_a_process_for_the_same_options(tiny_model):
    census = Census()
    texts = pd.Series(["great phone", None])
    for options, loads in (({}, 1), ({}, 1), ({"cascade": "off"}, 2), ({"cascade": "off"}, 2)):
        score = worker.make_scorer(worker.ModelPlace(_folder(tiny_model)), {"threads": 1, **options}, census)
        [predictions] = list(score(iter([texts])))
        assert predictions[schema.LABEL].notna().tolist() == [True, False]
        assert len(census.engines) == loads
    assert census.tasks == 4
    assert len(worker._loaded) == 1
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"


def _folder(tiny_model):
    from sentiment import registry

    registry.import_mlflow().set_tracking_uri(tiny_model.tracking_uri)
    return str(registry.resolve_model(tiny_model.uri).folder)


@pytest.mark.parametrize(
    ("task", "device"),
    [
        (None, "cpu"),
        (SimpleNamespace(resources=dict), "cpu"),
        (SimpleNamespace(resources=lambda: {"gpu": SimpleNamespace(addresses=["1"])}), "cuda:1"),
    ],
)
def test_a_gpu_is_the_one_that_spark_assigned_or_none(monkeypatch, task, device):
    monkeypatch.setattr(worker.TaskContext, "get", lambda: task)
    assert worker._find_device() == device


@pytest.mark.parametrize(("has_gpu", "task_cpus"), [(True, {"spark.task.cpus": "8"}), (False, {})])
def test_on_one_machine_a_task_that_owns_the_gpu_owns_every_core(monkeypatch, tmp_path, has_gpu, task_cpus):
    driver = tmp_path / "version"
    if has_gpu:
        driver.touch()
    monkeypatch.setattr(session, "_NVIDIA_DRIVER", driver)
    monkeypatch.setattr(session.os, "cpu_count", lambda: 8)
    assert session._share_gpu() == task_cpus


def test_the_age_of_a_process_counts_from_its_start():
    script = "import time; time.sleep(0.3); import sentiment.tables.worker as w"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; print(w._seconds_since_process_start())"],
        capture_output=True,
        text=True,
    )
    assert 0.3 < float(done.stdout) < 600


@pytest.mark.parametrize(("python", "is_ours"), [(sys.executable, True), ("/usr/bin/other", False)])
def test_workers_of_another_interpreter_keep_sparks_own_parent(monkeypatch, python, is_ours):
    monkeypatch.setenv("PYSPARK_PYTHON", python)
    assert session._is_installed() == is_ours


def test_the_parent_of_workers_can_be_imported_without_starting_one():
    done = subprocess.run(
        [sys.executable, "-c", "import sentiment.tables.daemon"], capture_output=True, timeout=120
    )
    assert done.returncode == 0


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
    found = worker.predict_each(model, texts)
    assert found[schema.REJECT_REASON].tolist() == [schema.MODEL_FAILED] + [None] * (n - 1)
    assert found[schema.LABEL].tolist() == [None] + ["positive"] * (n - 1)
    assert list(found.columns) == list(schema.PREDICTION_COLUMNS)
    assert model.calls <= 16


def test_a_model_that_fails_on_everything_is_a_model_error_and_soon():
    texts = pd.Series([f"t{i}" for i in range(5000)])
    model = BrittleModel(*texts)
    with pytest.raises(ModelError) as caught:
        worker.predict_each(model, texts)
    assert "t0" not in str(caught.value)
    assert model.calls < 60


def test_a_model_that_fails_on_most_of_a_few_texts_is_a_model_error():
    with pytest.raises(ModelError):
        worker.predict_each(BrittleModel("a", "b"), pd.Series(["a", "b", "c"]))
