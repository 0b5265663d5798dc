"""Which paths a run can use: folders and files of a mounted file system, by one name each."""

import re
from pathlib import Path

_URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def find_local_path(path: str) -> Path | None:
    """The absolute path without links and `..`, or None if `path` is a URI of another kind than `file:`.

    `s3://bucket/x`, `dbfs:/x` and `hdfs:x` are such URIs: taken for names, they would make folders here.
    """
    local = re.sub(r"^file:(//(?=/))?", "", path)
    if _URI_SCHEME.match(local):
        return None
    return Path(local).resolve()
