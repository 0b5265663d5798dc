"""Which of the rows read are to be scored, and why the others are not: expressions, one row in, one out."""

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from .. import schema
from .history import KEY, make_key
from .planning import ELSEWHERE, KNOWN, REPEATED, SUPERSEDED, WAITING
from .reviews import IS_OUTSIDE, column

SKIP_REASON = "_skip_reason"
EARLY_REASON = "_early_reason"
TASKS_PER_CORE = 4
"""At least so many tasks a core: the last ones end together, and progress moves."""
_KEYS_PER_TASK = 50_000
"""About so many keys are held at once where keys are counted: a table may have any number."""
_GROUP = "_group"


@dataclass(frozen=True)
class Past:
    """Rows that need no score: distinct pairs of `history.KEY` and text digest."""

    known: DataFrame | None = None
    superseded: DataFrame | None = None


def identify(reviews: DataFrame, past: Past) -> DataFrame:
    """Add `_key`, `text_digest`, and `_skip_reason` of what is outside the window or in the past."""
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
    """The keys that occur more than once among these `n_rows` rows (`identify`), skipped ones apart."""
    keys = rows.where(F.col(SKIP_REASON).isNull() & F.col(KEY).isNotNull()).select(KEY)
    # Parted before they are counted: hardly a key occurs twice, so counting each file's first would
    # merge next to nothing, and hold all of its keys.
    parted = keys.repartition(-(-n_rows // _KEYS_PER_TASK), KEY)
    return parted.groupBy(KEY).count().where("count > 1").select(KEY)


def leave_repeated(rows: DataFrame, repeated: DataFrame) -> DataFrame:
    """Skip the rows (`identify`) of keys that the first chunk takes."""
    marked = rows.join(repeated.withColumn("_is_elsewhere", F.lit(True)), KEY, "left")
    reason = F.coalesce(SKIP_REASON, F.when(F.col("_is_elsewhere"), F.lit(ELSEWHERE)))
    return marked.withColumn(SKIP_REASON, reason).select(*map(column, rows.columns))


def keep_repeated(rows: DataFrame, repeated: DataFrame) -> DataFrame:
    """Of rows (`identify`) that are not skipped those with one of these keys."""
    kept = rows.where(F.col(SKIP_REASON).isNull()).join(repeated, KEY, "left_semi")
    return kept.select(*map(column, rows.columns))


def spread_rows(rows: DataFrame, n_rows: int, rows_per_task: int) -> DataFrame:
    """The same rows in even partitions, enough of them for all cores however the files were cut.

    Rows go by a hash of their id: those of one id meet, and a retried task puts every row where it was
    before (a round robin would not, SPARK-23207). Rows without id go by their text.
    """
    cores = rows.sparkSession.sparkContext.defaultParallelism
    tasks = min(n_rows, max(cores * TASKS_PER_CORE, -(-n_rows // rows_per_task)))
    group = F.coalesce(KEY, F.array(F.col(schema.TEXT_DIGEST).cast("string")))
    return rows.withColumn(_GROUP, group).repartition(tasks, _GROUP)


def settle_duplicates(rows: DataFrame) -> DataFrame:
    """Give `_early_reason` to rows that are rejects without being scored, and skip repetitions.

    `rows` are those of `spread_rows`. Of rows with one id and one text the first stands for all; if the
    texts differ, all of that id are rejects.
    """
    is_active = F.col(SKIP_REASON).isNull()
    digest = F.when(is_active, F.col(schema.TEXT_DIGEST))
    same_id = Window.partitionBy(_GROUP)
    # The active rows come first, so that one of them is the one that stays.
    number = F.row_number().over(same_id.orderBy(F.col(SKIP_REASON).asc_nulls_first(), schema.TEXT_DIGEST))
    has_id = F.col(KEY).isNotNull()
    is_conflict = has_id & is_active & (F.min(digest).over(same_id) != F.max(digest).over(same_id))
    text = F.col(schema.TEXT)
    # Bytes that are no UTF-8 cannot be handed to Python at all: they would fail the whole task.
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
