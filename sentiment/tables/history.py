"""Read the rows of past batches with Spark, for the next run and for readers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from .. import schema
from .input.reviews import column
from .store.folder import REJECTED, Batch, Store, find_folder
from .store.manifests import Manifest
from .store.scores import ALL, LATEST, choose_batches, make_no_scores_error

KEY = "_key"
_PAIR = (KEY, schema.TEXT_DIGEST)
_RANK = "_rank"
_IS_REJECTED = "_is_rejected"


def make_key(ids: Sequence[str]) -> Column:
    """Combine the ids of a row into one value to compare; null if one of them is null."""
    is_whole = F.lit(True)
    for name in ids:
        is_whole &= column(name).isNotNull()
    return F.when(is_whole, F.array(*(column(name).cast("string") for name in ids)))


def read_rows(
    spark: SparkSession, batches: Iterable[Batch], is_rejected: bool, has_all_columns: bool = False
) -> DataFrame | None:
    """Read the scored or the rejected rows of these batches; None if there are none.

    Batches differ in their columns (`probabilities`). With `has_all_columns` all of them are there, which
    reads the footer of each file; else those that all batches have.
    """
    folders = [
        str(batch.folder / REJECTED if is_rejected else batch.folder)
        for batch in batches
        if (batch.manifest.rejected_rows if is_rejected else batch.manifest.scored_rows)
    ]
    if not folders:
        return None
    options = {"__globPaths__": "false", "mergeSchema": str(has_all_columns).lower()}
    rows = spark.read.options(**options).parquet(*folders)
    return rows.drop("model", "batch")


@dataclass(frozen=True)
class Outcomes:
    """Hold distinct (key, text digest) pairs of a store; None if there are none.

    `known` pairs need no score. `newest` has each id's newest outcome, a score or a reject. `older` has
    scored pairs with an earlier text.
    """

    known: DataFrame | None = None
    newest: DataFrame | None = None
    older: DataFrame | None = None


def find_outcomes(
    spark: SparkSession,
    batches: Sequence[Batch],
    ids: Sequence[str],
    model_id: str | None,
    left_repeats: Sequence[Manifest],
) -> Outcomes:
    """Return the store's outcomes for rows with these id columns.

    An id's newest text is known if it was scored, by `model_id` or, if that is None, by any model. The
    rejects of `left_repeats` are known too: there a stopped run has handled the ids that occur twice.
    """
    relevant = [batch for batch in batches if set(batch.manifest.id_types) == set(ids)]
    scored, rejected = (_read_pairs(spark, relevant, ids, is_rejected) for is_rejected in (False, True))
    left = [batch for batch in relevant if any(batch.manifest.sequence == m.sequence for m in left_repeats)]
    left_pairs = _read_pairs(spark, left, ids, is_rejected=True)
    known = left_pairs.select(*_PAIR) if left_pairs is not None else None
    if scored is None:
        return Outcomes(known.distinct() if known is not None else None)
    everything = scored if rejected is None else scored.unionByName(rejected)
    newest = everything.groupBy(KEY).agg(
        F.max_by(schema.TEXT_DIGEST, schema.SEQUENCE).alias(schema.TEXT_DIGEST),
        F.max_by(_IS_REJECTED, schema.SEQUENCE).alias(_IS_REJECTED),
    )
    mine = scored
    if model_id is not None:
        own = [batch for batch in relevant if batch.manifest.consumption.model_id == model_id]
        mine = _read_pairs(spark, own, ids, is_rejected=False) or scored.limit(0)
    last_scored = newest.where(~F.col(_IS_REJECTED))
    done = mine.select(*_PAIR).distinct().join(last_scored, list(_PAIR), "left_semi")
    older = None
    if len(relevant) > 1:  # within one batch each id is unique
        older = scored.select(*_PAIR).distinct().join(newest, list(_PAIR), "left_anti")
    return Outcomes(done if known is None else done.unionByName(known).distinct(), newest, older)


def _read_pairs(
    spark: SparkSession, batches: Iterable[Batch], ids: Sequence[str], is_rejected: bool
) -> DataFrame | None:
    rows = read_rows(spark, batches, is_rejected)
    if rows is None:
        return None
    columns = (schema.TEXT_DIGEST, schema.SEQUENCE, F.lit(is_rejected).alias(_IS_REJECTED))
    pairs = rows.select(make_key(ids).alias(KEY), *columns)
    return pairs.where(F.col(KEY).isNotNull())


def read_scores(spark: SparkSession, path: str, model: str = LATEST) -> DataFrame:
    """Read the same rows as `scores.load_scores`, as a lazy Spark DataFrame with the ids' own types."""
    store = Store(find_folder(path))
    batches = choose_batches(store, model)
    scored, rejected = (read_rows(spark, batches, kind, has_all_columns=True) for kind in (False, True))
    if scored is None:
        raise make_no_scores_error(store, model)
    if model == ALL:
        return scored
    ids = list(batches[0].manifest.id_types)
    rows = scored.withColumn(schema.REJECT_REASON, F.lit(None).cast("string"))
    if rejected is not None:
        rows = rows.unionByName(rejected, allowMissingColumns=True)
    newest_first = Window.partitionBy(make_key(ids)).orderBy(F.desc(schema.SEQUENCE))
    return (
        rows.where(make_key(ids).isNotNull())
        .withColumn(_RANK, F.row_number().over(newest_first))
        .where((F.col(_RANK) == 1) & F.col(schema.REJECT_REASON).isNull())
        .select(*map(column, scored.columns))
    )
