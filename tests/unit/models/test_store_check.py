"""A tracking store that cannot be used is found before any work, and named by its cause."""

import contextlib
import http.server
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from sentiment.errors import ConfigError, ModelNotFoundError, RegistryError
from sentiment.models import mlflow_errors, registry, store_check
from sentiment.process.locks import lock_file
from tests.factories import ROOT, using_store

pytestmark = pytest.mark.slow


@pytest.fixture
def use_store():
    """Point MLflow at a store for the test."""
    before = registry.import_mlflow().get_tracking_uri()
    yield registry.import_mlflow().set_tracking_uri
    registry.import_mlflow().set_tracking_uri(before)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Make a database with an experiment, and return its path."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with using_store(f"sqlite:///{path}"):
        registry.open_experiment("tests")
    return path


@pytest.fixture
def copied(database, tmp_path):
    """Return a copy of the database, so that no engine has it open."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(database.read_bytes())
    return path


def execute(path, statement):
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "update alembic_version set version_num = '451aebb31d03'",
            "another MLflow version .*db upgrade sqlite",
        ),
        (
            "update alembic_version set version_num = 'ffffffffffff'",
            "install the MLflow version that made it",
        ),
        ("delete from alembic_version", "another MLflow version .None.*db upgrade sqlite"),
    ],
)
@pytest.mark.parametrize("will_write", [False, True])
def test_a_database_of_another_version_is_not_changed(copied, use_store, statement, says, will_write):
    execute(copied, statement)
    before = copied.read_bytes()
    use_store(f"sqlite:///{copied}")
    with pytest.raises(RegistryError, match=says):
        store_check.check_store(will_write)
    assert copied.read_bytes() == before


def test_an_old_database_that_mlflow_would_upgrade_unasked_is_not_changed(copied, use_store):
    """MLflow migrates it if a table is missing, and then its older versions cannot use it."""
    execute(copied, "update alembic_version set version_num = '451aebb31d03'")
    execute(copied, "drop table webhook_events")
    use_store(f"sqlite:///{copied}")
    with pytest.raises(RegistryError, match="mlflow db upgrade"):
        store_check.check_store(will_write=True)


@pytest.mark.parametrize("will_write", [False, True])
def test_a_file_that_is_no_database_is_named(tmp_path, use_store, will_write):
    (tmp_path / "mlflow.db").write_text("not a database " * 100)
    use_store(f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(RegistryError, match=r"mlflow.db is not a database, or damaged"):
        store_check.check_store(will_write)


def test_a_database_of_something_else_is_left_alone(tmp_path, use_store):
    execute(tmp_path / "shop.db", "create table orders (id int)")
    use_store(f"sqlite:///{tmp_path}/shop.db")
    with pytest.raises(RegistryError, match="has 1 tables, but none of MLflow"):
        store_check.check_store(will_write=True)


def test_a_folder_in_place_of_a_database_is_named(tmp_path, use_store):
    use_store(f"sqlite:///{tmp_path}")
    with pytest.raises(RegistryError, match="cannot be opened"):
        store_check.check_store()


def test_a_new_database_is_made_only_to_be_written(tmp_path, use_store):
    use_store(f"sqlite:///{tmp_path}/var/mlflow.db")
    assert not store_check.check_store()
    with pytest.raises(ModelNotFoundError, match="fine-tune one with"):
        registry.resolve_model("models:/sentiment@champion")
    assert not (tmp_path / "var").exists()


def test_a_database_that_may_not_be_written_can_still_be_read(copied, use_store, monkeypatch):
    use_store(f"sqlite:///{copied}")
    monkeypatch.setattr(os, "access", lambda path, mode: path != copied)  # root may write any file
    store_check.check_store()
    with pytest.raises(RegistryError, match=r"mlflow.db cannot be written .Permission denied"):
        store_check.check_store(will_write=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('FATAL:  password authentication failed for user "me"', "refused the credentials; check user"),
        ("(1045, \"Access denied for user 'me'@'host'\")", "refused the credentials; check user"),
        (
            "connection to server at host failed: Connection refused",
            "cannot be used .OperationalError.; check",
        ),
        ("database is locked", "locked by another process"),
    ],
)
def test_databases_that_refuse_are_named_by_cause(text, says):
    import sqlalchemy

    error = sqlalchemy.exc.OperationalError("select 1", {}, Exception(text))
    assert re.search(says, store_check._explain_database(error))


def test_a_driver_that_is_not_installed_is_named(use_store):
    use_store("mysql+pymysql://me:secret@127.0.0.1:9/mlflow")
    with pytest.raises(RegistryError, match="needs the Python package pymysql") as caught:
        store_check.check_store()
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_within_seconds(use_store, monkeypatch):
    use_store("http://me:secret@127.0.0.1:9")
    waits, sleep = [], time.sleep

    def wait(seconds):
        # Threads of libraries, which other tests have left, also sleep.
        if threading.current_thread() is threading.main_thread():
            waits.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr(time, "sleep", wait)
    for ask in (lambda: registry.resolve_model("models:/a@b"), lambda: registry.open_experiment("tests")):
        with pytest.raises(RegistryError, match="http://127.0.0.1:9 does not answer") as caught:
            ask()
        assert "secret" not in str(caught.value)
    assert sum(waits) < 5, "MLflow's own retries take minutes"


def test_a_server_that_takes_no_connection_is_said_within_seconds(use_store, monkeypatch):
    monkeypatch.setattr(store_check, "_CONNECT_SECONDS", 0.2)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        port = busy.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # fills its queue, so that others must wait
            use_store(f"http://127.0.0.1:{port}")
            with pytest.raises(RegistryError, match="does not answer .ConnectTimeout"):
                store_check.check_store()


def test_a_server_that_accepts_and_sends_nothing_is_not_waited_for(use_store, monkeypatch):
    monkeypatch.setattr(store_check, "_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_store(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(RegistryError, match="does not answer .ReadTimeout"):
            store_check.check_store()


def test_a_deleted_experiment_is_a_config_error_that_says_how_to_restore_it(copied, use_store):
    use_store(f"sqlite:///{copied}")
    mlflow = registry.import_mlflow()
    found = mlflow.get_experiment_by_name("tests")
    mlflow.delete_experiment(found.experiment_id)
    with pytest.raises(ConfigError, match=f"restore it with .*--experiment-id {found.experiment_id}"):
        registry.open_experiment("tests")


def test_a_run_that_the_job_cannot_use_is_found_at_the_start(copied, use_store, monkeypatch):
    """After the data was read, a job ended with INTERNAL_ERROR, or with "failed (Exception)"."""
    use_store(f"sqlite:///{copied}")
    mlflow = registry.import_mlflow()
    other = mlflow.create_experiment("other", artifact_location=copied.parent.as_uri())
    run = mlflow.start_run(experiment_id=other)
    with pytest.raises(ConfigError, match=f"run {run.info.run_id} is active in this process"):
        registry.open_experiment("tests")
    mlflow.end_run()
    for run_id, found in ((run.info.run_id, f"one of experiment {other}"), ("0" * 32, "none with")):
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        with pytest.raises(ConfigError, match=f"MLFLOW_RUN_ID: expected one of experiment .*{found}"):
            registry.open_experiment("tests")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    with pytest.raises(ConfigError, match=f"has not ended, found '{run.info.run_id}', which is finished"):
        registry.open_experiment("other")
    client = mlflow.MlflowClient()
    running = client.create_run(other).info.run_id
    client.log_param(running, "lr", "0.00002")
    client.log_param(running, "epochs", "2")
    monkeypatch.setenv("MLFLOW_RUN_ID", running)
    registry.open_experiment("other", {"epochs": 2, "seed": 1})
    with pytest.raises(ConfigError, match=f"MLflow run {running}: .* found lr '0.00002', which this job"):
        registry.open_experiment("other", {"epochs": 2, "lr": 2e-5})


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("file://{}/file/below", r"/file/below cannot be written \(NotADirectoryError"),
        ("nowhere://me:secret@bucket/a", r"nowhere://bucket/a is of a kind that MLflow does not know"),
        ("s3://bucket/a", r"s3://bucket/a .*credentials"),
    ],
)
def test_artifacts_that_cannot_be_written_are_found_at_the_start(
    copied, use_store, monkeypatch, location, says
):
    """A training ended without its model and without one metric, although the database was there."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    use_store(f"sqlite:///{copied}")
    (copied.parent / "file").touch()
    mlflow = registry.import_mlflow()
    mlflow.create_experiment("elsewhere", artifact_location=location.format(copied.parent))
    with pytest.raises(RegistryError, match=f"the artifact location .*{says}") as caught:
        registry.open_experiment("elsewhere")
    assert "secret" not in str(caught.value)


def test_the_check_of_the_artifacts_leaves_no_file(copied, use_store):
    use_store(f"sqlite:///{copied}")
    registry.open_experiment("new")
    assert list((copied.parent / "artifacts").iterdir()) == []


@pytest.mark.parametrize("name", ["it's", "two words", "100%", "%20", "a?b#c", "größe", 'say "it\'s"'])
def test_an_experiment_may_have_any_name(copied, use_store, name):
    use_store(f"sqlite:///{copied}")
    for _ in range(2):
        registry.open_experiment(name)
    assert registry.import_mlflow().get_experiment_by_name(name).name == name


@pytest.mark.reliability
def test_first_runs_that_start_at_once_all_succeed(tmp_path):
    """Together they make the tables of a new database, and the experiment."""
    script = (
        "from sentiment.models import registry\n"
        f"registry.import_mlflow().set_tracking_uri('sqlite:///{tmp_path}/new/mlflow.db')\n"
        "input()\n"
        "registry.open_experiment('tests')\n"
        "with registry.import_mlflow().start_run():\n    print('started')"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    done = [run.communicate("go\n") for run in runs]
    assert [out for out, _ in done] == ["started\n"] * 3, done
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["artifacts", "mlflow.db"]


def test_a_run_that_starts_while_another_makes_the_tables_waits(tmp_path, database, use_store):
    """Half made, they look like those of another version."""
    path = tmp_path / "mlflow.db"
    execute(path, "create table experiments (id int)")
    use_store(f"sqlite:///{path}")
    lock = lock_file(tmp_path / "mlflow.db.lock")

    def finish():
        path.write_bytes(database.read_bytes())
        os.close(lock)

    timer = threading.Timer(0.5, finish)
    timer.start()
    assert store_check.check_store(will_write=True)
    timer.join()
    assert not (tmp_path / "mlflow.db.lock").exists()


def test_tables_that_stay_half_made_are_an_error(tmp_path, use_store):
    execute(tmp_path / "mlflow.db", "create table experiments (id int)")
    use_store(f"sqlite:///{tmp_path}/mlflow.db")
    for will_write in (False, True):
        with pytest.raises(RegistryError, match="of another MLflow version .None."):
            store_check.check_store(will_write)


def test_a_store_of_files_that_may_not_be_written_is_no_silent_server(use_store):
    use_store("sqlite:////store/mlflow.db")
    error = PermissionError(13, "Permission denied", "/store/artifacts")
    says = str(mlflow_errors.as_registry_error("registration of 'a'", error))
    assert "cannot use /store/artifacts (Permission denied)" in says
    assert "does not answer" not in says


@pytest.mark.parametrize("uri", ["localhost:5000", "postgres://me:secret@localhost/mlflow"])
def test_a_store_of_an_unknown_kind_is_named_at_every_door(use_store, uri):
    use_store(uri)
    for ask in (lambda: registry.open_experiment("any"), lambda: registry.resolve_model("models:/any/1")):
        with pytest.raises(RegistryError, match="kind that MLflow does not know; .* http://HOST") as caught:
            ask()
        assert "secret" not in str(caught.value)


def test_a_sqlite_uri_with_too_few_slashes_is_explained(use_store):
    use_store("sqlite://var/mlflow.db")
    with pytest.raises(RegistryError, match="expected sqlite:////FOLDER"):
        store_check.check_store()


@contextlib.contextmanager
def serve_status(status):
    """Run a server that answers each request with this status; yield its address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_server_of_something_else_is_named_as_such(use_store, status):
    with serve_status(status) as address:
        use_store(address)
        with pytest.raises(RegistryError, match="does not answer as MLflow does"):
            registry.open_experiment("any")


@pytest.mark.parametrize("status", [418, 429, 500, 501, 503])
def test_a_server_that_answers_with_an_error_is_not_called_silent(use_store, monkeypatch, status):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serve_status(status) as address:
        use_store(address)
        for ask in (lambda: registry.open_experiment("a"), lambda: registry.resolve_model("models:/a@b")):
            with pytest.raises(RegistryError, match=f"answered with the status {status}; look at its log"):
                ask()


def test_a_file_server_that_answers_with_an_error_is_not_called_silent():
    import requests

    with serve_status(502) as address, pytest.raises(requests.HTTPError) as caught:
        requests.get(address, timeout=5).raise_for_status()
    assert "answered with the status 502" in str(mlflow_errors.find_problem(caught.value))


def test_the_command_that_upgrades_a_database_has_no_password():
    with pytest.raises(RegistryError, match=r'upgrade "\$MLFLOW_TRACKING_URI"') as caught:
        store_check._check_revision("postgresql://me:secret@db/mlflow", None)
    assert "secret" not in str(caught.value)
