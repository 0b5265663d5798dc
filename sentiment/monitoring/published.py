"""Read what the batches of a night hold: from their manifests or, where these are silent, their rows."""

import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .. import schema
from ..errors import InputError
from ..evaluation import profile
from .observation import Observation, SeenFile
from .realised import Labelled, choose_labels, join_labels

# Return True if the batch with this number and name belongs to a night.
Includes = Callable[[int, str], bool]
_NO_PROFILE = "a batch has no profile in its manifest, and the published rows have no texts"


@dataclass(frozen=True)
class PublishedBatch:
    """Hold a batch as monitoring needs it. `inputs` are the file identities of its manifest.

    `input_rows` are without those that stay pending. `skipped_rows` were not scored: they were known already,
    or the chunk has a later row of their id. `load_rows` loads scored
    rows and rejects; `profile` is that of its manifest, None if that has none.
    """

    number: int
    # Two batches may have had one number, if one of them was dropped, but no name.
    name: str
    model_uri: str
    model_version: str
    ids: tuple[str, ...]
    label_names: tuple[str, ...]
    input_rows: int
    scored_rows: int
    skipped_rows: int
    is_rescore: bool
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
    settings: Mapping[str, Any],
) -> Observation:
    """Add up the batches of a night; `now` is in UTC, `settings` as an `Observation` has them.

    The model is that of the newest batch; without batches it is `model`, URI and version.
    """
    chosen = [batch for batch in batches if includes(batch.number, batch.name)]
    models = [*dict.fromkeys((batch.model_uri, batch.model_version) for batch in chosen)] or [model]
    missing = {}
    if any(batch.profile is None for batch in chosen):
        missing["text figures"] = _NO_PROFILE
    if len(models) > 1:
        missing["one model"] = f"the night has batches of the versions {', '.join(v for _, v in models)}"
    total, bad = profile.Profile(), {}
    for batch in chosen:
        total = total.merge(make_profile(batch))
        bad.update({entry["path"]: entry for entry in batch.bad_files})
    # A night that is repeated, or filled in later, is as fresh as it was.
    end = datetime.datetime.combine(night, datetime.time(), now.tzinfo) + datetime.timedelta(days=1)
    return Observation(
        night=night,
        now=min(now, end),
        model_uri=models[-1][0],
        model_version=models[-1][1],
        profile=total,
        batches=len(chosen),
        input_rows=sum(batch.input_rows for batch in chosen),
        skipped_rows=sum(batch.skipped_rows for batch in chosen),
        rescored_rows=sum(batch.input_rows for batch in chosen if batch.is_rescore),
        settings=settings,
        # The files of rows that are scored again came long ago.
        files=list_files([batch for batch in chosen if not batch.is_rescore]),
        bad_files=list(bad.values()),
        missing=missing,
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
        SeenFile(path, datetime.datetime.fromtimestamp(modified / 1e9, datetime.UTC), n)
        for (path, modified), n in rows.items()
    ]


def label_nights(
    batches: Sequence[PublishedBatch],
    nights: Mapping[datetime.date, Includes],
    load_scored: Callable[[frozenset[int]], pd.DataFrame],
    find_truth: Callable[[Sequence[str]], pd.DataFrame],
) -> tuple[dict[datetime.date, Labelled], dict[str, str]]:
    """Join the scored rows of each night with the labels that came in; also return why some are missing.

    `load_scored` loads the scored rows of the batches with these numbers, perhaps only those that have a
    label. `find_truth` returns the id columns and `truth`, one of the labels that it gets: those of the
    model that scored a batch. It raises an InputError if these do not fit, which the newest must.
    """
    owners = {
        batch.number: night
        for night, includes in nights.items()
        for batch in batches
        if batch.scored_rows and includes(batch.number, batch.name)
    }
    newest = (batches[-1].ids, batches[-1].label_names)
    numbers: dict[tuple[tuple[str, ...], tuple[str, ...]], set[int]] = {newest: set()}
    for batch in batches:
        if batch.number in owners:
            numbers.setdefault((batch.ids, batch.label_names), set()).add(batch.number)
    parts, missing = [], {}
    for (ids, names), mine in numbers.items():
        where = f"realised accuracy of {len(mine):,} batches with ids {ids} and labels {names}"
        try:
            labels, several = choose_labels(find_truth(names), list(ids)) if ids == newest[0] else (None, 0)
        except InputError as error:
            if (ids, names) == newest:
                raise
            missing[where] = str(error)
            continue
        if labels is None:
            missing[where] = f"the newest batch has ids {newest[0]}"
            continue
        if several:
            missing["realised accuracy of some reviews"] = f"{several:,} ids have several, different labels"
        if mine:
            parts.append(join_labels(load_scored(frozenset(mine)), labels, list(ids)).rows)
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if parts and rows.empty:
        missing["realised accuracy"] = (
            "no label has the id of a scored row; look whether its id columns hold the ids that were scored"
        )
    nights_of_rows = rows[schema.SEQUENCE].map(owners) if len(rows) else pd.Series(dtype=object)
    return {night: Labelled(rows[nights_of_rows == night]) for night in {*nights_of_rows}}, missing
