"""The pending rows of a run, read and identified, in the portions in which they are published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from .history import find_known
from .manifests import Consumption
from .planning import Slice, count_rows, cut_chunks, describe, find_left_repeats
from .plans import Plan
from .reviews import read_reviews
from .selection import Past, find_repeated, identify, keep_repeated, leave_repeated


@dataclass(frozen=True)
class Chunk:
    """What one batch takes: rows that were read and identified, and how many there are."""

    rows: DataFrame
    n_rows: int
    slices: tuple[Slice, ...]
    consumption: Consumption


def make_chunks(plan: Plan, spark: SparkSession, work: Path) -> Iterator[Chunk]:
    """The pending rows in chunks. Rows of an id that occurs in two of them all go into the first.

    `work` is a folder to keep in what is needed to the last chunk.
    """
    ids = plan.table.columns.ids
    left = find_left_repeats([batch.manifest for batch in plan.batches], plan.pending)
    past = Past(*find_known(spark, plan.batches, ids, plan.model.model_id, plan.request.is_rescore, left))

    def read(slices: Sequence[Slice]) -> DataFrame:
        return identify(read_reviews(spark, plan.table, slices, plan.request.window), past)

    parts = cut_chunks(plan.pending, plan.config.chunk_rows)
    later = [piece for part in parts[1:] for piece in part]
    repeated = None
    n_foreign = 0
    if later:
        find_repeated(read(plan.pending)).write.parquet(str(work / "repeated"))
        repeated = spark.read.parquet(str(work / "repeated"))
        n_foreign = keep_repeated(read(later), repeated).count()
    for number, part in enumerate(parts):
        rows, n_rows = read(part), count_rows(part)
        takes_foreign = number == 0 and n_foreign
        if takes_foreign and repeated is not None:
            rows, n_rows = rows.unionByName(keep_repeated(read(later), repeated)), n_rows + n_foreign
        elif number and repeated is not None:
            rows = leave_repeated(rows, repeated)
        taken = describe(plan.request, part, later if takes_foreign else ())
        yield Chunk(rows, n_rows, tuple(part), taken)
