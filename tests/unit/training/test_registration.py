"""A server that fails does not cost a model that took hours."""

import contextlib
import dataclasses
import json
import os
import stat
import tempfile
import threading

import pytest

from sentiment.config import AdaptConfig, AdoptConfig, FinetuneConfig
from sentiment.errors import ConfigError, ModelIntegrityError, RegistryError
from sentiment.evaluation.metrics import Evaluation
from sentiment.models import copies, integrity, loading, registry
from sentiment.models.predictions import predict_each
from sentiment.models.tracking import without_autologging
from sentiment.training import adaptation, adoption, finetuning, registration, starting
from sentiment.training.finetuning import finetune
from sentiment.training.registration import keep, register, register_kept
from sentiment.training.run_log import RunLog, start_run
from tests.factories import make_keys, make_reviews, make_tiny_encoder, using_store

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def serve_mlflow(folder, port=0):
    """Run a tracking server whose database and files are in `folder`; yield it."""
    from mlflow.server import app, handlers
    from werkzeug.serving import make_server

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/server.db")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", (folder / "artifacts").as_uri())
        # In this process the server must not point the client at its database.
        patch.setattr(handlers.utils, "set_tracking_uri", lambda uri: None)
        patch.setattr(handlers.registry_utils, "set_registry_uri", lambda uri: None)
        patch.setattr(handlers, "_tracking_store", None)
        patch.setattr(handlers, "_model_registry_store", None)
        server = make_server("127.0.0.1", port, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def make_config(folder, **values):
    make_reviews(240).to_parquet(folder / "train.parquet")
    encoder = make_tiny_encoder(folder / "encoder", initializer_range=0.05)
    given = {"lr": 3e-3, "epochs": 2, "max_length": 32, "cascade": "off", "alias": "champion"}
    return FinetuneConfig(
        dataset_name=str(folder / "train.parquet"), distilbert_model=str(encoder), **{**given, **values}
    )


@pytest.mark.reliability
def test_a_server_that_dies_in_training_costs_no_model(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr(copies, "_roots", {})
    config = make_config(tmp_path)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serve_mlflow(tmp_path))
        address = f"http://127.0.0.1:{server.port}"
        with using_store(address):

            def die(stage, *_):
                if stage == "fine-tuning":
                    stack.close()

            with pytest.raises(RegistryError, match="does not answer.*finetune.py --register") as caught:
                finetune(config, die, kept=tmp_path / "unregistered")
            [kept] = (tmp_path / "unregistered").iterdir()
            assert str(kept) in str(caught.value)
            assert caught.value.summary["model_uri"] == str(kept)
            assert 0 < caught.value.summary["test"]["accuracy"] <= 1
            assert registry.import_mlflow().active_run() is None
            with pytest.raises(RegistryError, match="does not answer"):
                register_kept(kept)
            with serve_mlflow(tmp_path, server.port):
                found = register_kept(kept, "challenger")
                assert (found["model_uri"], found["alias"]) == ("models:/sentiment/1", "challenger")
                assert not kept.exists()
                # Neither a run that failed nor one that registered leaves a copy of the model.
                assert not list((tmp_path / "scratch").rglob("*.safetensors"))
                model = loading.load_model("models:/sentiment@challenger")
                assert predict_each(model, ["good", "bad"])["label"].notna().all()
                [run] = registry.import_mlflow().search_runs(
                    output_format="list", search_all_experiments=True
                )
                assert run.info.status == "FINISHED"
                assert run.data.metrics["test_accuracy"] == found["test"]["accuracy"]
                [data] = run.inputs.dataset_inputs
                assert data.dataset.name == config.dataset_name
                assert data.dataset.digest == found["data_digest"]
                assert len(data.dataset.source) < 1_000


def test_a_model_whose_alias_failed_gets_it_later_and_no_other_version(tracking, tmp_path, monkeypatch):
    def deny(name, alias, version):
        raise RegistryError(f"alias {alias!r}: permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_alias", deny)
        with pytest.raises(RegistryError, match="denied.*finetune.py --register"):
            finetune(make_config(tmp_path), lambda *_: None, kept=tmp_path / "unregistered")
    pytest.importorskip("model_signing", reason="NOT RUN: the extra `signing` is not installed")
    [kept] = (tmp_path / "unregistered").iterdir()
    facts = json.loads((kept / "unregistered.json").read_text())
    # The folder of the report may be gone, and the model can be signed now.
    key, _ = make_keys(tmp_path, "ours")
    facts["config"] |= {"report": str(tmp_path / "gone" / "report.html"), "signing_key": str(key)}
    (kept / "unregistered.json").write_text(json.dumps(facts))
    found = register_kept(kept)
    assert (found["model_uri"], found["model_version"]) == ("models:/sentiment/1", "1")
    client = registry.import_mlflow().MlflowClient()
    assert [each.version for each in client.search_model_versions("name='sentiment'")] == [1]
    champion = registry.resolve_model("models:/sentiment@champion")
    assert champion.version == "1"
    assert champion.signature is not None
    assert found["run_id"] == client.get_model_version("sentiment", "1").run_id


def test_only_a_version_of_the_run_with_the_same_files_is_used_again(tracking):
    client = registry.import_mlflow().MlflowClient()
    client.create_registered_model("m")
    runs = [client.create_run(client.create_experiment(name)).info.run_id for name in "ab"]
    files = {"artifacts/encoder/config.json": "0" * 64}
    tags = integrity.pack_tags(registry.FILES_TAG, integrity.dump_record({**files, "MLmodel": "1" * 64}))
    for run_id, given in ((runs[0], tags), (runs[0], {}), (runs[1], {})):
        client.create_model_version("m", source="file:///nowhere", run_id=run_id, tags=given)
    assert [registry.find_version_with("m", run_id, files) for run_id in (*runs, "x")] == ["1", None, None]
    changed = dict.fromkeys(files, "2" * 64)
    assert registry.find_version_with("m", runs[0], changed) is None


class StubEncoder:
    name, licence = "a", "b"


@pytest.fixture
def kept(tracking, tmp_path, monkeypatch):
    """Keep a folder of two files as a model, which can be registered without one."""
    monkeypatch.setattr(registration, "register", lambda folder, encoder, config, text_col: "1")
    (tmp_path / "encoder").mkdir()
    for name in ("config.json", "vocabulary.json"):
        (tmp_path / "encoder" / name).write_text(name)
    test = {"rows": 1, "accuracy": 1.0, "f1_weighted": 1.0, "f1_by_label": {}, "confusion": []}
    fields = {field.name: None for field in dataclasses.fields(Evaluation)} | test
    summary = {"run_id": "0" * 32, "notes": [], "test": fields}
    monkeypatch.setattr(Evaluation, "as_metrics", lambda self: {"accuracy": self.accuracy})
    return keep(tmp_path / "encoder", StubEncoder(), FinetuneConfig(), "text", summary, tmp_path / "kept")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder: (folder / "config.json").write_text("other"), "changed: 'config.json'"),
        (lambda folder: (folder / "vocabulary.json").unlink(), "missing: 'vocabulary.json'"),
        (lambda folder: (folder / "more.json").touch(), "extra: 'more.json'"),
    ],
)
def test_a_kept_model_that_has_changed_is_not_registered_with_its_old_figures(kept, change, named):
    change(kept / "encoder")
    with pytest.raises(ModelIntegrityError, match=rf"not the files that were kept and tested \({named}\)"):
        register_kept(kept)
    assert (kept / "unregistered.json").is_file()
    assert registry.import_mlflow().search_runs(search_all_experiments=True, output_format="list") == []


def test_a_model_kept_without_digests_is_registered_with_a_note_and_stays(kept):
    facts = json.loads((kept / "unregistered.json").read_text())
    (kept / "unregistered.json").write_text(json.dumps({**facts, "files": None}))
    [note] = register_kept(kept)["notes"]
    assert "an earlier version kept this model without digests" in note
    assert (kept / "encoder").is_dir()
    (kept / "unregistered.json").write_text(json.dumps(facts))
    assert register_kept(kept, name="other")["model_uri"] == "models:/other/1"
    assert not kept.exists()


def test_the_name_of_a_prompt_is_refused_before_the_training_and_another_one_may_be_given(kept, tmp_path):
    mlflow = registry.import_mlflow()
    mlflow.genai.register_prompt(name="sentiment", template="{{text}}")
    for ask in (
        lambda: starting.load_first_encoder(FinetuneConfig(distilbert_model="not read")),
        lambda: adoption.adopt(AdoptConfig(model="not read"), lambda *_: None),
        lambda: register_kept(kept),
    ):
        with pytest.raises(ConfigError, match="'sentiment', an MLflow prompt; pass another --registered_"):
            ask()
    assert kept.is_dir()
    assert register_kept(kept, name="other")["model_name"] == "other"


def test_autologging_is_off_in_jobs_that_train(monkeypatch, tmp_path, kept):
    from mlflow.utils import autologging_utils

    class StoppedError(Exception):
        pass

    def stop(*_, **__):
        assert autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED
        raise StoppedError

    monkeypatch.setattr(finetuning, "connect", stop)
    monkeypatch.setattr(adaptation, "check_output", stop)
    monkeypatch.setattr(registry, "open_experiment", stop)
    given = {"input": str(tmp_path), "output": str(tmp_path / "out")}
    for job in (
        lambda: finetune(FinetuneConfig(), stop),
        lambda: adaptation.adapt(AdaptConfig(**given), stop),
        lambda: adoption.adopt(AdoptConfig(model="any"), stop),
        lambda: register_kept(kept),
    ):
        with pytest.raises(StoppedError):
            job()
        assert not autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED


def test_autologging_that_was_off_stays_off(tracking):
    from mlflow.utils import autologging_utils

    with autologging_utils.disable_autologging():
        with without_autologging():
            pass
        assert autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED


def test_a_folder_that_holds_no_kept_model_is_a_config_error(tracking, tmp_path):
    for content in (None, "{", "[]"):
        if content is not None:
            (tmp_path / "unregistered.json").write_text(content)
        with pytest.raises(ConfigError, match="register: cannot read"):
            register_kept(tmp_path)


class Entries:
    """A server that takes entries, or not."""

    def __init__(self):
        self.is_up = True
        self.taken = []

    def take(self, name):
        if not self.is_up:
            raise ConnectionError("refused")
        self.taken.append(name)


def test_entries_wait_for_a_server_and_keep_their_order():
    server, now = Entries(), [0.0]
    log = RunLog("run", clock=lambda: now[0])
    log._facts.add(lambda: server.take(1))
    server.is_up = False
    log._facts.add(lambda: server.take(2))
    server.is_up = True
    log._facts.add(lambda: server.take(3))  # it is not asked again at once
    assert (server.taken, log.unlogged) == ([1], 2)
    assert log.notes == (
        "2 entries of the MLflow run are lost: the tracking server does not answer (ConnectionError); check "
        "the server and MLFLOW_TRACKING_URI",
    )
    now[0] = 121.0
    log._facts.add(lambda: server.take(4))
    assert (server.taken, log.unlogged, log.notes) == ([1, 2, 3, 4], 0, ())


def test_an_artifact_that_fails_keeps_no_metric_waiting(tracking, monkeypatch):
    registry.open_experiment("tests")
    mlflow = registry.import_mlflow()

    class StoreError(Exception):
        pass

    def fail(*_):
        raise StoreError

    monkeypatch.setattr(mlflow, "log_dict", fail)
    with start_run() as log:
        log.log_dict({}, "data.json")
        log.log_metrics({"loss": 1.0})
    assert log.notes == ("1 artifacts of the MLflow run are lost: the artifact store failed (StoreError)",)
    run = mlflow.get_run(log.run_id)
    assert (run.data.metrics, run.info.status) == ({"loss": 1.0}, "FINISHED")


@pytest.mark.parametrize("deleted", ["run", "experiment"])
def test_a_run_that_is_deleted_does_not_end_the_training(tracking, tmp_path, deleted):
    registry.open_experiment("tests")
    mlflow = registry.import_mlflow()
    client = mlflow.MlflowClient()
    with start_run() as log:
        if deleted == "run":
            client.delete_run(log.run_id)
        else:
            client.delete_experiment(mlflow.active_run().info.experiment_id)
        log.log_metrics({"loss": 1.0})
        log.log_params({"lr": 1})
        with pytest.raises(RegistryError, match=f"the run {log.run_id} was deleted meanwhile"):
            register(tmp_path, StubEncoder(), FinetuneConfig(), "text")
    assert log.notes == (
        "3 entries of the MLflow run are lost: the tracking server no longer has this run, which was deleted",
    )
    assert mlflow.active_run() is None
    assert client.search_registered_models() == []


def test_a_run_that_is_restored_gets_what_was_logged_meanwhile(tracking):
    registry.open_experiment("tests")
    client = registry.import_mlflow().MlflowClient()
    with start_run() as log:
        client.delete_run(log.run_id)
        log.log_metrics({"loss": 1.0})
        client.restore_run(log.run_id)
    assert (log.notes, client.get_run(log.run_id).data.metrics) == ((), {"loss": 1.0})


def test_an_error_that_is_not_the_servers_is_raised():
    def fail():
        raise TypeError("a defect")

    with pytest.raises(TypeError):
        RunLog("run")._facts.add(fail)


def test_an_entry_that_raises_ends_the_run_and_is_not_tried_again(tracking):
    registry.open_experiment("tests")
    mlflow = registry.import_mlflow()
    mlflow.start_run()
    log = RunLog(mlflow.active_run().info.run_id)
    log.log_params({"lr": 1})
    with pytest.raises(ConfigError, match=f"MLflow run {log.run_id}: .* found lr '1'"):
        log.log_params({"lr": 2})
    log.end("FAILED")
    assert (log.unlogged, mlflow.active_run()) == (0, None)
    assert mlflow.get_run(log.run_id).info.status == "FAILED"


def test_a_run_that_fails_is_shown_as_failed(tracking):
    registry.open_experiment("tests")
    with pytest.raises(ZeroDivisionError), start_run() as log:
        raise ZeroDivisionError
    assert registry.import_mlflow().get_run(log.run_id).info.status == "FAILED"


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def list_modes(folder):
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_decides_who_may_read_a_logged_model(tracking, tmp_path, umask, mask, mode):
    from sentiment.training.encoders import load_encoder
    from sentiment.training.packaging import log_model, save_encoder

    umask(mask)
    encoder = load_encoder(str(make_tiny_encoder(tmp_path / "source")), 32, 1)
    save_encoder(encoder, tmp_path / "encoder", 32)
    registry.open_experiment("tests")
    with start_run():
        log_model(tmp_path / "encoder", encoder, FinetuneConfig(max_length=32), "text")
    stored = tmp_path / "tracking" / "artifacts"
    assert list(stored.rglob("model.safetensors"))
    assert list_modes(stored) == {mode}


@pytest.mark.parametrize("name", ["it's", "größe 100% a%20b"])
def test_a_model_may_have_any_name_that_is_not_refused(tracking, tmp_path, name):
    from sentiment.training.encoders import load_encoder
    from sentiment.training.packaging import save_encoder

    config = FinetuneConfig(max_length=32, registered_model_name=name, alias="champion")
    encoder = load_encoder(str(make_tiny_encoder(tmp_path / "source")), 32, 1)
    save_encoder(encoder, tmp_path / "encoder", 32)
    registry.open_experiment(name)
    with start_run():
        register(tmp_path / "encoder", encoder, config, "text")
    for uri in (f"models:/{name}@champion", f"models:/{name}/1", f"models:/{name}/latest"):
        found = registry.resolve_model(uri)
        assert (found.version, found.files is not None) == ("1", True)


def test_what_the_summary_says_is_written_to_a_file(tmp_path):
    """The folder of a kept model is read by another process."""
    encoder = StubEncoder()
    (tmp_path / "encoder").mkdir()
    summary = {"run_id": "0123456789", "x": 1}
    kept = keep(tmp_path / "encoder", encoder, FinetuneConfig(), "text", summary, tmp_path / "k")
    facts = json.loads((kept / "unregistered.json").read_text())
    assert facts["summary"] == summary
    assert FinetuneConfig(**facts["config"]) == FinetuneConfig()
    (tmp_path / "file").touch()
    elsewhere = keep(tmp_path / "encoder", encoder, FinetuneConfig(), "text", summary, tmp_path / "file")
    assert elsewhere.is_dir()
    assert "sentiment-unregistered-" in elsewhere.name
