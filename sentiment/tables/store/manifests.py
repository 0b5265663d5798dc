"""Write and read the manifest of a published batch, the only record of earlier runs."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import StoreError
from ...schema import POLARITY_LABELS

MANIFEST = "_MANIFEST.json"
# Folder of a batch's rejects.
REJECTED = "_rejected"
MANIFEST_VERSION = 5

# Why a row is skipped. The store's newest text of its id is identical:
KNOWN = "known"
# its chunk has a later row with its id:
SUPERSEDED = "superseded"
# its date is outside the window, and it stays pending.
WAITING = "waiting"

# Path, size, modification time, footer digest and rows of a file.
FileIdentity = dict[str, Any]

# What older versions did not state, and what it was then: no engines before version 3; always two classes
# before version 4; no thresholds, profiles or erased rows before version 5.
_SINCE_5: dict[str, Any] = {
    **{"conflicting_ids": 0, "repeated_texts": 0, "forgotten_rows": 0, "profile": None},
    **{"min_score": None, "target_accuracy": None, "input_version": None},
}
_SINCE_4: dict[str, Any] = {"label_names": POLARITY_LABELS, "unsure_rows": 0, **_SINCE_5}
_NOT_STATED: dict[int, dict[str, Any]] = {2: {"engines": [], **_SINCE_4}, 3: _SINCE_4, 4: _SINCE_5}


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

    `inputs` are file identities with `start_row` and `stop_row`. `retries_after` is that of the run's
    `Request`.
    """

    inputs: tuple[FileIdentity, ...]
    id_col: str
    text_col: str
    model_id: str
    window: Window | None = None
    is_rescore: bool = False
    retries_after: int = 0


@dataclass(frozen=True)
class BatchId:
    """Name a batch by its model version, its date and a digest of its `Consumption`."""

    model_version: str
    date: str
    digest: str

    @property
    def folder(self) -> str:
        """Return the folder of the batch, relative to the store."""
        return f"model={self.model_version}/batch={self.date}-{self.digest}"


@dataclass(frozen=True)
class PublishedFile:
    """Describe a Parquet file of a batch; `name` is relative to the batch's folder."""

    name: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Describe a published batch: scored + rejected + skipped + forgotten rows = input rows."""

    sequence: int
    consumption: Consumption
    model_uri: str
    model_version: str
    scored_at: str
    input_rows: int
    scored_rows: int
    rejected_rows: int
    # Counts by skip reason.
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
    # Scored rows whose score was below the threshold of the run: `min_score`, or that of `target_accuracy`,
    # or if both are None the model's own.
    unsure_rows: int = 0
    min_score: float | None = None
    target_accuracy: float | None = None
    # Ids of which a chunk held several texts; the latest was scored.
    conflicting_ids: int = 0
    # Scored rows whose text was scored for another row of the chunk.
    repeated_texts: int = 0
    # Rows that were erased for good later on (`python -m sentiment.tables forget`).
    forgotten_rows: int = 0
    # Version of the Delta table that was read, None for plain files.
    input_version: int | None = None
    # Counts of the scored rows, without text, for monitoring (`sentiment.evaluation.profile`).
    profile: dict[str, Any] | None = None
    # Manifests of the batches that a compacted batch replaces; `consumption` is that of the newest.
    parts: tuple["Manifest", ...] = ()

    @property
    def origins(self) -> tuple["Manifest", ...]:
        """Return the manifests of the batches as they were scored."""
        return self.parts or (self,)

    def to_json(self) -> str:
        return json.dumps({"manifest_version": MANIFEST_VERSION, **asdict(self)}, indent=1) + "\n"


def digest_content(content: object) -> str:
    """Return the digest that names a batch by what it was made of."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def load_manifest(path: Path) -> Manifest:
    """Read a manifest; raise StoreError if that fails, because without it its rows would be scored again."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _make_unreadable_error(str(path)) from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, path: str) -> Manifest:
    """Return the manifest in a text; raise StoreError, which names `path`, if it cannot be one."""
    try:
        content = json.loads(text)
        found = content.pop("manifest_version", None)
        if found in _NOT_STATED:
            content = _complete(content, _NOT_STATED[found])
        elif found != MANIFEST_VERSION:
            raise StoreError(
                f"{path}: is of manifest version {found}, expected {MANIFEST_VERSION}; "
                "score into another --output"
            )
        return _parse(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _make_unreadable_error(path) from error


def _make_unreadable_error(path: str) -> StoreError:
    return StoreError(
        f"{path}: cannot be read, so it is not known what was scored; restore it, or remove the folder "
        f"{path.rpartition('/')[0]}, whose rows are then scored again"
    )


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
            **{name: content[name] for name in ("unsure_rows", *_SINCE_5)},
        }
    )


def _parse_consumption(content: dict[str, Any]) -> Consumption:
    window = content["window"]
    # Until version 4, a batch could take the repeated ids of later chunks; these have batches of their own.
    content = {"retries_after": 0, **{name: content[name] for name in content if name != "repeats_of"}}
    return Consumption(
        **{
            **content,
            "inputs": tuple(content["inputs"]),
            "window": Window(**window) if window else None,
        }
    )
