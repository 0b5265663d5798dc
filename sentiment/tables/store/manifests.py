"""Write and read the manifest of a published batch, the only record of earlier runs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import StoreError
from ...schema import POLARITY_LABELS
from ..input.files import FileIdentity

MANIFEST = "_MANIFEST.json"
MANIFEST_VERSION = 4
# What older versions did not state, and what it was then: no engines before version 3; always two classes
# before version 4.
_NOT_STATED: dict[int, dict[str, Any]] = {
    2: {"engines": [], "label_names": POLARITY_LABELS, "unsure_rows": 0},
    3: {"label_names": POLARITY_LABELS, "unsure_rows": 0},
}


@dataclass(frozen=True)
class Window:
    """Select rows whose date is in [since, until), as ISO days; None leaves an end open."""

    date_col: str
    since: str | None
    until: str | None

    def covers(self, other: "Window | None") -> bool:
        """Return True if this window contains every row of `other`; None means all dates."""
        if other is None or other.date_col != self.date_col:
            return False
        starts = self.since is None or (other.since is not None and self.since <= other.since)
        ends = self.until is None or (other.until is not None and other.until <= self.until)
        return starts and ends

    def includes_day(self, day: str) -> bool:
        """Return True if an ISO day is in the window."""
        return (self.since is None or day >= self.since) and (self.until is None or day < self.until)


@dataclass(frozen=True)
class Consumption:
    """Describe which input rows a batch covers, and the model that scored them; a digest names the batch.

    `inputs` are file identities with `start_row` and `stop_row`. `repeats_of` are slices of later chunks; of
    these the batch took only the rows whose id occurs more than once in the run.
    """

    inputs: tuple[FileIdentity, ...]
    id_col: str
    text_col: str
    model_id: str
    window: Window | None = None
    is_rescore: bool = False
    repeats_of: tuple[FileIdentity, ...] = ()

    @property
    def rows(self) -> int:
        """Return the number of rows in `inputs`, without `repeats_of`."""
        return sum(entry["stop_row"] - entry["start_row"] for entry in self.inputs)


@dataclass(frozen=True)
class PublishedFile:
    """Describe a Parquet file of a batch; `name` is relative to the batch's folder."""

    name: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Describe a published batch: scored + rejected + skipped rows = input rows."""

    sequence: int
    consumption: Consumption
    model_uri: str
    model_version: str
    scored_at: str
    input_rows: int
    scored_rows: int
    rejected_rows: int
    # Counts by skip reason, a constant such as `planning.KNOWN`.
    skipped_rows: dict[str, int]
    rejected_by_reason: dict[str, int]
    labels: dict[str, int]
    stages: dict[str, int]
    id_types: dict[str, str]
    bad_files: tuple[dict[str, str], ...] = ()
    files: tuple[PublishedFile, ...] = ()
    # Engines that scored this batch, as `ENGINE on INSTRUCTION_SET`.
    engines: tuple[str, ...] = ()
    # Class names in the order of the model, which is that of the column `probabilities`.
    label_names: tuple[str, ...] = POLARITY_LABELS
    # Scored rows whose score was below the `min_score` of the run.
    unsure_rows: int = 0
    # Manifests of the batches that a compacted batch replaces; `consumption` is that of the newest.
    parts: tuple["Manifest", ...] = ()

    @property
    def origins(self) -> tuple["Manifest", ...]:
        """Return the manifests of the batches as they were scored."""
        return self.parts or (self,)

    def to_json(self) -> str:
        return json.dumps({"manifest_version": MANIFEST_VERSION, **asdict(self)}, indent=1) + "\n"


def load_manifest(path: Path) -> Manifest:
    """Read a manifest; raise StoreError if that fails, because without it its rows would be scored again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop("manifest_version", None)
        if found in _NOT_STATED:
            content = _complete(content, _NOT_STATED[found])
        elif found != MANIFEST_VERSION:
            raise StoreError(
                f"{path}: is of manifest version {found}, expected {MANIFEST_VERSION}; "
                "score into another --output"
            )
        return _parse(content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{path}: cannot be read, so it is not known what was scored; restore it, or remove the folder "
            f"{path.parent}, whose rows are then scored again"
        ) from error


def _complete(content: dict[str, Any], not_stated: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of an older version as one of the present version, its parts too."""
    if not_stated.keys() & content.keys():
        raise ValueError("the manifest states what its version does not have")
    return {**content, **not_stated, "parts": [_complete(part, not_stated) for part in content["parts"]]}


def _parse(content: dict[str, Any]) -> Manifest:
    return Manifest(
        **{
            **content,
            "consumption": _parse_consumption(content["consumption"]),
            "parts": tuple(map(_parse, content["parts"])),
            "files": tuple(PublishedFile(**file) for file in content["files"]),
            "bad_files": tuple(content["bad_files"]),
            "engines": tuple(content["engines"]),
            "label_names": tuple(content["label_names"]),
            "unsure_rows": content["unsure_rows"],
        }
    )


def _parse_consumption(content: dict[str, Any]) -> Consumption:
    window = content["window"]
    return Consumption(
        **{
            **content,
            "inputs": tuple(content["inputs"]),
            "repeats_of": tuple(content["repeats_of"]),
            "window": Window(**window) if window else None,
        }
    )
