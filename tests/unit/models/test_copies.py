"""Test private copies of models: where they are, who may read them, and when they are removed."""

import gc
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from sentiment.errors import ModelIntegrityError, ModelLoadError, RegistryError
from sentiment.models import copies, loading, registry
from tests import hostile
from tests.factories import ROOT


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder for temporary files, and a process that has made no copy yet."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(copies, "_roots", {})
    return folder


def run_process(folder: Path, script: str) -> subprocess.Popen:
    """Start a process that makes a copy's folder, prints `ready`, and runs the script."""
    start = "from sentiment.models import copies\ncopies.make_folder()\nprint('ready', flush=True)\n"
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", start + script],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_only_this_user_can_enter_the_folder_of_a_copy(scratch):
    folder = copies.make_folder()
    assert folder.is_relative_to(scratch)
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, folder.parent)] == ["0o700", "0o700"]
    assert copies.make_folder() != folder


def test_a_process_removes_its_copies_when_it_ends(scratch):
    process = run_process(scratch, "")
    assert process.wait(30) == 0
    assert not list(scratch.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(scratch):
    running = run_process(scratch, "input()")
    killed = run_process(scratch, "input()")
    for name in ("another-folder", "sentiment-modelsX"):
        (scratch / name).mkdir()
    (scratch / "sentiment-models-file").touch()
    (scratch / "sentiment-models-link").symlink_to(scratch / "another-folder")
    [one, other] = [path for path in scratch.glob("sentiment-models-*") if (path / "lock").exists()]
    try:
        killed.kill()
        killed.wait(30)
        copies.make_folder()
        assert one.exists() + other.exists() == 1, "only the folder of the process that runs is left"
        assert running.poll() is None
        assert {"another-folder", "sentiment-modelsX", "sentiment-models-file"} <= set(os.listdir(scratch))
    finally:
        for process in (running, killed):
            process.kill()
            process.communicate(timeout=30)


def test_a_folder_that_another_process_took_for_a_leftover_is_not_used(scratch, monkeypatch):
    """Between the making of a folder and its lock, another process may remove it."""
    made = []
    real = tempfile.mkdtemp

    def make_and_lose(*arguments, **options):
        path = real(*arguments, **options)
        made.append(path)
        if len(made) == 1:
            os.rmdir(path)
        return path

    monkeypatch.setattr(copies.tempfile, "mkdtemp", make_and_lose)
    folder = copies.make_folder()
    assert folder.parent == Path(made[1])
    assert copies.lock_file(folder.parent / "lock") is None, "it is locked"


def test_a_forked_child_makes_a_folder_of_its_own_and_leaves_its_parents(scratch):
    script = (
        "import os\nparent = copies._roots[os.getpid()]\nchild = os.fork()\n"
        "if child == 0:\n    assert copies.make_folder().parent != parent\n    raise SystemExit\n"
        "assert os.waitpid(child, 0)[1] == 0\nassert parent.exists()\n"
    )
    process = run_process(scratch, script)
    assert process.wait(30) == 0
    assert not list(scratch.iterdir())


def test_a_copy_is_removed_with_its_model_and_its_code_stays_until_the_process_ends(scratch, use_tiny_model):
    model = loading.load_model(use_tiny_model.uri)
    [root] = scratch.iterdir()
    [weights] = root.glob("*/artifacts")
    del model
    again = loading.load_model(use_tiny_model.uri)  # MLflow itself keeps the model that it loaded last
    gc.collect()
    assert not weights.exists()
    assert (weights.parent / "code").exists()
    assert again.predict_columns(["great phone"])["label"]


def test_a_refused_model_leaves_no_weights(scratch, use_tiny_model, tmp_path):
    shutil.copytree(hostile.find_stored(use_tiny_model.uri), tmp_path / "copy")
    with pytest.raises(ModelIntegrityError):
        loading.load_model(tmp_path / "copy")
    assert not list(scratch.glob("*/*/artifacts"))


def test_a_download_stays_in_the_private_folder(scratch, use_tiny_model):
    """Whatever MLflow downloads, as from a tracking server, must not stay among the temporary files."""
    found = registry.resolve_model(use_tiny_model.uri)
    run = registry.import_mlflow().get_logged_model(found.model_id).source_run_id
    by_run = registry.resolve_model(f"runs:/{run}/model")
    assert by_run.folder.is_relative_to(scratch)
    assert loading.load_model(by_run).engine
    assert [path.name.startswith("sentiment-models-") for path in scratch.iterdir()] == [True]


def test_compiled_modules_of_a_download_are_removed(scratch, use_tiny_model, tmp_path, monkeypatch):
    """No record covers them. Python runs one that claims not to need a check (PEP 552), not its source."""
    source, canary = tmp_path / "source", tmp_path / "canary"
    shutil.copytree(hostile.find_stored(use_tiny_model.uri), source)
    for module in (source / "code").rglob("*.py"):
        hostile_source = tmp_path / "hostile.py"
        hostile_source.write_text(f"open({str(canary)!r}, 'w').close()\n" + module.read_text())
        cache = module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(hostile_source), cfile=str(cache), doraise=True, invalidation_mode=mode)

    def download(artifact_uri, dst_path):
        return shutil.copytree(source, Path(dst_path) / "model")

    monkeypatch.setattr(registry.import_mlflow().artifacts, "download_artifacts", download)
    monkeypatch.setattr(registry, "_locate", lambda uri, version: "mlflow-artifacts:/of/a/server")
    folder = registry.resolve_model(use_tiny_model.uri).folder
    assert folder.name == "model"
    assert not list(folder.rglob("*.pyc"))
    script = f"import mlflow; mlflow.pyfunc.load_model({str(folder)!r})"
    subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert not canary.exists()
    subprocess.run(
        [sys.executable, "-c", script.replace(str(folder), str(source))], capture_output=True, check=True
    )
    assert canary.exists(), "MLflow alone would have run them"


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (ConnectionError("cut off"), RegistryError, "does not answer"),
        (
            PermissionError(13, "Permission denied", "/store/weights"),
            ModelLoadError,
            "cannot read /store/weights",
        ),
    ],
)
def test_a_copy_that_was_cut_off_leaves_nothing(scratch, use_tiny_model, monkeypatch, error, kind, says):
    """A service asks again every half minute: parts of copies would fill the disk."""

    def copy_a_part(source, target):
        (target / "MLmodel").write_text("a part")
        raise error

    monkeypatch.setattr(copies, "copy_model", copy_a_part)
    with pytest.raises(kind, match=says):
        registry.resolve_model(use_tiny_model.uri)
    [root] = scratch.iterdir()
    assert [path.name for path in root.iterdir()] == ["lock"]


def test_a_full_disk_is_an_error_that_names_tmpdir(scratch, use_tiny_model, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "copy_model", fail)
    with pytest.raises(ModelLoadError, match="set TMPDIR"):
        registry.resolve_model(use_tiny_model.uri)


def test_an_archive_holds_the_files_of_the_copy(scratch):
    folder = copies.make_folder()
    (folder / "code").mkdir()
    (folder / "code" / "module.py").write_text("x = 1\n")
    (folder / "MLmodel").write_text("flavors\n")
    with zipfile.ZipFile(copies.pack(folder)) as archive:
        assert sorted(archive.namelist()) == ["MLmodel", "code/module.py"]
        assert archive.read("code/module.py") == b"x = 1\n"


def test_a_copy_has_no_file_that_a_reader_of_the_store_left_there(tmp_path):
    (tmp_path / "model" / "code" / "__pycache__").mkdir(parents=True)
    for name in ("MLmodel", "registered_model_meta", "code/a.py", "code/__pycache__/a.cpython-311.pyc"):
        (tmp_path / "model" / name).write_text(name)
    copies.copy_model(tmp_path / "model", tmp_path / "copy")
    assert sorted(p.name for p in (tmp_path / "copy").rglob("*") if p.is_file()) == ["MLmodel", "a.py"]
