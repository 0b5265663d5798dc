"""What a Spark Python worker does by itself, without Spark."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from sentiment import schema
from sentiment.models import registry
from sentiment.schema import PREDICTION_TYPES
from sentiment.tables import session, worker

pytestmark = pytest.mark.slow


class Census:
    def __init__(self):
        self.loads = self.rows = 0
        self.engines = []

    def note_worker(self, model):
        self.engines.append(model.engine)

    def note_load(self, seconds):
        assert seconds > 0
        self.loads += 1

    def note_rows(self, n_rows):
        self.rows += n_rows


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    monkeypatch.setattr(worker, "_loaded", {})
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "unset")


def test_a_model_is_loaded_once_per_process_for_the_same_options(use_tiny_model):
    census = Census()
    texts = pd.Series(["great phone", None])
    found = registry.resolve_model(use_tiny_model.uri)
    for options, loads in (({}, 1), ({}, 1), ({"cascade": "off"}, 2), ({"cascade": "off"}, 2)):
        score = worker.make_scorer(share(found, {"threads": 1, **options}), census)
        [predictions] = list(score(iter([texts])))
        assert predictions[schema.LABEL].notna().tolist() == [True, False]
        assert census.loads == loads
    assert len(census.engines) == 4, "one per task"
    assert census.rows == 4 * len(texts)
    assert len(worker._loaded) == 1
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"


def share(found, options):
    return worker.share_model(Session("local[*]"), found, options, PREDICTION_TYPES)


class Session:
    """A Spark session of a master; remembers the archives that it ships."""

    def __init__(self, master, task_cpus=1):
        self.archives = []
        self.sparkContext = SimpleNamespace(master=master, addArchive=self.archives.append)
        self.conf = SimpleNamespace(get={"spark.task.cpus": str(task_cpus)}.get)


def make_reference(folder):
    return registry.ModelReference("models:/m/1", "1", folder, "m-1", None)


def test_workers_of_this_machine_read_the_folder_that_the_driver_verified(tmp_path):
    session = Session("local[*,4]")
    shared = worker.share_model(session, make_reference(tmp_path), {}, PREDICTION_TYPES)
    assert (worker._find_folder(shared.place), session.archives) == (tmp_path, [])


def test_spark_ships_the_verified_folder_to_the_executors_of_a_cluster(tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors")
    session = Session("spark://host:7077")
    shared = worker.share_model(session, make_reference(folder), {"engine": "int8"}, PREDICTION_TYPES)
    [archive] = session.archives
    path, _, name = archive.partition("#")
    monkeypatch.setattr(worker.SparkFiles, "getRootDirectory", lambda: str(tmp_path / "executor"))
    shutil.unpack_archive(path, tmp_path / "executor" / name)
    assert (worker._find_folder(shared.place) / "MLmodel").read_text() == "flavors"
    assert shared.options == {"engine": "int8", "threads": 1}


@pytest.mark.parametrize(
    ("master", "task_cpus", "options"),
    [
        ("local[*]", 1, {"threads": 1}),
        ("local[*]", 8, {"threads": 8, "device": "auto"}),
        ("spark://host:7077", 8, {"threads": 8}),
    ],
)
def test_a_task_uses_as_many_threads_as_it_owns_cores(monkeypatch, master, task_cpus, options):
    """On one machine with one task for all cores, the model looks for the GPU."""
    monkeypatch.setattr(session.os, "cpu_count", lambda: 8)
    assert session.find_resources(Session(master, task_cpus)) == options


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
