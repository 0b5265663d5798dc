"""Translate the errors of MLflow, and of the store behind it, by kind."""

import contextlib
import re
from collections.abc import Iterator

from ..errors import RegistryError, SentimentError
from .tracking import TRACKING_VARIABLE, show_store

SILENT = "does not answer ({}); check the server and MLFLOW_TRACKING_URI"
_CREDENTIALS = "refused the credentials; check MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD"
# Answers of a login page, or of another service on the same port.
_NOT_MLFLOW = re.compile(r"failed with error code (?:2|3|404)|was successful but")
_STRANGE = (
    f"does not answer as MLflow does; check the address in {TRACKING_VARIABLE}, or the server's version"
)
# As MLflow names a status after its last try, and one that it does not try again.
_STATUS = re.compile(r"too many (\d{3}) error responses|failed with error code (\d{3})")


@contextlib.contextmanager
def translating_errors(subject: str) -> Iterator[None]:
    """Raise RegistryError if an operation of MLflow on `subject` fails; our own errors stay as they are."""
    try:
        yield
    except SentimentError:
        raise
    # Its stores raise errors of their own libraries.
    except Exception as error:
        raise as_registry_error(subject, error) from error


def as_registry_error(subject: str, error: Exception) -> RegistryError:
    """Return the error of an operation on `subject` in the store."""
    problem = find_problem(error) or f"failed ({getattr(error, 'error_code', type(error).__name__)})"
    return RegistryError(f"{subject}: the tracking server {show_store()} {problem}")


def find_problem(error: Exception) -> str | None:
    """Return why the store cannot be used, as an error shows; None if the error has another cause."""
    if is_refusal(error):
        return _CREDENTIALS
    text, code = str(error), getattr(error, "error_code", None)
    status = getattr(getattr(error, "response", None), "status_code", None)
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
        return SILENT.format(type(error).__name__)
    if code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "BAD_REQUEST", "REQUEST_LIMIT_EXCEEDED"):
        return f"failed ({code}); try again, and look at its log"
    if type(error).__module__.partition(".")[0] in ("sqlalchemy", "sqlite3", "botocore", "boto3"):
        return f"failed ({type(error).__name__}); check the store behind it and its credentials"
    if isinstance(error, ImportError):
        return f"needs the Python package {error.name}; install it"
    return None


def is_refusal(error: Exception) -> bool:
    """Return True if a server refused the credentials."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    code = getattr(error, "error_code", None)
    return code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED") or status in (401, 403)


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
