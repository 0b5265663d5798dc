"""Select the rows to score, and give the others a skip reason or an early reject reason."""

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from .. import schema
from .history import KEY, make_key
from .input.reviews import IS_OUTSIDE, column
from .planning import ELSEWHERE, KNOWN, REPEATED, SUPERSEDED, WAITING

SKIP_REASON = "_skip_reason"
EARLY_REASON = "_early_reason"
# More tasks than cores: cores finish at about the same time, and the progress is updated more often.
TASKS_PER_CORE = 4
# A task that counts keys holds about this many at once; a table may have any number.
_KEYS_PER_TASK = 50_000
_GROUP = "_group"


@dataclass(frozen=True)
class Past:
    """Hold the rows that need no score, as distinct pairs of `history.KEY` and text digest."""

    known: DataFrame | None = None
    superseded: DataFrame | None = None


def identify(reviews: DataFrame, past: Past) -> DataFrame:
    """Add `_key`, `text_digest`, and `_skip_reason` of rows outside the window or in `past`."""
    ids = [name for name in reviews.columns if name not in (schema.TEXT, IS_OUTSIDE)]
    rows = reviews.withColumn(KEY, make_key(ids)).withColumn(schema.TEXT_DIGEST, F.xxhash64(schema.TEXT))
    reason = F.when(F.col(IS_OUTSIDE), F.lit(WAITING))
    for pairs, said in ((past.superseded, SUPERSEDED), (past.known, KNOWN)):
        if pairs is not None:
            mark = f"_is_{said}"
            rows = rows.join(pairs.withColumn(mark, F.lit(True)), [KEY, schema.TEXT_DIGEST], "left")
            reason = reason.when(F.col(mark), F.lit(said))
    return rows.select(*map(column, ids), schema.TEXT, KEY, schema.TEXT_DIGEST, reason.alias(SKIP_REASON))


def find_repeated(rows: DataFrame, n_rows: int) -> DataFrame:
    """Return the keys that occur more than once in `n_rows` rows of `identify`, ignoring skipped rows."""
    keys = rows.where(F.col(SKIP_REASON).isNull() & F.col(KEY).isNotNull()).select(KEY)
    # Repartition first: Spark otherwise counts each file before the shuffle, and holds all its keys.
    parted = keys.repartition(-(-n_rows // _KEYS_PER_TASK), KEY)
    return parted.groupBy(KEY).count().where("count > 1").select(KEY)


def skip_repeated(rows: DataFrame, repeated: DataFrame) -> DataFrame:
    """Skip the rows of `identify` whose keys the first chunk takes."""
    marked = rows.join(repeated.withColumn("_is_elsewhere", F.lit(True)), KEY, "left")
    reason = F.coalesce(SKIP_REASON, F.when(F.col("_is_elsewhere"), F.lit(ELSEWHERE)))
    return marked.withColumn(SKIP_REASON, reason).select(*map(column, rows.columns))


def select_repeated(rows: DataFrame, repeated: DataFrame) -> DataFrame:
    """Return the rows of `identify` that have one of these keys and are not skipped."""
    kept = rows.where(F.col(SKIP_REASON).isNull()).join(repeated, KEY, "left_semi")
    return kept.select(*map(column, rows.columns))


def spread_rows(rows: DataFrame, n_rows: int, rows_per_task: int) -> DataFrame:
    """Return the rows in even partitions, enough for all cores whatever the sizes of the files.

    A hash of the id (`_group`, added here) selects the partition: all rows of an id are in the same one, and
    a retried task puts every row where it was before (a round robin would not, SPARK-23207). Rows without an
    id are distributed by their text.
    """
    cores = rows.sparkSession.sparkContext.defaultParallelism
    tasks = min(n_rows, max(cores * TASKS_PER_CORE, -(-n_rows // rows_per_task)))
    group = F.coalesce(KEY, F.array(F.col(schema.TEXT_DIGEST).cast("string")))
    return rows.withColumn(_GROUP, group).repartition(tasks, _GROUP)


def settle_duplicates(rows: DataFrame) -> DataFrame:
    """Give `_early_reason` to rows that are rejected without scoring, and skip repeated rows.

    `rows` come from `spread_rows`. If rows have the same id and the same text, the first one is scored; if
    their texts differ, all rows of the id are rejected.
    """
    is_active = F.col(SKIP_REASON).isNull()
    digest = F.when(is_active, F.col(schema.TEXT_DIGEST))
    same_id = Window.partitionBy(_GROUP)
    # Sort active rows first, so that the first row, which is kept, is an active one.
    number = F.row_number().over(same_id.orderBy(F.col(SKIP_REASON).asc_nulls_first(), schema.TEXT_DIGEST))
    has_id = F.col(KEY).isNotNull()
    is_conflict = has_id & is_active & (F.min(digest).over(same_id) != F.max(digest).over(same_id))
    text = F.col(schema.TEXT)
    # Spark cannot pass invalid UTF-8 to Python: one such text would fail the whole task.
    is_undecodable = F.coalesce(~F.is_valid_utf8(text), F.lit(False))
    early = (
        F.when(~has_id, F.lit(schema.NULL_ID))
        .when(is_conflict, F.lit(schema.DUPLICATE_ID))
        .when(is_undecodable, F.lit(schema.UNDECODABLE_TEXT))
    )
    is_repeated = has_id & is_active & ~is_conflict & (number > 1)
    ids = [n for n in rows.columns if n not in (schema.TEXT, KEY, schema.TEXT_DIGEST, SKIP_REASON, _GROUP)]
    return rows.select(
        *map(column, ids),
        schema.TEXT,
        schema.TEXT_DIGEST,
        F.when(is_repeated, F.lit(REPEATED)).otherwise(F.col(SKIP_REASON)).alias(SKIP_REASON),
        F.when(is_active, early).alias(EARLY_REASON),
    )
