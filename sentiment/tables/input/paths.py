"""Resolve the paths that a run can use to one name for each file or folder."""

import re
from pathlib import Path

from ...errors import ConfigError

_URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def find_local_path(path: str) -> Path | None:
    """Return the absolute path without links and `..`, or None for a URI that does not begin with `file:`.

    `s3://bucket/x`, `dbfs:/x` and `hdfs:x` are such URIs; used as file names, they would create folders here.
    """
    local = re.sub(r"^file:(//(?=/))?", "", path)
    if _URI_SCHEME.match(local):
        return None
    return Path(local).resolve()


def check_apart(source: str, target: str) -> None:
    """Raise ConfigError if the scores would lie in the input, or the input in the scores."""
    reviews, scores = find_local_path(source), find_local_path(target)
    # inspect_reviews and find_folder raise an error for a URI, which is None here.
    if reviews and scores and (reviews == scores or reviews in scores.parents or scores in reviews.parents):
        raise ConfigError(
            f"output: {scores} is inside the input {reviews}, or contains it; scores would be read as "
            "reviews; choose another folder"
        )
