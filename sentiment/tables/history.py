"""Read the rows of past batches in Spark's executors, and find the ids whose text they have scored."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from .. import schema
from .columns import KEY, KNOWN_DIGEST, make_key, quote
from .input.types import cast_column, find_carried_type, name_spark_type
from .store.files import StoredFile
from .store.protocol import Store

_IS_REJECTED = "_is_rejected"
_BATCH_ROWS = 10_000
# Files are read by at most this many tasks.
_MAX_TASKS = 200


def find_known(
    spark: SparkSession, store: Store, ids: Sequence[str], model_id: str | None
) -> DataFrame | None:
    """Return `_key` and `_known_digest` of ids whose newest outcome in the store is a score.

    None if there is no such id. With `model_id` only texts count that this model has scored.
    """
    batches = [batch for batch in store.list_batches() if set(batch.manifest.id_types) == set(ids)]
    scored, rejected = (
        _read_keys(spark, store.list_files(batches, is_rejected), ids, is_rejected)
        for is_rejected in (False, True)
    )
    if scored is None:
        return None
    rows = scored if rejected is None else scored.unionByName(rejected)
    outcome = F.struct(F.col(schema.TEXT_DIGEST).alias("digest"), F.col(_IS_REJECTED).alias("is_rejected"))
    is_counted = ~F.col(_IS_REJECTED)
    if model_id is not None:
        origins = [origin for batch in batches for origin in batch.manifest.origins]
        own = [origin.sequence for origin in origins if origin.consumption.model_id == model_id]
        is_counted &= F.col(schema.SEQUENCE).isin(own)
    newest = rows.groupBy(KEY).agg(
        F.max_by(outcome, schema.SEQUENCE).alias("newest"),
        F.collect_set(F.when(is_counted, F.col(schema.TEXT_DIGEST))).alias("scored"),
    )
    is_known = ~F.col("newest.is_rejected") & F.array_contains("scored", F.col("newest.digest"))
    return newest.where(is_known).select(KEY, F.col("newest.digest").alias(KNOWN_DIGEST))


def _read_keys(
    spark: SparkSession, files: Sequence[StoredFile], ids: Sequence[str], is_rejected: bool
) -> DataFrame | None:
    rows = read_files(spark, files, (*ids, schema.TEXT_DIGEST, schema.SEQUENCE))
    if rows is None:
        return None
    keys = rows.select(
        make_key(ids).alias(KEY), schema.TEXT_DIGEST, schema.SEQUENCE, F.lit(is_rejected).alias(_IS_REJECTED)
    )
    return keys.where(F.col(KEY).isNotNull())


def read_files(
    spark: SparkSession, files: Sequence[StoredFile], names: Sequence[str] | None = None
) -> DataFrame | None:
    """Read these columns of published files, which all have them, or all columns; None without files.

    Batches differ in their columns (`probabilities`): with all, a value may be null for a whole file.
    """
    if not files:
        return None
    if names is None:
        output = _make_output(pa.unify_schemas([file.read_schema() for file in _one_per_batch(files)]))
    else:
        # One footer has the types of all files: a store has one type per column.
        found = files[0].read_schema()
        output = _make_output(pa.schema([found.field(name) for name in names]))
    tasks = [files[n::_MAX_TASKS] for n in range(min(_MAX_TASKS, len(files)))]

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for file in tasks[number]:
                    yield from _read_file(file, output)

    ddl = ", ".join(f"{quote(f.name)} {_name_type(f.type)}" for f in output)
    return spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(read, ddl)


def _one_per_batch(files: Sequence[StoredFile]) -> list[StoredFile]:
    """Return one file of each batch: the others have the same columns."""
    return list({file.batch: file for file in files}.values())


def _read_file(file: StoredFile, output: pa.Schema) -> Iterator[pa.RecordBatch]:
    with file.open() as opened, pq.ParquetFile(opened) as found:
        held = set(found.schema_arrow.names)
        wanted = [name for name in output.names if name in held]
        at = 0
        for batch in found.iter_batches(_BATCH_ROWS, columns=wanted):
            kept = file.keep(batch, at)
            at += len(batch)
            arrays = [
                _cast(kept.column(field.name), field.type)
                if field.name in held
                else pa.nulls(len(kept), field.type)
                for field in output
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=output)


def _make_output(columns: pa.Schema) -> pa.Schema:
    def carry(kind: pa.DataType) -> pa.DataType:
        return kind if pa.types.is_list(kind) else find_carried_type(kind)

    return pa.schema([pa.field(field.name, carry(field.type)) for field in columns])


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return (
        values.cast(kind)
        if pa.types.is_list(kind) or pa.types.is_floating(kind)
        else cast_column(values, kind)
    )


def _name_type(kind: pa.DataType) -> str:
    return f"array<{name_spark_type(kind.value_type)}>" if pa.types.is_list(kind) else name_spark_type(kind)
