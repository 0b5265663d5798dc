"""Decide which rows of a chunk are scored: the latest of each id, unless its text is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from .. import schema
from ..config import REJECT
from .columns import IS_OUTSIDE, KEY, KNOWN_DIGEST, ORDER, POSITION, make_key
from .store.manifests import KNOWN, SUPERSEDED, WAITING

_DECISION = "_decision"
_IS_CONFLICT = "_is_conflict"


@dataclass(frozen=True)
class Selection:
    """Hold the rows of a chunk that are not scored, by their positions, in rising order.

    The rows at `skipped` end as `skipped_by_reason` counts them, those at `duplicates` as rejects.
    `conflicting_ids` is the number of ids with several texts.
    """

    skipped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    duplicates: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    skipped_by_reason: dict[str, int] = field(default_factory=dict)
    conflicting_ids: int = 0


def select_rows(
    reviews: DataFrame, ids: Sequence[str], known: DataFrame | None, on_duplicate: str, n_tasks: int
) -> Selection:
    """Select among rows of `read_reviews`, in one query that moves their ids and positions, not their texts.

    If several rows have one id, the latest is scored: the highest `_order` if there is one, then the highest
    `_position`. With `on_duplicate` = reject, no row is scored of an id whose texts differ. `known` is of
    `history.find_known`. A row without an id is like no other.
    """
    digested = reviews.withColumn(schema.TEXT_DIGEST, F.xxhash64(schema.TEXT)).drop(schema.TEXT)
    # The null makes the key of a row without an id unlike that of any id, which has none.
    without_id = F.array(F.col(POSITION).cast("string"), F.lit(None).cast("string"))
    rows = digested.withColumn(KEY, F.coalesce(make_key(ids), without_id)).repartition(n_tasks, KEY)
    is_known = F.lit(False)
    if known is not None:
        rows = rows.join(known, KEY, "left")
        is_known = F.coalesce(F.col(KNOWN_DIGEST) == F.col(schema.TEXT_DIGEST), F.lit(False))
    is_inside = ~F.col(IS_OUTSIDE)
    order = [F.col(ORDER).desc_nulls_last()] if ORDER in reviews.columns else []
    same_id = Window.partitionBy(KEY)
    is_latest = F.row_number().over(same_id.orderBy(IS_OUTSIDE, *order, F.col(POSITION).desc())) == 1
    digest = F.when(is_inside, F.col(schema.TEXT_DIGEST))
    has_texts = F.min(digest).over(same_id) != F.max(digest).over(same_id)
    decision = (
        F.when(~is_inside, WAITING)
        .when(has_texts & F.lit(on_duplicate == REJECT), schema.DUPLICATE_ID)
        .when(~is_latest, SUPERSEDED)
        .when(is_known, KNOWN)
    )
    is_conflict = F.coalesce(has_texts & is_inside & is_latest, F.lit(False))
    decided = rows.select(POSITION, decision.alias(_DECISION), is_conflict.alias(_IS_CONFLICT))
    return _collect(decided.where(F.col(_DECISION).isNotNull() | F.col(_IS_CONFLICT)))


def _collect(decided: DataFrame) -> Selection:
    found = decided.toArrow().sort_by(POSITION)
    positions, decisions = found[POSITION].to_numpy(), found[_DECISION]
    is_duplicate = pc.fill_null(pc.equal(decisions, schema.DUPLICATE_ID), False)
    is_skipped = pc.and_(pc.is_valid(decisions), pc.invert(is_duplicate))
    counts = pc.value_counts(decisions.filter(is_skipped)).to_pylist()
    return Selection(
        positions[is_skipped.to_numpy()],
        positions[is_duplicate.to_numpy()],
        {count["values"]: count["counts"] for count in counts},
        int(pc.sum(found[_IS_CONFLICT]).as_py() or 0),
    )
