"""Decide, in one Spark query per chunk, which rows are scored: the latest of each id, unless it is known."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from .. import schema
from ..config import REJECT
from .history import KEY, KNOWN_DIGEST, make_key
from .input.reviews import IS_OUTSIDE, ORDER, POSITION, column
from .pending import KNOWN, SUPERSEDED, WAITING

SKIP_REASON = "_skip_reason"
EARLY_REASON = "_early_reason"
# True for the row that is kept of an id with several texts.
IS_CONFLICT = "_is_conflict"
_GROUP = "_group"


def select_rows(
    reviews: DataFrame, ids: Sequence[str], known: DataFrame | None, on_duplicate: str, n_tasks: int
) -> DataFrame:
    """Give each row of `read_reviews` a skip reason, an early reject reason, or none if the model scores it.

    Returns the ids, `text`, `text_digest`, `_skip_reason`, `_early_reason` and `_is_conflict`. Of the rows
    with one id the latest is kept: the highest `_order` if there is one, then the highest `_position`. With
    `on_duplicate` = reject, no row is kept of an id whose texts differ. `known` is of `history.find_known`.

    Rows are distributed by their id, so a retried task puts every row where it was before (a round robin
    would not, SPARK-23207).
    """
    # Each row without an id is a group of its own. The null makes it unlike any id, which has none.
    alone = F.array(F.col(POSITION).cast("string"), F.lit(None).cast("string"))
    group = F.coalesce(make_key(ids), alone)
    rows = (
        reviews.withColumn(KEY, make_key(ids))
        .withColumn(schema.TEXT_DIGEST, F.xxhash64(schema.TEXT))
        .withColumn(_GROUP, group)
        .repartition(n_tasks, _GROUP)
    )
    is_known = F.lit(False)
    if known is not None:
        rows = rows.join(known.withColumnRenamed(KEY, _GROUP), _GROUP, "left")
        is_known = F.coalesce(F.col(KNOWN_DIGEST) == F.col(schema.TEXT_DIGEST), F.lit(False))
    is_inside = ~F.col(IS_OUTSIDE)
    order = [F.col(ORDER).desc_nulls_last()] if ORDER in reviews.columns else []
    same_id = Window.partitionBy(_GROUP)
    number = F.row_number().over(same_id.orderBy(F.col(IS_OUTSIDE), *order, F.col(POSITION).desc()))
    digest = F.when(is_inside, F.col(schema.TEXT_DIGEST))
    has_texts = F.min(digest).over(same_id) != F.max(digest).over(same_id)
    is_latest = number == 1
    is_rejected = has_texts & F.lit(on_duplicate == REJECT)
    skip = (
        F.when(~is_inside, F.lit(WAITING))
        .when(is_rejected, F.lit(None))
        .when(~is_latest, F.lit(SUPERSEDED))
        .when(is_known, F.lit(KNOWN))
    )
    return rows.select(
        *map(column, ids),
        schema.TEXT,
        schema.TEXT_DIGEST,
        skip.alias(SKIP_REASON),
        F.when(is_inside, _find_early_reason(is_rejected)).alias(EARLY_REASON),
        (has_texts & is_inside & is_latest).alias(IS_CONFLICT),
    )


def _find_early_reason(is_rejected: Column) -> Column:
    # Spark cannot pass invalid UTF-8 to Python: one such text would fail the whole task.
    is_undecodable = F.coalesce(~F.is_valid_utf8(F.col(schema.TEXT)), F.lit(False))
    return (
        F.when(F.col(KEY).isNull(), F.lit(schema.NULL_ID))
        .when(is_rejected, F.lit(schema.DUPLICATE_ID))
        .when(is_undecodable, F.lit(schema.UNDECODABLE_TEXT))
    )
