"""Read the pending rows of a run in chunks; each chunk becomes one batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from .. import schema
from .history import KEY, find_outcomes
from .input.reviews import read_reviews
from .planning import Slice, count_slice_rows, cut_chunks, find_left_repeats, make_consumption
from .plans import Plan
from .selection import Past, find_repeated, identify, select_repeated, skip_repeated
from .store.manifests import Consumption


@dataclass(frozen=True)
class Chunk:
    """Hold the rows that become one batch, already passed through `selection.identify`."""

    rows: DataFrame
    n_rows: int
    slices: tuple[Slice, ...]
    consumption: Consumption


def make_chunks(plan: Plan, spark: SparkSession, work: Path) -> Iterator[Chunk]:
    """Yield the pending rows in chunks; all rows of an id that occurs more than once go into the first one.

    `work` is a folder for temporary files that must stay until the last chunk is done.
    """
    ids = plan.table.columns.ids
    left = find_left_repeats([batch.manifest for batch in plan.batches], plan.pending)
    model_id = plan.model.model_id if plan.request.is_rescore else None
    outcomes = find_outcomes(spark, plan.batches, ids, model_id, left)
    superseded = None
    if outcomes.older is not None and outcomes.newest is not None and not outcomes.older.isEmpty():
        # Skip an older text only if this run also reads the id's newest text. Otherwise the input has
        # returned to the older text.
        pending = identify(read_reviews(spark, plan.table, plan.pending, plan.request.window), Past())
        present = pending.join(outcomes.newest, [KEY, schema.TEXT_DIGEST], "left_semi").select(KEY)
        outcomes.older.join(present, KEY, "left_semi").write.parquet(str(work / "superseded"))
        superseded = spark.read.parquet(str(work / "superseded"))
    past = Past(outcomes.known, superseded)

    def read(slices: Sequence[Slice]) -> DataFrame:
        return identify(read_reviews(spark, plan.table, slices, plan.request.window), past)

    parts = cut_chunks(plan.pending, plan.config.chunk_rows)
    later = [piece for part in parts[1:] for piece in part]
    repeated = None
    n_foreign = 0
    if later:
        n_pending = count_slice_rows(plan.pending)
        find_repeated(read(plan.pending), n_pending).write.parquet(str(work / "repeated"))
        repeated = spark.read.parquet(str(work / "repeated"))
        n_foreign = select_repeated(read(later), repeated).count()
    for number, part in enumerate(parts):
        rows, n_rows = read(part), count_slice_rows(part)
        takes_foreign = number == 0 and n_foreign
        if takes_foreign and repeated is not None:
            rows, n_rows = rows.unionByName(select_repeated(read(later), repeated)), n_rows + n_foreign
        elif number and repeated is not None:
            rows = skip_repeated(rows, repeated)
        taken = make_consumption(plan.request, part, later if takes_foreign else ())
        yield Chunk(rows, n_rows, tuple(part), taken)
