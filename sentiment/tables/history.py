"""What a store holds: rows of past batches, for the next run and for readers."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from .. import schema
from ..errors import MissingInputError
from .manifests import Manifest
from .reviews import column
from .store import REJECTED, Batch, Store, find_folder

LATEST = "latest"
ALL = "all"
KEY = "_key"
_RANK = "_rank"


def make_key(ids: Sequence[str]) -> Column:
    """The ids of a row as one value to compare; null if one of them is null."""
    is_whole = F.lit(True)
    for name in ids:
        is_whole &= column(name).isNotNull()
    return F.when(is_whole, F.array(*(column(name).cast("string") for name in ids)))


def read_rows(spark: SparkSession, batches: Iterable[Batch], is_rejected: bool) -> DataFrame | None:
    """The scored, or the rejected, rows of these batches; None if there are none."""
    folders = [
        str(batch.folder / REJECTED if is_rejected else batch.folder)
        for batch in batches
        if (batch.manifest.rejected_rows if is_rejected else batch.manifest.scored_rows)
    ]
    if not folders:
        return None
    rows = spark.read.option("__globPaths__", "false").parquet(*folders)
    return rows.drop("model", "batch")


def find_known(
    spark: SparkSession,
    batches: Sequence[Batch],
    ids: Sequence[str],
    model_id: str,
    is_rescore: bool,
    left_repeats: Sequence[Manifest],
) -> tuple[DataFrame | None, DataFrame | None]:
    """Keys and text digests of rows that need no score: (known, superseded), distinct; None for none.

    Known is what any model has scored, in a rescore only this one; and the rejects of `left_repeats`, the
    batches in which a stopped run has dealt with the ids that occur twice. Superseded, in a rescore, are
    older texts of an id.
    """
    relevant = [b for b in batches if set(b.manifest.id_types) == set(ids)]
    mine = [b for b in relevant if not is_rescore or b.manifest.consumption.model_id == model_id]
    left = [b for b in relevant if any(b.manifest.sequence == m.sequence for m in left_repeats)]
    parts = [
        rows for rows in (read_rows(spark, mine, False), read_rows(spark, left, True)) if rows is not None
    ]
    known = None
    for rows in parts:
        pairs = rows.select(make_key(ids).alias(KEY), schema.TEXT_DIGEST)
        known = pairs if known is None else known.unionByName(pairs)
    superseded = None
    history = read_rows(spark, relevant, False) if is_rescore else None
    if history is not None:
        newest_first = Window.partitionBy(KEY).orderBy(F.desc(schema.SEQUENCE))
        pairs = history.select(make_key(ids).alias(KEY), schema.TEXT_DIGEST, schema.SEQUENCE)
        newest = F.first(schema.TEXT_DIGEST).over(newest_first)
        superseded = (
            pairs.withColumn("_newest", newest)
            .where(F.col(schema.TEXT_DIGEST) != F.col("_newest"))
            .select(KEY, schema.TEXT_DIGEST)
            .distinct()
        )
    return (known.distinct() if known is not None else None), superseded


def read_scores(spark: SparkSession, path: str, model: str = LATEST) -> DataFrame:
    """The published scores of a store.

    `model` is `latest` (each id's newest row, by whatever model), a model version (the newest row that it
    gave), or `all` (every row). An id whose newest row is a reject has no latest score. Rows without an id
    are never scored. Raises StoreError if a manifest cannot be read, MissingInputError if nothing was
    published.
    """
    store = Store(find_folder(path))
    batches = _choose(store, model)
    scored, rejected = (read_rows(spark, batches, is_rejected) for is_rejected in (False, True))
    if scored is None:
        raise _nothing(store, model)
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


def load_scores(path: str, model: str = LATEST) -> pd.DataFrame:
    """`read_scores` without Spark, in memory."""
    store = Store(find_folder(path))
    batches = _choose(store, model)
    scored, rejected = (_load_rows(batches, is_rejected) for is_rejected in (False, True))
    if scored is None:
        raise _nothing(store, model)
    if model == ALL:
        everything: pd.DataFrame = scored.to_pandas()
        return everything
    ids = list(batches[0].manifest.id_types)
    rows = scored.append_column(schema.REJECT_REASON, pa.nulls(len(scored), pa.string()))
    if rejected is not None:
        rows = pa.concat_tables([rows, rejected], promote_options="default")
    frame = rows.to_pandas().dropna(subset=ids)
    newest = frame.sort_values(schema.SEQUENCE, kind="stable").drop_duplicates(ids, keep="last")
    kept: pd.DataFrame = newest.loc[newest[schema.REJECT_REASON].isna(), scored.column_names]
    return kept.reset_index(drop=True)


def _load_rows(batches: Iterable[Batch], is_rejected: bool) -> pa.Table | None:
    files = [
        str(file)
        for batch in batches
        for file in sorted(Path(batch.folder, REJECTED if is_rejected else "").glob("part-*"))
    ]
    return ds.dataset(files, format="parquet").to_table() if files else None


def _choose(store: Store, model: str) -> list[Batch]:
    batches = store.list_batches()
    if model in (LATEST, ALL):
        return batches
    return [batch for batch in batches if batch.manifest.model_version == model]


def _nothing(store: Store, model: str) -> MissingInputError:
    return MissingInputError(f"{store.root}: holds no scores of model {model!r}")
