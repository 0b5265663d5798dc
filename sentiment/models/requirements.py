"""Compare the installed libraries with those that a model was logged with.

MLflow says so at each load too, after it has looked through every file of every installed package, which
takes longer than all the rest of the load.
"""

from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

REQUIREMENTS_FILE = "requirements.txt"
"""Beside a model's MLmodel: a requirement of pip a line, which for our models pins a version."""


def find_mismatches(folder: Path) -> list[str]:
    """Each requirement of the model in `folder` that is not met here, and what is here instead.

    Empty if all are, or if it states none. A line that is no requirement with a version, such as a URL, is
    passed over.
    """
    try:
        lines = (folder / REQUIREMENTS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [mismatch for line in lines if (mismatch := _describe_mismatch(line)) is not None]


def _describe_mismatch(line: str) -> str | None:
    try:
        requirement = Requirement(line.strip())
    except InvalidRequirement:
        return None
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{line.strip()} (not installed)"
    return None if requirement.specifier.contains(found, prereleases=True) else f"{line.strip()} ({found})"
