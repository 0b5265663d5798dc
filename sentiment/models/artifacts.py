"""Find what a model carries besides its weights, such as the profile of its test set."""

from pathlib import Path


def find_artifact(folder: Path, name: str) -> Path | None:
    """Return the file of this name among the artifacts of a model's files; None if it has none.

    `folder` is the root of the files (`ModelReference.folder`), which should be checked before any is read.
    """
    return next(iter(sorted(folder.glob(f"artifacts/*/{name}"))), None)
