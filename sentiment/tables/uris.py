"""Read paths and URIs of tables: their scheme, their folder on this machine, one name for each place."""

import re
from pathlib import Path

from ..errors import ConfigError

# `delta:/path` names a Delta table on a mounted file system.
DELTA_PREFIX = "delta:"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FILE_SCHEME = re.compile(r"^file:(//(?=/))?")


def find_scheme(uri: str) -> str | None:
    """Return the scheme of a URI in lower case, None for a path and for `file:`."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match and match[1].lower() != "file" else None


def find_local_path(path: str) -> Path | None:
    """Return the absolute path without links and `..`, or None for a URI that does not begin with `file:`.

    `s3://bucket/x`, `dbfs:/x` and `hdfs:x` are such URIs; used as file names, they would create folders here.
    """
    return Path(_FILE_SCHEME.sub("", path)).resolve() if find_scheme(path) is None else None


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
