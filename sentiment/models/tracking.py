"""Point MLflow at its tracking store, and import MLflow at first use.

So a job with a wrong argument ends before MLflow is imported.
"""

import contextlib
import getpass
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
# MLflow asks a server again seven times by default, and is silent for minutes.
_HTTP_RETRIES = "3"


def use_tracking(home: Path) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI` if that is set, else at SQLite in `home/var`; return the URI.

    Raises ConfigError if the URI is not that of a server or a database, or there is none and `home` cannot be
    written. Nothing is connected yet.
    """
    for variable in (TRACKING_VARIABLE, REGISTRY_VARIABLE):
        _check_kind(variable, os.environ.get(variable))
    # A value that comes from a file often ends with a line break.
    uri = os.environ.get(TRACKING_VARIABLE, "").strip()
    if not uri:
        folder = home.resolve() / "var"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{folder}: cannot be made ({error.strerror}), and {TRACKING_VARIABLE} is not set; set it "
                "to a tracking server or to sqlite:////FOLDER/mlflow.db"
            ) from error
        uri = f"sqlite:///{folder / 'mlflow.db'}"
    import_mlflow().set_tracking_uri(uri)
    return uri


def import_mlflow() -> Any:
    """Import mlflow without its telemetry, its informational log lines, and its minutes of retries."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _HTTP_RETRIES)
    _provide_user()
    import mlflow

    for name in ("mlflow", "alembic"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET or logger.level == logging.INFO:
            logger.setLevel(logging.WARNING)
    return mlflow


@contextlib.contextmanager
def without_autologging() -> Iterator[None]:
    """Switch MLflow's autologging off in this block: it would log each fit, and the models with it."""
    import_mlflow()
    from mlflow.utils import autologging_utils

    if autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED:  # the end of `disable_autologging` switches it on
        yield
        return
    with autologging_utils.disable_autologging():
        yield


def show_store() -> str:
    """Return the tracking URI without a password."""
    return without_password(import_mlflow().get_tracking_uri())


def without_password(uri: str) -> str:
    """Return a URI without user, password, and secrets in its query."""
    # A password may hold any character but the last @ before the host; without a host there is none.
    scheme, mark, rest = uri.partition("://")
    if not rest.startswith("/"):
        uri = f"{scheme}{mark}{rest.rpartition('@')[2]}"
    return re.sub(r"(?i)((?:pass|secret|token|key)[^=&]*=)[^&]*", r"\1***", uri)


def find_sqlite_file(uri: str) -> Path | None:
    name = uri.partition("sqlite:///")[2].partition("?")[0]
    return Path(name) if name and name != ":memory:" else None


def _check_kind(variable: str, uri: str | None) -> None:
    """Raise ConfigError for a folder, which MLflow calls a file store and no longer writes."""
    scheme = urlsplit(uri or "").scheme
    if not uri or uri.startswith(("databricks", "uc:")) or scheme not in ("", "file"):
        return
    raise ConfigError(
        f"{variable}: expected a server (http://HOST:PORT) or a database (sqlite:////FOLDER/mlflow.db), "
        f"found the folder {uri!r}; MLflow no longer supports such a store; set another one, or convert it "
        "with `mlflow migrate-filestore --source FOLDER --target sqlite:////FOLDER/mlflow.db`"
    )


def _provide_user() -> None:
    """Set HOME and USER where neither the environment nor passwd knows them, as in some containers.

    MLflow cannot be imported without a home folder, nor log a run without a user name.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["USER"] = f"uid-{os.getuid()}"
