"""Measure the accuracy of past nights by labels, or stars, that have come in since."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .. import schema
from ..evaluation.intervals import measure_share
from ..evaluation.profile import IS_RIGHT, Profile, make_profile


@dataclass(frozen=True)
class Labelled:
    """Hold the scored rows of a night whose labels are known: columns of predictions and `is_right`.

    `model_version` has the version that scored each row.
    """

    rows: pd.DataFrame


def join_labels(scored: pd.DataFrame, labels: pd.DataFrame, ids: list[str]) -> Labelled:
    """Join scored rows with labels by their ids; `labels` has the ids and `truth`, a label of the model.

    Rejects, rows without a known label, and labels that are null are left out; ids compare as text.
    """
    scored = scored[scored[schema.LABEL].notna()]
    known = labels.dropna(subset=["truth", *ids]).astype(dict.fromkeys(ids, str))
    rows = scored.astype(dict.fromkeys(ids, str)).merge(known[[*ids, "truth"]], on=ids, how="inner")
    return Labelled(rows.assign(**{IS_RIGHT: rows[schema.LABEL] == rows["truth"]}))


def measure_nights(
    labelled: Mapping[datetime.date, Labelled], measured_on: datetime.date
) -> dict[datetime.date, dict[str, Any]]:
    """Return the row of each night in the table of realised accuracy; a night without labels has none."""
    found = {}
    for night, part in labelled.items():
        if len(part.rows):
            share = measure_share(part.rows[IS_RIGHT].to_numpy(dtype=bool))
            found[night] = {
                "realised_accuracy": share.value,
                "realised_low": share.low,
                "realised_high": share.high,
                "realised_rows": len(part.rows),
                "measured_on": measured_on,
            }
    return found


def add_up(nights: Iterable[Labelled], model_version: str) -> Profile | None:
    """Return the profile of the labelled rows that this model scored; None if there are none."""
    total = Profile()
    for night in nights:
        mine = night.rows[night.rows[schema.MODEL_VERSION] == model_version]
        if len(mine):
            total = total.merge(make_profile(mine))
    return total if total.scored_rows else None
