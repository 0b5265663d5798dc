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


def choose_labels(labels: pd.DataFrame, ids: list[str]) -> tuple[pd.DataFrame, int]:
    """Return one label per id, and the number of ids that are left out because their labels differ.

    `labels` has the ids and `truth`, a label of the model. Rows in which either is null are left out; ids
    compare as text.
    """
    known = labels.dropna(subset=["truth", *ids]).astype(dict.fromkeys(ids, str))
    known = known[[*ids, "truth"]].drop_duplicates()
    is_several = known.duplicated(ids, keep=False)
    return known[~is_several], len(known[is_several].drop_duplicates(ids))


def join_labels(scored: pd.DataFrame, labels: pd.DataFrame, ids: list[str]) -> Labelled:
    """Join scored rows with their labels, as `choose_labels` returns them."""
    rows = scored.astype(dict.fromkeys(ids, str)).merge(labels, on=ids, how="inner")
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
