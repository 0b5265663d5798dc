"""Check the stores of MLflow before any work: that they answer, can be written, and are of this MLflow."""

import contextlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import RegistryError
from ..process.locks import hold_lock
from .mlflow_errors import SILENT, find_problem, is_refusal, translating_errors
from .tracking import TRACKING_VARIABLE, find_sqlite_file, import_mlflow, without_password

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_CONNECT_SECONDS = 5
# A server that sends nothing for so long is taken for dead; a busy one may need seconds.
_ANSWER_SECONDS = 30
# MLflow makes the tables of a new SQLite database in a few seconds.
_INITIALISE_SECONDS = 120
_SHOWN_CHARS = 200


def check_store(will_write: bool = False) -> bool:
    """Raise RegistryError if the tracking store or the registry cannot be used: within seconds, at most 35.

    `will_write` makes the tables of a new SQLite database, and requires that it can be written. Without it,
    return False for a database that is still to be made, which MLflow would make if it were only asked.
    """
    mlflow = import_mlflow()
    is_made = True
    for uri in dict.fromkeys((mlflow.get_tracking_uri(), mlflow.get_registry_uri())):
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme in ("http", "https"):
            _check_server(uri)
        elif scheme in _DATABASES:
            is_made &= _check_database(uri, will_write)
    return is_made


def check_artifact_store(location: str) -> None:
    """Raise RegistryError unless a small artifact can be written at an experiment's artifact location.

    Databricks takes artifacts only within a run, so nothing is written there. Another server may do so too:
    one that refuses the credentials, though it has answered with them, is not called unusable.
    """
    scheme = urlsplit(location).scheme
    if scheme.startswith(("dbfs", "databricks")):
        return
    mlflow = import_mlflow()
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    shown, step = without_password(location), "check it, or pass an --experiment with another one"
    # As below a run, since a server may look at the form of a path.
    place = uuid.uuid4().hex
    try:
        store = get_artifact_repository(location)
    except mlflow.exceptions.MlflowException as error:
        problem = f"is of a kind that MLflow does not know ({scheme!r})"
        raise RegistryError(f"the artifact location {shown} {problem}; {step}") from error
    except ImportError as error:
        raise RegistryError(f"the artifact location {shown} {find_problem(error)}") from error
    try:
        with tempfile.TemporaryDirectory(prefix="sentiment-") as folder:
            file = Path(folder) / "check.txt"
            file.write_text("Written to check the artifact store.\n")
            store.log_artifact(str(file), f"{place}/artifacts")
    # Each store raises errors of its own library.
    except Exception as error:
        if scheme == "mlflow-artifacts" and is_refusal(error):
            return
        reason = find_problem(error) or f"cannot be written ({type(error).__name__}: {_shorten(error)})"
        raise RegistryError(
            f"the artifact location {shown} {reason}; expected one that can be written, since the model goes "
            f"there; {step}"
        ) from error
    # Who may write need not be allowed to remove; then a file of one line stays.
    with contextlib.suppress(Exception):
        store.delete_artifacts(place)


def _shorten(error: Exception) -> str:
    """Return the first line of an error, without secrets."""
    return without_password(str(error).strip().partition("\n")[0])[:_SHOWN_CHARS]


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
        problem = SILENT.format(type(error).__name__)
        raise RegistryError(f"the tracking server {without_password(uri)} {problem}") from error


def _check_database(uri: str, will_write: bool) -> bool:
    """Return False if the database has no tables yet and is only to be read."""
    file = find_sqlite_file(uri)
    if file is None or not will_write:
        return _check_tables(uri, file)
    _check_writable(file)
    if file.exists() and _read_revision(uri)[0] == _read_scripts().get_current_head():
        return True
    # Of runs that start at once the first makes the tables; until then the others would see some of them.
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(file.with_name(f"{file.name}.lock"), _INITIALISE_SECONDS):
            if not _check_tables(uri, file):
                with translating_errors("new tables"):
                    import_mlflow().MlflowClient(uri, uri).search_experiments(max_results=1)
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
