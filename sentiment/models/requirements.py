"""Compare the installed libraries with those that a model was logged with.

MLflow can do this too, but it searches every file of every installed package, which takes longer than the
rest of the load.
"""

from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ..errors import ModelLoadError

# Next to a model's MLmodel: one requirement of pip per line. For our models each pins a version.
REQUIREMENTS_FILE = "requirements.txt"


def find_mismatches(folder: Path) -> list[str]:
    """Describe each requirement of the model in `folder` that is not met, and what is installed instead.

    Empty if all are met or the model has no such file. A line without a version, such as a URL, is ignored.
    Raises ModelLoadError if the file cannot be read.
    """
    path = folder / REQUIREMENTS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ModelLoadError(
            f"{path}: the requirements of the model cannot be read as UTF-8 ({type(error).__name__}); log "
            "the model again"
        ) from error
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
