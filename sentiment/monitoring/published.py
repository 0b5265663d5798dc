"""Read what the batches of a night hold: from their manifests or, where these are silent, their rows."""

import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..evaluation import profile
from .observation import Observation, SeenFile
from .realised import Labelled, join_labels

# Tells whether the batch with a number belongs to a night.
Includes = Callable[[int], bool]
_NO_PROFILE = "a batch has no profile in its manifest, and the published rows have no texts"


@dataclass(frozen=True)
class PublishedBatch:
    """Hold a batch as monitoring needs it. `inputs` are the file identities of its manifest.

    `load_rows` loads its scored rows and rejects; `profile` is that of its manifest, None if that has none.
    """

    number: int
    ids: Sequence[str]
    label_names: Sequence[str]
    input_rows: int
    scored_rows: int
    skipped: Mapping[str, int]
    inputs: Sequence[Mapping[str, Any]]
    bad_files: Sequence[Mapping[str, str]]
    profile: Mapping[str, Any] | None
    load_rows: Callable[[], pd.DataFrame]


def observe(
    night: datetime.date,
    now: datetime.datetime,
    model: tuple[str, str],
    batches: Sequence[PublishedBatch],
    includes: Includes,
) -> Observation:
    """Add up the batches of a night; `model` is URI and version, `now` in UTC."""
    chosen = [batch for batch in batches if includes(batch.number)]
    total, skipped, bad = profile.Profile(), Counter[str](), {}
    for batch in chosen:
        total = total.merge(make_profile(batch))
        skipped.update(batch.skipped)
        bad.update({entry["path"]: entry for entry in batch.bad_files})
    # A night that is repeated, or filled in later, is as fresh as it was.
    end = datetime.datetime.combine(night, datetime.time(), now.tzinfo) + datetime.timedelta(days=1)
    return Observation(
        night=night,
        now=min(now, end),
        model_uri=model[0],
        model_version=model[1],
        profile=total,
        batches=len(chosen),
        input_rows=sum(batch.input_rows for batch in chosen),
        skipped=dict(skipped),
        files=list_files(chosen),
        bad_files=list(bad.values()),
        missing={"text figures": _NO_PROFILE} if any(batch.profile is None for batch in chosen) else {},
    )


def make_profile(batch: PublishedBatch) -> profile.Profile:
    """Return the profile in the manifest of a batch, else one of its rows, which has no figures of texts."""
    if batch.profile is not None:
        return profile.load(batch.profile)
    return profile.make_profile(batch.load_rows())


def list_files(batches: Sequence[PublishedBatch]) -> list[SeenFile]:
    """Return the input files of batches, each once, with the rows that were taken of it."""
    rows: Counter[tuple[str, int]] = Counter()
    for batch in batches:
        for entry in batch.inputs:
            rows[entry["path"], entry["modified_ns"]] += entry["stop_row"] - entry["start_row"]
    return [
        SeenFile(path, datetime.datetime.fromtimestamp(modified / 1e9, datetime.timezone.utc), n)
        for (path, modified), n in rows.items()
    ]


def label_nights(
    batches: Sequence[PublishedBatch], labels: pd.DataFrame, nights: Mapping[datetime.date, Includes]
) -> dict[datetime.date, Labelled]:
    """Join the scored rows of each night with labels; nights without rows are left out.

    `labels` has the id columns and `truth`, a label of the model.
    """
    found = {}
    for night, includes in nights.items():
        mine = [batch for batch in batches if batch.scored_rows and includes(batch.number)]
        if mine:
            rows = pd.concat([batch.load_rows() for batch in mine], ignore_index=True)
            found[night] = join_labels(rows, labels, list(mine[0].ids))
    return found
