"""MLflow is pointed at a store that it can use, and imported without a home folder."""

import os
import subprocess
import sys

import pytest

from sentiment.errors import ConfigError
from sentiment.models import tracking
from tests.factories import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("variable", [tracking.TRACKING_VARIABLE, tracking.REGISTRY_VARIABLE])
@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "file:mlruns", "./mlruns", "/tmp/mlruns", "mlruns"])
def test_a_folder_is_no_store(monkeypatch, tmp_path, variable, uri):
    monkeypatch.setenv(variable, uri)
    with pytest.raises(ConfigError, match=f"{variable}: expected a server .*mlflow migrate-filestore"):
        tracking.use_tracking(tmp_path)


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "uc:http://host", "http://host:5000"])
def test_servers_of_every_kind_are_stores(monkeypatch, uri):
    tracking._check_kind(tracking.TRACKING_VARIABLE, uri)


def test_a_folder_that_cannot_be_made_is_one_line_that_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/var: cannot be made .* MLFLOW_TRACKING_URI"):
        tracking.use_tracking(tmp_path / "file")


def test_a_user_without_home_and_passwd_entry_can_use_mlflow():
    """As in a container with a number for a user: MLflow fails at its import, and at the start of a run."""
    code = (
        "import os, pwd\n"
        "def fail(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = fail\n"
        "from sentiment.models import tracking\n"
        "tracking.import_mlflow()\n"
        "from mlflow.tracking.context.default_context import _get_user\n"
        "assert os.path.isdir(os.environ['HOME']) and _get_user() == f'uid-{os.getuid()}'\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_white_space_around_the_uri_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv(tracking.TRACKING_VARIABLE, f" sqlite:///{tmp_path}/mlflow.db\n")
    assert tracking.use_tracking(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
