"""What a Spark Python worker does by itself, without Spark."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from sentiment import schema
from sentiment.errors import ModelIntegrityError
from sentiment.models import integrity, registry
from sentiment.tables import session, worker
from tests import hostile


class Census:
    def __init__(self):
        self.loads = 0
        self.engines = []

    def note_worker(self, model):
        self.engines.append(model.engine)

    def note_load(self):
        self.loads += 1


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    monkeypatch.setattr(worker, "_loaded", {})
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "unset")


@pytest.fixture
def executor(monkeypatch, tmp_path):
    """The executor's own folder."""
    folder = tmp_path / "executor"
    folder.mkdir()
    monkeypatch.setattr(worker, "_find_executor_folder", lambda: folder)
    return folder


def test_a_model_is_loaded_once_a_process_for_the_same_options(use_tiny_model, executor):
    census = Census()
    texts = pd.Series(["great phone", None])
    place = _place(registry.resolve_model(use_tiny_model.uri))
    for options, loads in (({}, 1), ({}, 1), ({"cascade": "off"}, 2), ({"cascade": "off"}, 2)):
        score = worker.make_scorer(place, {"threads": 1, **options}, census)
        [predictions] = list(score(iter([texts])))
        assert predictions[schema.LABEL].notna().tolist() == [True, False]
        assert census.loads == loads
    assert len(census.engines) == 4, "one a task"
    assert len(worker._loaded) == 1
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"


def _place(reference):
    return worker.ModelPlace(str(reference.folder), reference.files)


@pytest.mark.parametrize("kind", hostile.HOSTILE)
def test_a_worker_refuses_what_was_tampered_with_since_the_driver_looked(
    use_tiny_model, executor, tmp_path, kind
):
    found = registry.resolve_model(use_tiny_model.uri)
    copy, canary = tmp_path / "copy", tmp_path / "canary"
    shutil.copytree(found.folder, copy)
    place = worker.ModelPlace(str(copy), found.files)
    worker._check_once(copy, found.files)
    hostile.HOSTILE[kind](copy, canary)
    score = worker.make_scorer(place, {"threads": 1}, Census())
    with pytest.raises(ModelIntegrityError):
        next(score(iter([pd.Series(["great phone"])])))
    assert not canary.exists()
    assert not hostile.list_imported(copy)


def test_a_model_that_a_worker_has_fetched_is_checked_where_it_lies(
    use_tiny_model, executor, monkeypatch, tmp_path
):
    found = registry.resolve_model(use_tiny_model.uri)
    canary = tmp_path / "canary"

    def fetch_other(uri, tracking_uri, target):
        shutil.copytree(found.folder, target)
        hostile.HOSTILE["custom_code"](target, canary)

    monkeypatch.setattr(worker, "fetch_model", fetch_other)
    source = worker.FetchFrom(found.pinned_uri, use_tiny_model.tracking_uri, found.model_id)
    place = worker.ModelPlace("/not/on/this/machine", found.files, source)
    census = SimpleNamespace(note_worker=lambda: None, note_fetch=lambda: None)
    with pytest.raises(ModelIntegrityError, match="changed: 'sentiment_model.py'"):
        next(worker.make_scorer(place, {}, census)(iter([pd.Series(["great phone"])])))
    assert not canary.exists()


def test_a_model_without_a_record_that_the_driver_allowed_has_a_shape_to_keep(
    use_tiny_model, executor, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, copy)
    worker._check_once(copy, None)
    hostile.HOSTILE["symlink"](copy, tmp_path / "canary")
    with pytest.raises(ModelIntegrityError):
        worker._check_once(copy, None)


def test_the_workers_of_an_executor_hash_the_weights_once(executor, monkeypatch, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"x" * (1 << 20))
    (model / "small").touch()
    record = integrity.make_record(model)
    monkeypatch.setattr(worker, "check_shape", lambda folder: None)
    monkeypatch.setattr(integrity, "_SETTLED_NS", -1)
    read = []
    real = integrity._digest
    monkeypatch.setattr(integrity, "_digest", lambda path: read.append(path.name) or real(path))
    for _ in range(3):
        worker._check_once(model, record)
    assert read == ["small", "weights", "small", "small"]
    [known] = executor.glob(".checked-*.json")
    known.write_text('{"weights": [1')  # a worker was killed while it wrote
    worker._check_once(model, record)
    assert read[-2:] == ["small", "weights"]
    (model / "weights").write_bytes(b"y" * (1 << 20))
    with pytest.raises(ModelIntegrityError):
        worker._check_once(model, record)


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


def test_the_parent_of_workers_has_what_they_will_need_and_starts_none_when_it_is_imported():
    names = ("mlflow.pyfunc", "openvino", "tokenizers", "pandas", "torch", "transformers")
    script = "import sys; from sentiment.tables.daemon import preload; preload()"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; print(*(n for n in {names} if n in sys.modules))"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["mlflow.pyfunc", "openvino", "tokenizers", "pandas"]


def test_the_parent_of_workers_does_without_libraries_that_are_not_here():
    script = (
        "import sys; sys.modules['tokenizers'] = None; from sentiment.tables.daemon import preload; preload()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
