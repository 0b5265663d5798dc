"""Open the file system of a path: the mounted one, or an object store.

Every file of the table room is listed, read and written through pyarrow's file systems, so that a folder and
a bucket are one code path. Executors need no Java libraries for either.
"""

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from ..errors import ConfigError, ObjectStoreError

Result = TypeVar("Result")

_URI_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_LOCAL_FILE = re.compile(r"^file:(//(?=/))?")
# The object stores whose files pyarrow and deltalake both read. S3 is tested; the others are not.
OBJECT_SCHEMES = ("s3", "gs", "abfss")
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
# A store that throttles is asked again, with growing pauses, this many times.
_ATTEMPTS = 6
_CONNECT_SECONDS, _REQUEST_SECONDS = 10, 60


@dataclass(frozen=True)
class Storage:
    """Describe a file system: its URI scheme, "" for mounted files, and the options of an object store.

    The options may hold credentials, so they are never shown. A storage can be pickled: executors open their
    own connections with it.
    """

    scheme: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_local(self) -> bool:
        return not self.scheme

    def open(self) -> pafs.FileSystem:
        """Return the file system; one per process and options."""
        return _open(self.scheme, tuple(sorted(self.options.items())))

    def to_path(self, uri: str) -> str:
        """Return the path that the file system knows: `bucket/key` for `s3://bucket/key`."""
        return uri if self.is_local else uri.partition("://")[2]


LOCAL = Storage()
# `delta:/path` names a Delta table on a mounted file system.
DELTA_PREFIX = "delta:"


def find_storage(uri: str, options: Mapping[str, str] | None = None) -> Storage:
    """Return the storage of a path or URI; raise ConfigError for a scheme that is not supported."""
    scheme = find_scheme(uri)
    if scheme is None:
        return LOCAL
    if scheme not in OBJECT_SCHEMES:
        raise ConfigError(
            f"{uri}: {scheme}: is not supported; expected a mounted folder or one of "
            f"{', '.join(f'{name}://' for name in OBJECT_SCHEMES)}; for a name with a colon pass ./{uri}"
        )
    if not uri.lower().startswith(f"{scheme}://"):
        raise ConfigError(f"{uri}: is no URI of an object store, expected {scheme}://bucket/prefix")
    found = (
        {name: os.environ[name] for name in _S3_VARIABLES if os.environ.get(name)} if scheme == "s3" else {}
    )
    return Storage(scheme, {**found, **(options or {})})


def find_scheme(uri: str) -> str | None:
    """Return the scheme of a URI in lower case, None for a path and for `file:`."""
    match = _URI_SCHEME.match(uri)
    return match[1].lower() if match and match[1].lower() != "file" else None


def find_local_path(path: str) -> Path | None:
    """Return the absolute path without links and `..`, or None for a URI that does not begin with `file:`.

    `s3://bucket/x`, `dbfs:/x` and `hdfs:x` are such URIs; used as file names, they would create folders here.
    """
    return Path(_LOCAL_FILE.sub("", path)).resolve() if find_scheme(path) is None else None


def resolve_uri(path: str) -> str:
    """Return one name for each place: an absolute path without links, or a URI without a last slash."""
    path = path.removeprefix(DELTA_PREFIX)
    local = find_local_path(path)
    return str(local) if local is not None else path.rstrip("/")


def check_apart(source: str, target: str) -> None:
    """Raise ConfigError if the scores would lie in the input, or the input in the scores."""
    reviews, scores = (resolve_uri(path).rstrip("/") + "/" for path in (source, target))
    if reviews.startswith(scores) or scores.startswith(reviews):
        raise ConfigError(
            f"output: {scores[:-1]} is inside the input {reviews[:-1]}, or contains it; scores would be read "
            "as reviews; choose another folder"
        )


def load_options(path: str | None) -> dict[str, str]:
    """Read the options of an object store from a JSON file; raise ConfigError without showing a value."""
    if path is None:
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"storage_options: {path} cannot be read ({error.strerror})") from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ConfigError(
            f"storage_options: {path} is not a JSON object of strings, "
            'expected {"AWS_ENDPOINT_URL": "https://…", "AWS_ACCESS_KEY_ID": "…", …}'
        )
    return found


@functools.lru_cache(maxsize=8)
def _open(scheme: str, options: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    given = dict(options)
    try:
        if not scheme:
            return pafs.LocalFileSystem()
        if scheme == "s3":
            return _open_s3(given)
        if scheme == "gs":
            return pafs.GcsFileSystem(access_token=given.get("GOOGLE_ACCESS_TOKEN"))
        return pafs.AzureFileSystem(
            account_name=given["AZURE_STORAGE_ACCOUNT_NAME"],
            account_key=given.get("AZURE_STORAGE_ACCOUNT_KEY"),
        )
    except (AttributeError, KeyError, pa.ArrowException) as error:
        raise ConfigError(
            f"{scheme}://: its file system cannot be opened ({type(error).__name__}: {error}); check "
            "--storage_options and the environment"
        ) from error


def _open_s3(given: Mapping[str, str]) -> pafs.FileSystem:
    endpoint = given.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    return pafs.S3FileSystem(
        access_key=given.get("AWS_ACCESS_KEY_ID"),
        secret_key=given.get("AWS_SECRET_ACCESS_KEY"),
        session_token=given.get("AWS_SESSION_TOKEN"),
        region=given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION"),
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


def call_store(storage: Storage, uri: str, operation: Callable[[pafs.FileSystem], Result]) -> Result:
    """Call an object store; raise ObjectStoreError with the kind of the problem if it fails."""
    try:
        return operation(storage.open())
    except (OSError, pa.ArrowException) as error:
        raise ObjectStoreError(f"{uri}: {explain(error)}") from error


# What S3 and its clients call an error, and what to do about it.
_KINDS = (
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
            *(f"HTTP {words} {code}" for words in ("status", "response code") for code in (429, 503)),
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


def explain(error: BaseException) -> str:
    """Return what an error of an object store means, without its text, which may hold a signed address."""
    said = str(error)
    for marks, meaning in _KINDS:
        if any(mark in said for mark in marks):
            return meaning
    return f"the store answered {type(error).__name__}; run again with --debug to see it"
