"""Read published scores with Spark."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from .. import schema
from .columns import column, make_key
from .history import read_files
from .store.opening import find_store
from .store.scores import ALL, LATEST, choose_batches, make_no_scores_error

_RANK = "_rank"


def read_scores(
    spark: SparkSession, path: str, model: str = LATEST, storage_options: Mapping[str, str] | None = None
) -> DataFrame:
    """Read the same rows as `scores.load_scores`, as a lazy Spark DataFrame with the ids' own types."""
    store = find_store(path, storage_options)
    batches = choose_batches(store, model)
    scored, rejected = (read_files(spark, store.list_files(batches, kind)) for kind in (False, True))
    if scored is None:
        raise make_no_scores_error(store, model)
    if model == ALL:
        return scored
    if model != LATEST:
        # A Delta table may hold rows of several models in one file.
        scored = scored.where(F.col(schema.MODEL_VERSION) == model)
        rejected = rejected.where(F.col(schema.MODEL_VERSION) == model) if rejected is not None else None
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
