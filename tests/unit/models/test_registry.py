import contextlib
import http.server
import json
import logging
import os
import py_compile
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from sentiment.errors import (
    ConfigError,
    ModelError,
    ModelIntegrityError,
    ModelLoadError,
    ModelNotFoundError,
    RegistryError,
)
from sentiment.models import integrity, loading, registry, tracking
from sentiment.models.predictions import predict_columns, predict_each
from tests import hostile
from tests.factories import ROOT, make_keys
from tests.standins import StandIn

pytestmark = pytest.mark.slow


def test_a_preset_tracking_server_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/preset.db")
    assert registry.use_tracking(tmp_path / "home") == f"sqlite:///{tmp_path}/preset.db"
    assert not (tmp_path / "home").exists()


def test_without_one_it_is_sqlite_under_var(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert registry.use_tracking(tmp_path) == f"sqlite:///{tmp_path}/var/mlflow.db"


def test_files_of_an_experiment_lie_beside_the_database(tracking, tmp_path):
    registry.open_experiment("tests")
    experiment = registry.import_mlflow().get_experiment_by_name("tests")
    assert experiment.artifact_location == (tmp_path / "tracking" / "artifacts").as_uri()


def test_an_alias_resolves_to_its_version_and_folder(use_tiny_model):
    found = registry.resolve_model("models:/sentiment@champion")
    assert found.version == "1"
    assert found.text_col == "text"
    assert (found.folder / "MLmodel").is_file()
    by_version = registry.resolve_model("models:/sentiment/1")
    assert by_version.model_id == found.model_id
    assert registry.resolve_model("models:/sentiment/latest").version == "1"


def test_a_folder_is_a_model_without_a_registry(use_tiny_model):
    found = registry.resolve_model("models:/sentiment/1")
    by_folder = registry.resolve_model(str(found.folder))
    assert by_folder.model_id == found.model_id
    assert found.model_id.replace("-", "").startswith(by_folder.version)


@pytest.mark.parametrize("uri", ["models:/none@champion", "models:/sentiment@none", "models:/sentiment/99"])
def test_a_model_that_is_not_there_is_an_error_with_the_next_step(use_tiny_model, uri):
    with pytest.raises(ModelNotFoundError, match="fine-tune one with"):
        registry.resolve_model(uri)


@pytest.mark.parametrize("stage", ["Production", "Staging", "Archived", "None", "Latest", "LATEST"])
def test_a_stage_is_refused_with_the_alias_to_use(use_tiny_model, stage):
    for ask in (registry.resolve_model, registry.find_version):
        with pytest.raises(ModelNotFoundError, match=f"stage '{stage}'.*models:/sentiment@champion"):
            ask(f"models:/sentiment/{stage}")


@pytest.mark.parametrize("uri", ["models:/sentiment", "models:/sentiment/", "models:/sentiment/1/2"])
def test_a_uri_without_a_version_is_refused_with_the_form_to_use(use_tiny_model, uri):
    with pytest.raises(
        ModelNotFoundError, match="expected models:/sentiment@ALIAS, models:/sentiment/NUMBER"
    ):
        registry.resolve_model(uri)


@pytest.fixture
def use_server(monkeypatch):
    """Point MLflow at a server that answers every request with a status."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = registry.import_mlflow().get_tracking_uri()
    with contextlib.ExitStack() as stack:

        def use(status):
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(status)
                    self.end_headers()

                do_POST = do_GET  # noqa: N815

                def log_message(self, *_):
                    pass

            server = stack.enter_context(http.server.HTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            registry.import_mlflow().set_tracking_uri(f"http://127.0.0.1:{server.server_port}")

        yield use
    registry.import_mlflow().set_tracking_uri(before)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refused the credentials"),
        (403, "refused the credentials"),
        (404, "does not answer"),
        (503, "answered with the status 503"),
    ],
)
def test_a_server_that_does_not_give_an_answer_is_not_a_missing_model(use_server, status, says):
    use_server(status)
    for ask in (registry.resolve_model, registry.find_version):
        with pytest.raises(RegistryError, match=says) as caught:
            ask("models:/sentiment@champion")
        assert "fine-tune" not in str(caught.value)
        assert caught.value.exit_code == 4
    with pytest.raises(RegistryError, match=says):
        registry.open_experiment("tests")


def test_a_server_that_is_not_there_is_not_a_missing_model(monkeypatch, use_server):
    registry.import_mlflow().set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(RegistryError, match="http://127.0.0.1:9 does not answer"):
        registry.resolve_model("models:/sentiment@champion")


def test_a_database_of_another_version_is_named_as_such(use_tiny_model, monkeypatch):
    def fail(uri):
        raise registry.import_mlflow().exceptions.MlflowException("Detected out-of-date database schema (…)")

    monkeypatch.setattr(registry, "_find_registered_version", fail)
    with pytest.raises(RegistryError, match="mlflow db upgrade"):
        registry.find_version("models:/sentiment@champion")


def test_an_error_shows_no_password(monkeypatch):
    for uri, shown in (
        ("https://user:secret@tracking.example/path?x=1", "https://tracking.example/path?x=1"),
        ("postgresql://user:se/cr@t#?@host:5432/db", "postgresql://host:5432/db"),
        (
            "mysql+pymysql://host/db?ssl=1&password=secret&x=2",
            "mysql+pymysql://host/db?ssl=1&password=***&x=2",
        ),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("http://tracking.example:5000", "http://tracking.example:5000"),
    ):
        assert tracking.without_password(uri) == shown


def test_a_folder_that_is_no_model_is_an_error(use_tiny_model, tmp_path):
    with pytest.raises(ModelNotFoundError):
        registry.resolve_model(str(tmp_path))


def test_a_model_that_cannot_be_loaded_is_an_error(use_tiny_model, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, copy)
    (copy / "artifacts" / "encoder" / "inference.json").write_bytes(b"damaged")
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        loading.load_model(copy, allow_unverified=True)


def test_a_broken_model_file_is_no_model(use_tiny_model, tmp_path):
    for content in ("flavors: {}\n", "a: [\n", "- 1\n"):
        (tmp_path / "MLmodel").write_text(content)
        with pytest.raises(ModelNotFoundError):
            registry.resolve_model(str(tmp_path))


class Foreign(StandIn):
    """A model that answers, or raises, what it was made with."""

    def __init__(self, answer):
        self._answer = answer

    def predict_columns(self, values):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ValueError("cannot read 'a secret'"), "failed while it scored: ValueError"),
        ({"label": ["positive"]}, "not a sentiment model"),
        (["positive"], "not a sentiment model"),
    ],
)
def test_a_model_that_breaks_its_contract_is_an_error_that_quotes_nothing(answer, says):
    with pytest.raises(ModelError, match=says) as caught:
        predict_columns(Foreign(answer), ["a secret"])
    assert "secret" not in str(caught.value)


def test_rows_out_are_rows_in(use_tiny_model):
    model = loading.load_model(use_tiny_model.uri)
    predictions = predict_columns(model, ["great phone", None])
    assert predictions["reject_reason"] == [None, "null_text"]
    with pytest.raises(ModelError, match="expected 3 rows"):
        predict_each(Foreign(predictions), ["a", "b", "c"])


@pytest.fixture
def copied(tmp_path, use_tiny_model):
    """A copy of the tiny model, registered with a record; its URI. Its folder is the stored artifact."""
    return hostile.register_copy(use_tiny_model.uri, tmp_path / "copied", f"copied-{uuid.uuid4().hex}")


def delete_tag(uri, tag):
    registry.import_mlflow().MlflowClient().delete_model_version_tag(*name_and_version(uri), tag)


def name_and_version(uri):
    return uri.removeprefix("models:/").split("/")


def test_fine_tuning_records_what_a_copy_has(use_tiny_model):
    found = registry.resolve_model(use_tiny_model.uri)
    assert "MLmodel" in found.files
    assert "artifacts/encoder/graph.bin" in found.files
    assert not any("registered_model_meta" in path or "__pycache__" in path for path in found.files)
    assert integrity.make_record(found.folder) == found.files


def test_the_record_is_found_by_each_uri_of_the_model_and_not_by_a_folder(use_tiny_model):
    found = registry.resolve_model("models:/sentiment@champion")
    logged = registry.import_mlflow().get_logged_model(found.model_id)
    for uri in (use_tiny_model.uri, f"models:/{found.model_id}", f"runs:/{logged.source_run_id}/model"):
        assert registry.resolve_model(uri).files == found.files, uri
    assert registry.resolve_model(str(found.folder)).files is None


def test_a_run_has_no_record_but_its_own_models(use_tiny_model):
    """The files say which model they are: another run's record is not theirs."""
    found = registry.resolve_model(use_tiny_model.uri)
    metadata = registry.import_mlflow().models.Model.load(str(found.folder))
    assert registry._read_tags("runs:/0123456789abcdef/model", None, metadata) == {}


def test_a_model_without_a_record_is_refused_unless_that_is_allowed(copied):
    delete_tag(copied, registry.FILES_TAG)
    with pytest.raises(ModelIntegrityError, match="no record of this model's files") as caught:
        loading.load_model(copied)
    assert "--allow_unverified" in str(caught.value)
    assert caught.value.exit_code == 4
    assert predict_each(loading.load_model(copied, allow_unverified=True), ["good"]).size
    with pytest.raises(ModelIntegrityError, match="no record"):
        loading.load_model(hostile.find_stored(copied))


def test_a_copy_is_recorded_as_itself_and_not_as_the_model_it_was_copied_from(use_tiny_model, copied):
    """Its MLmodel holds the other's id, whose record must not become that of whatever the copy is now."""
    found = registry.resolve_model(use_tiny_model.uri)
    (hostile.find_stored(copied) / "added").touch()
    delete_tag(copied, registry.FILES_TAG)
    assert "added" in registry.record_model(*name_and_version(copied))
    assert registry.resolve_model(f"models:/{found.model_id}").files == found.files


def test_a_damaged_record_is_refused_whatever_is_allowed(copied):
    delete_tag(copied, f"{registry.FILES_TAG}.0")
    with pytest.raises(ModelIntegrityError, match="damaged"):
        loading.load_model(copied, allow_unverified=True)


def test_a_version_has_one_record_for_good(copied):
    found = registry.resolve_model(copied)
    assert registry.record_model(*name_and_version(copied)) == found.files
    (hostile.find_stored(copied) / "added").touch()
    with pytest.raises(ModelIntegrityError, match="has a record already"):
        registry.record_model(*name_and_version(copied))


def test_a_store_that_has_not_kept_what_it_was_given_is_found_when_it_is_recorded(copied, tmp_path):
    delete_tag(copied, registry.FILES_TAG)
    logged = tmp_path / "logged"
    shutil.copytree(registry.resolve_model(copied).folder, logged)
    (logged / "requirements.txt").write_text("other\n")
    with pytest.raises(ModelIntegrityError, match="changed: 'requirements.txt'"):
        registry.record_model(*name_and_version(copied), logged)
    with pytest.raises(ModelIntegrityError, match="changed: 'MLmodel'"):
        registry.record_model(*name_and_version(copied), given={"MLmodel": "0" * 64})
    assert registry.resolve_model(copied).files is None


@pytest.mark.parametrize("kind", hostile.HOSTILE)
def test_a_model_that_was_tampered_with_is_refused_before_anything_of_it_runs(copied, tmp_path, kind):
    canary = tmp_path / "canary"
    hostile.damage_version(copied, kind, canary)
    for allowed in (False, True):
        with pytest.raises(ModelError) as caught:
            loading.load_model(copied, allow_unverified=allowed)
        assert isinstance(caught.value, ModelIntegrityError)
        assert not canary.exists()
    assert not hostile.list_imported(tmp_path)


def test_nothing_is_written_into_a_store_that_a_model_is_read_from(copied, tmp_path):
    """MLflow writes a file there, and through a link that somebody has put in its place."""
    folder, victim = tmp_path / "copied", tmp_path / "victim"
    victim.write_text("untouched")
    (folder / "registered_model_meta").unlink(missing_ok=True)
    loading.load_model(copied)
    assert not (folder / "registered_model_meta").exists()
    (folder / "registered_model_meta").symlink_to(victim)
    with pytest.raises(ModelIntegrityError, match="'registered_model_meta' is a link"):
        loading.load_model(copied)
    assert victim.read_text() == "untouched"


@pytest.mark.parametrize("kind", hostile.SHAPELESS)
def test_some_are_refused_by_their_shape_alone(use_tiny_model, tmp_path, kind):
    copy, canary = tmp_path / "copy", tmp_path / "canary"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, copy)
    hostile.HOSTILE[kind](copy, canary)
    with pytest.raises(ModelIntegrityError):
        loading.load_model(copy, allow_unverified=True)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["pickle", "loader_module", "custom_code", "path_outside", "symlink"])
def test_mlflow_alone_would_have_run_it(use_tiny_model, tmp_path, kind):
    """So the canary of the tests above can sing."""
    copy, canary = tmp_path / "copy", tmp_path / "canary"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, copy)
    hostile.HOSTILE[kind](copy, canary)
    script = f"import mlflow; mlflow.pyfunc.load_model({str(copy)!r})"
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}
    subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert canary.exists()


@pytest.mark.parametrize("kind", hostile.HOSTILE)
def test_the_scoring_job_ends_with_4_and_starts_no_spark(
    copied, tmp_path, write_parquet, kind, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(str(ROOT))
    from jobs import score_reviews
    from sentiment.cli import run_job
    from sentiment.config import ScoreConfig
    from sentiment.tables import session

    def fail(*_, **__):
        raise AssertionError("Spark was started")

    monkeypatch.setattr(session, "build_session", fail)
    hostile.damage_version(copied, kind, tmp_path / "canary")
    arguments = ["--input", write_parquet({"review_id": ["a"], "text": ["good"]})]
    arguments += ["--output", str(tmp_path / "scores"), "--model_uri", copied]
    code = run_job(
        ScoreConfig, ROOT / "conf" / "score.yaml", score_reviews.run, score_reviews.show, arguments
    )
    assert code == 4
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "scores").exists()


def test_a_model_with_other_versions_loads_with_a_warning(copied, caplog):
    folder = registry.resolve_model(copied).folder
    (folder / "requirements.txt").write_text("pandas==1.0.0\n")
    with caplog.at_level(logging.WARNING):
        loading.load_checked(folder)
    assert "pandas==1.0.0" in caplog.text


def load_in_a_new_process(uri, then=""):
    """Load a model as a job does; print the modules of it that were imported, by file."""
    script = (
        "import json, sys; from sentiment.models import loading, predictions, registry\n"
        f"registry.import_mlflow().set_tracking_uri({registry.import_mlflow().get_tracking_uri()!r})\n"
        f"model = loading.load_model({uri!r})\n{then}\n"
        "predictions.predict_each(model, ['good'])\n"
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('sentiment_model')]))"
    )
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_compiled_modules_of_a_store_are_neither_read_nor_written(copied, tmp_path):
    """A plain MLflow user leaves them in a local store, and anyone could have put others there."""
    folder = hostile.find_stored(copied)
    done = load_in_a_new_process(copied)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) > 5
    assert not list(folder.rglob("__pycache__"))
    canary = tmp_path / "canary"
    for module in [*(folder / "code").rglob("*.py"), folder / "sentiment_model.py"]:
        hostile_source = tmp_path / "hostile.py"
        hostile_source.write_text(f"open({str(canary)!r}, 'w').close()\n" + module.read_text())
        cache = module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc"
        py_compile.compile(str(hostile_source), cfile=str(cache), doraise=True)
        # As if it were compiled from the source next to it: its time and size (PEP 552).
        content = bytearray(cache.read_bytes())
        content[8:12] = (int(module.stat().st_mtime) & 0xFFFFFFFF).to_bytes(4, "little")
        content[12:16] = (module.stat().st_size & 0xFFFFFFFF).to_bytes(4, "little")
        cache.write_bytes(content)
    done = load_in_a_new_process(copied)
    assert done.returncode == 0, done.stderr
    assert not canary.exists()
    plain = f"import mlflow; mlflow.pyfunc.load_model({str(folder)!r})"
    subprocess.run([sys.executable, "-c", plain], capture_output=True, check=True)
    assert canary.exists(), "MLflow alone would have read them"


def test_what_changes_in_the_store_after_the_check_is_not_loaded(copied, tmp_path):
    folder = hostile.find_stored(copied)
    package = next((folder / "code").iterdir())
    canary = tmp_path / "canary"
    module = package / "inference" / "engines" / "packed.py"
    assert module.exists()
    late = (
        f"open({str(module)!r}, 'w').write(\"open({str(canary)!r}, 'w')\")\n"
        f"open({str(folder / 'code' / 'planted.py')!r}, 'w').write(\"open({str(canary)!r}, 'w')\")\n"
        f"import {package.name}.inference.engines.packed\n"
        "try:\n    import planted\nexcept ImportError:\n    pass\n"
    )
    done = load_in_a_new_process(copied, late)
    assert done.returncode == 0, done.stderr
    assert not canary.exists()
    imported = json.loads(done.stdout)
    assert not [file for file in imported if Path(file).is_relative_to(folder)]


def test_find_version_asks_the_registry_alone(use_tiny_model, monkeypatch):
    mlflow = registry.import_mlflow()
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", None)
    assert registry.find_version("models:/sentiment@champion") == "1"
    assert registry.find_version("models:/sentiment/latest") == "1"
    assert registry.find_version("models:/sentiment/1") == "1"
    assert registry.find_version("/some/folder") is None
    assert registry.find_version("runs:/abc/model") is None
    with pytest.raises(ModelNotFoundError, match="fine-tune one with"):
        registry.find_version("models:/sentiment@none")
    with pytest.raises(ModelNotFoundError):
        registry.find_version("models:/none/latest")


def test_the_environment_allows_only_with_1(monkeypatch):
    for value, allowed in ((None, False), ("", False), ("0", False), ("false", False), ("1", True)):
        monkeypatch.delenv(loading.ALLOW_UNVERIFIED_VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(loading.ALLOW_UNVERIFIED_VARIABLE, value)
        assert loading.allows_unverified() is allowed
    monkeypatch.setenv(loading.VERIFY_KEY_VARIABLE, "")
    assert loading.find_verify_key() is None


@pytest.fixture
def keys(tmp_path):
    pytest.importorskip("model_signing", reason="NOT RUN: the extra `signing` is not installed")
    return make_keys(tmp_path, "ours")


def test_a_signed_model_is_loaded_with_its_key_and_with_no_other(copied, keys, tmp_path):
    private, public = keys
    registry.record_model(*name_and_version(copied), signing_key=private)
    loading.load_model(copied, verify_key=public)
    (hostile.find_stored(copied) / "registered_model_meta").write_text("later: true\n")
    loading.load_model(copied, verify_key=str(public))
    _, other = make_keys(tmp_path, "theirs")
    with pytest.raises(ModelIntegrityError, match="another key"):
        loading.load_model(copied, verify_key=other)


def test_an_unsigned_model_is_refused_where_a_key_is_demanded(copied, keys):
    _, public = keys
    for allowed in (False, True):
        with pytest.raises(ModelIntegrityError, match="no signature"):
            loading.load_model(copied, allow_unverified=allowed, verify_key=public)


def test_a_signature_is_of_the_files_whatever_the_record_says(copied, keys):
    """Who can write both the store and the registry can record other files, and not sign them."""
    private, public = keys
    registry.record_model(*name_and_version(copied), signing_key=private)
    with open(hostile.find_stored(copied) / "sentiment_model.py", "a") as module:
        module.write("# changed\n")
    delete_tag(copied, registry.FILES_TAG)
    registry.record_model(*name_and_version(copied))
    loading.check_model(registry.resolve_model(copied))
    with pytest.raises(ModelIntegrityError, match="for other files"):
        loading.check_model(registry.resolve_model(copied), verify_key=public)


@pytest.mark.parametrize("content", [None, b"", b"no key"])
def test_a_key_that_cannot_be_used_is_a_configuration_error(copied, keys, tmp_path, content):
    key = tmp_path / "bad.pem"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(ConfigError, match="verify_key"):
        loading.check_model(registry.resolve_model(copied), verify_key=key)
    with pytest.raises(ConfigError, match="signing_key"):
        registry.record_model(*name_and_version(copied), signing_key=key)


def test_a_damaged_signature_is_refused(copied, keys):
    _, public = keys
    client = registry.import_mlflow().MlflowClient()
    for text in ("{}", "[", '{"mediaType": 1}'):
        for tag, value in integrity.pack_tags(registry.SIGNATURE_TAG, text).items():
            client.set_model_version_tag(*name_and_version(copied), tag, value)
        with pytest.raises(ModelIntegrityError, match="signature"):
            loading.check_model(registry.resolve_model(copied), verify_key=public)
