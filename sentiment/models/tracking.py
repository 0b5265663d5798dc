"""Point MLflow at its tracking store, check it before any work, and translate its errors by kind.

MLflow is imported at first use, so that a job with a wrong argument ends before that.
"""

import getpass
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, RegistryError, SentimentError
from ..process.locks import hold_lock

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_CONNECT_SECONDS = 5
# A server that sends nothing for so long is taken for dead; a busy one may need seconds.
_ANSWER_SECONDS = 30
# MLflow makes the tables of a new SQLite database in a few seconds.
_INITIALISE_SECONDS = 120
# MLflow asks a server again seven times by default, and is silent for minutes.
_HTTP_RETRIES = "3"
_CREDENTIALS = "refused the credentials; check MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD"
# Answers of a login page, or of another service on the same port.
_NOT_MLFLOW = re.compile(r"failed with error code (?:2|3|404)|was successful but")
_STRANGE = (
    f"does not answer as MLflow does; check the address in {TRACKING_VARIABLE}, or the server's version"
)
# As MLflow names a status after its last try, and one that it does not try again.
_STATUS = re.compile(r"too many (\d{3}) error responses|failed with error code (\d{3})")
_SILENT = "does not answer ({}); check the server and MLFLOW_TRACKING_URI"


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


def open_experiment(name: str) -> None:
    """Check the store, and make `name` the active experiment, created if need be.

    On SQLite its files go next to the database: MLflow would put them in the current folder. Raises
    RegistryError if the store cannot be used, ConfigError if the experiment has been deleted.
    """
    check_store(is_written=True)
    mlflow = import_mlflow()
    try:
        found = mlflow.get_experiment_by_name(name) or _create_experiment(name)
        if found.lifecycle_stage != "active":
            raise ConfigError(
                f"experiment {name!r} has been deleted; restore it with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}`, or pass another --experiment"
            )
        mlflow.set_experiment(experiment_id=found.experiment_id)
    except SentimentError:
        raise
    except Exception as error:  # as in `registry.resolve_model`
        raise as_registry_error(f"experiment {name!r}", error) from error


def check_store(is_written: bool = False) -> bool:
    """Raise RegistryError if the tracking store or the registry cannot be used: within seconds, at most 35.

    `is_written` makes the tables of a new SQLite database, and requires that it can be written. Without it,
    return False for a database that is still to be made, which MLflow would make if it were only asked.
    """
    mlflow = import_mlflow()
    is_made = True
    for uri in dict.fromkeys((mlflow.get_tracking_uri(), mlflow.get_registry_uri())):
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme in ("http", "https"):
            _check_server(uri)
        elif scheme in _DATABASES:
            is_made &= _check_database(uri, is_written)
    return is_made


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


def find_problem(error: Exception) -> str | None:
    """Return why the store cannot be used, as an error shows; None if the error has another cause."""
    text, code = str(error), getattr(error, "error_code", None)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED") or status in (401, 403):
        return _CREDENTIALS
    if "unsupported URI" in text:
        return (
            f"is of a kind that MLflow does not know; set {TRACKING_VARIABLE} to http://HOST:PORT, "
            "postgresql://HOST/NAME or sqlite:////FOLDER/mlflow.db"
        )
    if "database schema" in text:
        return "has a database of another MLflow version; run `mlflow db upgrade`, or install that version"
    if isinstance(error, OSError) and error.filename and not is_absent(error):
        return f"cannot use {error.filename} ({error.strerror}); check its permissions and the disk"
    if text.startswith("API request") and _NOT_MLFLOW.search(text):
        return _STRANGE
    if text.startswith("API request") and (found := _STATUS.search(text)):
        status = found[1] or found[2]
    if status is not None and not is_absent(error):
        return f"answered with the status {status}; look at its log, and try again"
    if text.startswith("API request") or (isinstance(error, OSError) and not is_absent(error)):
        return _SILENT.format(type(error).__name__)
    if code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "BAD_REQUEST", "REQUEST_LIMIT_EXCEEDED"):
        return f"failed ({code}); try again, and look at its log"
    if type(error).__module__.partition(".")[0] in ("sqlalchemy", "sqlite3", "botocore", "boto3"):
        return f"failed ({type(error).__name__}); check the store behind it and its credentials"
    if isinstance(error, ImportError):
        return f"needs the Python package {error.name}; install it"
    return None


def as_registry_error(subject: str, error: Exception) -> RegistryError:
    """Return the error of an operation on `subject` in the store."""
    problem = find_problem(error) or f"failed ({getattr(error, 'error_code', type(error).__name__)})"
    return RegistryError(f"{subject}: the tracking server {show_store()} {problem}")


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


def is_absent(error: Exception) -> bool:
    """Return True if an error means that a file, or what a store was asked for, does not exist."""
    if getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        return True
    if not isinstance(error, OSError):
        return False
    # MLflow raises a plain OSError with the last text.
    is_named = str(error).startswith(("No such artifact", "No such file"))
    is_missing = getattr(getattr(error, "response", None), "status_code", None) == 404
    return isinstance(error, FileNotFoundError | NotADirectoryError) or is_named or is_missing


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


def _find_sqlite_file(uri: str) -> Path | None:
    name = uri.partition("sqlite:///")[2].partition("?")[0]
    return Path(name) if name and name != ":memory:" else None


def _create_experiment(name: str) -> Any:
    mlflow = import_mlflow()
    file = _find_sqlite_file(mlflow.get_tracking_uri())
    artifacts = (file.resolve().parent / "artifacts").as_uri() if file else None
    try:
        mlflow.create_experiment(name, artifact_location=artifacts)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run was faster
            raise
    return mlflow.get_experiment_by_name(name)


def _check_server(uri: str) -> None:
    """Raise RegistryError if nothing answers at the address; any HTTP status is an answer."""
    import requests

    try:
        requests.get(
            uri, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS), stream=True, allow_redirects=False
        ).close()
    except requests.exceptions.SSLError:
        return  # MLflow has settings for certificates
    except (OSError, ValueError) as error:  # errors of requests are OSErrors, and ValueErrors for a wrong URL
        problem = _SILENT.format(type(error).__name__)
        raise RegistryError(f"the tracking server {without_password(uri)} {problem}") from error


def _check_database(uri: str, is_written: bool) -> bool:
    """Return False if the database has no tables yet and is only to be read."""
    file = _find_sqlite_file(uri)
    if file is None or not is_written:
        return _check_tables(uri, file)
    _check_writable(file)
    if file.exists() and _read_revision(uri)[0] == _read_scripts().get_current_head():
        return True
    # Of runs that start at once the first makes the tables; until then the others would see some of them.
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(file.with_name(f"{file.name}.lock"), _INITIALISE_SECONDS):
            if not _check_tables(uri, file):
                _make_tables(uri)
    except OSError as error:
        raise RegistryError(
            f"the tracking database {file} cannot be made: {error}; check its folder"
        ) from error
    return True


def _check_tables(uri: str, file: Path | None) -> bool:
    """Return False if there are no tables; raise RegistryError if they are not those of this MLflow."""
    revision, tables = (None, []) if file is not None and not file.exists() else _read_revision(uri)
    if not tables:
        return False
    shown = without_password(uri)
    if revision is None and "experiments" not in tables:
        raise RegistryError(
            f"the tracking database {shown} has {len(tables)} tables, but none of MLflow; set "
            f"{TRACKING_VARIABLE} to a database of its own"
        )
    _check_revision(uri, revision)
    return True


def _check_writable(file: Path) -> None:
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    for path in (folder, file):
        if path.exists() and not os.access(path, os.W_OK):
            raise RegistryError(
                f"the tracking database {file}: {path} cannot be written (Permission denied); check its "
                f"permissions, or set {TRACKING_VARIABLE}"
            )


def _read_revision(uri: str) -> tuple[str | None, list[str]]:
    """Return the version of a database's schema, None if it has none, and the names of its tables."""
    import sqlalchemy
    from alembic.migration import MigrationContext

    is_remote = uri.startswith(("postgresql", "mysql"))
    options = {"connect_timeout": _CONNECT_SECONDS} if is_remote else {}
    try:
        engine = sqlalchemy.create_engine(uri, connect_args=options, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            return MigrationContext.configure(connection).get_current_revision(), tables
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        problem = f"the tracking database {without_password(uri)} {_explain_database(error)}"
        raise RegistryError(problem) from error


def _explain_database(error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error).lower()
    if isinstance(error, ImportError):
        return f"needs the Python package {error.name}; install it"
    if "sqlite url" in text:
        return "is no path; expected sqlite:////FOLDER/mlflow.db, or sqlite:///FOLDER/mlflow.db if relative"
    if "not a database" in text or "malformed" in text:
        return f"is not a database, or damaged; restore it, or set {TRACKING_VARIABLE} to another one"
    if any(words in text for words in ("password", "authentication", "access denied", "role")):
        return f"refused the credentials; check user and password in {TRACKING_VARIABLE}"
    if "locked" in text:
        return "is locked by another process; try again"
    if "unable to open" in text:
        return "cannot be opened; check that it is a file, and its permissions"
    return f"cannot be used ({type(error).__name__}); check {TRACKING_VARIABLE} and that it runs"


def _read_scripts() -> Any:
    """Return the migrations of the installed MLflow."""
    from alembic.script import ScriptDirectory

    folder = Path(import_mlflow().__file__).parent / "store" / "db_migrations"
    return ScriptDirectory(str(folder))


def _check_revision(uri: str, revision: str | None) -> None:
    """Raise RegistryError unless the schema is that of the installed MLflow, which would upgrade another."""
    from alembic.util import CommandError

    shown = without_password(uri)
    scripts = _read_scripts()
    if revision == scripts.get_current_head():
        return
    try:
        known = revision is None or scripts.get_revision(revision) is not None
    except CommandError:
        known = False
    if known:
        # The command needs the password, which a message must not show.
        address = uri if shown == uri else f'"${TRACKING_VARIABLE}"'
        step = f"make a backup and run `mlflow db upgrade {address}`"
    else:
        step = f"install the MLflow version that made it (here is {import_mlflow().__version__})"
    raise RegistryError(f"the tracking database {shown} is of another MLflow version ({revision}); {step}")


def _make_tables(uri: str) -> None:
    try:
        import_mlflow().MlflowClient(uri, uri).search_experiments(max_results=1)
    except Exception as error:  # as in `registry.resolve_model`
        raise as_registry_error("new tables", error) from error
