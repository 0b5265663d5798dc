"""Which paths a run can use: folders and files of a mounted file system, by one name each."""

import re
from pathlib import Path

from ..errors import ConfigError

_URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def find_local_path(path: str) -> Path | None:
    """The absolute path without links and `..`, or None if `path` is a URI of another kind than `file:`.

    `s3://bucket/x`, `dbfs:/x` and `hdfs:x` are such URIs: taken for names, they would make folders here.
    """
    local = re.sub(r"^file:(//(?=/))?", "", path)
    if _URI_SCHEME.match(local):
        return None
    return Path(local).resolve()


def check_apart(source: str, target: str) -> None:
    """Raise ConfigError if the scores would lie in the input, or the input in the scores."""
    reviews, scores = find_local_path(source), find_local_path(target)
    # None is a URI, which inspect_reviews and find_folder refuse.
    if reviews and scores and (reviews == scores or reviews in scores.parents or scores in reviews.parents):
        raise ConfigError(
            f"output: {scores} lies in the input {reviews} or holds it; scores would be read as reviews; "
            "choose another folder"
        )
