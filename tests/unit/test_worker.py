"""What a Spark Python worker does by itself, without Spark."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from sentiment import schema
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
