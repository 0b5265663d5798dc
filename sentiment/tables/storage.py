"""Reach the files of tables through pyarrow: on a mounted file system, or in an object store.

A folder and a bucket are one code path, and executors need no Java libraries for either.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from ..errors import ConfigError, ObjectStoreError
from .uris import find_scheme

_Result = TypeVar("_Result")

# The object stores whose files pyarrow and deltalake both read. S3 is tested; the others are not.
_OBJECT_SCHEMES = ("s3", "gs", "abfss")
# Environment variables of S3 clients, which are also the names of deltalake's options.
_S3_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ALLOW_HTTP",
)
# An S3 store that throttles is asked up to so many times, with growing pauses.
_ATTEMPTS = 6
_CONNECT_SECONDS, _REQUEST_SECONDS = 10, 60


@dataclass(frozen=True)
class Storage:
    """Describe where files lie: the URI scheme, "" for mounted files, and the options of an object store.

    The options may hold credentials, so `repr` leaves them out. A storage can be pickled: executors open
    their own connections with it.
    """

    scheme: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_local(self) -> bool:
        return not self.scheme

    def open(self) -> pafs.FileSystem:
        """Return the file system; one per process and options."""
        return _open_file_system(self.scheme, tuple(sorted(self.options.items())))

    def to_path(self, uri: str) -> str:
        """Return the path that the file system knows: `bucket/key` for `s3://bucket/key`."""
        return uri if self.is_local else uri.partition("://")[2]


LOCAL = Storage()


def find_storage(uri: str, options: Mapping[str, str] | None = None) -> Storage:
    """Return the storage of a path or URI; raise ConfigError for a scheme that is not supported.

    Options that are not given come from the environment variables of S3 clients.
    """
    scheme = find_scheme(uri)
    if scheme is None:
        return LOCAL
    if scheme not in _OBJECT_SCHEMES:
        raise ConfigError(
            f"{uri}: {scheme}: is not supported; expected a mounted folder or one of "
            f"{', '.join(f'{name}://' for name in _OBJECT_SCHEMES)}; for a name with a colon pass ./{uri}"
        )
    if not uri.lower().startswith(f"{scheme}://"):
        raise ConfigError(f"{uri}: is no URI of an object store, expected {scheme}://bucket/prefix")
    variables = _S3_VARIABLES if scheme == "s3" else ()
    environment = {name: os.environ[name] for name in variables if os.environ.get(name)}
    return Storage(scheme, {**environment, **(options or {})})


def load_options(path: str | None) -> dict[str, str]:
    """Read the options of an object store from a JSON file; raise ConfigError without showing a value."""
    if path is None:
        return {}
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"storage_options: {path} cannot be read ({error.strerror})") from error
    except ValueError:
        options = None
    if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
        raise ConfigError(
            f"storage_options: {path} is not a JSON object of strings, "
            'expected {"AWS_ENDPOINT_URL": "https://…", "AWS_ACCESS_KEY_ID": "…", …}'
        )
    return options


@functools.lru_cache(maxsize=8)
def _open_file_system(scheme: str, sorted_options: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    options = dict(sorted_options)
    try:
        if not scheme:
            return pafs.LocalFileSystem()
        if scheme == "s3":
            return _open_s3(options)
        if scheme == "gs":
            return pafs.GcsFileSystem(access_token=options.get("GOOGLE_ACCESS_TOKEN"))
        return pafs.AzureFileSystem(
            account_name=options["AZURE_STORAGE_ACCOUNT_NAME"],
            account_key=options.get("AZURE_STORAGE_ACCOUNT_KEY"),
        )
    except (AttributeError, KeyError, pa.ArrowException) as error:
        raise ConfigError(
            f"{scheme}://: its file system cannot be opened ({type(error).__name__}: {error}); check "
            "--storage_options and the environment"
        ) from error


def _open_s3(options: Mapping[str, str]) -> pafs.FileSystem:
    endpoint = options.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    return pafs.S3FileSystem(
        access_key=options.get("AWS_ACCESS_KEY_ID"),
        secret_key=options.get("AWS_SECRET_ACCESS_KEY"),
        session_token=options.get("AWS_SESSION_TOKEN"),
        region=options.get("AWS_REGION") or options.get("AWS_DEFAULT_REGION"),
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


def call_store(storage: Storage, uri: str, operation: Callable[[pafs.FileSystem], _Result]) -> _Result:
    """Call the file system of `storage`; if it fails, raise ObjectStoreError with the problem and `uri`."""
    try:
        return operation(storage.open())
    except (OSError, pa.ArrowException) as error:
        raise ObjectStoreError(f"{uri}: {explain_store_error(error)}") from error


# Words by which S3 and its clients name a problem; the problem, and the next step.
_PROBLEMS = (
    (
        ("IMDS", "loading credentials", "no credentials"),
        "there are no credentials; set AWS_ACCESS_KEY_ID and its secret, or pass --storage_options",
    ),
    (("NO_SUCH_BUCKET", "NoSuchBucket", "bucket does not exist"), "there is no such bucket; check its name"),
    (
        (
            "InvalidAccessKeyId",
            "INVALID_ACCESS_KEY_ID",
            "SignatureDoesNotMatch",
            "SIGNATURE_DOES_NOT_MATCH",
            "InvalidSignature",
        ),
        "the store refuses the credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        (
            "ExpiredToken",
            "TokenRefreshRequired",
            "InvalidToken",
            "INVALID_CLIENT_TOKEN_ID",
            "InvalidClientTokenId",
        ),
        "the session token has expired or is wrong; get a new one",
    ),
    (
        ("AccessDenied", "ACCESS_DENIED", "Forbidden", "HTTP response code 403", "403 Forbidden"),
        "these credentials may not do this; ask for permission, or pass others",
    ),
    (
        (
            "SlowDown",
            "SLOW_DOWN",
            "TooManyRequests",
            *(f"HTTP {name} {code}" for name in ("status", "response code") for code in (429, 503)),
            "429 Too Many Requests",
            "503 Service Unavailable",
            "503 Slow Down",
        ),
        "the store asked to slow down until the last attempt; run again later",
    ),
    (
        (
            "NETWORK_CONNECTION",
            "curlCode",
            "Could not connect",
            "error sending request",
            "dns error",
            "timed out",
            "Connection refused",
        ),
        "the store does not answer; check AWS_ENDPOINT_URL, AWS_REGION and the network",
    ),
)


def explain_store_error(error: BaseException) -> str:
    """Return the problem behind an error, without the text of the error, which may hold a signed address."""
    text = str(error)
    for words, problem in _PROBLEMS:
        if any(word in text for word in words):
            return problem
    return f"the store answered {type(error).__name__}; run again with --debug to see it"
