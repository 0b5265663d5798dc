"""Score one chunk: read, select, score and write it in the executors, then audit and publish it."""

import time
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession

from .. import schema
from ..errors import StoreError
from . import session
from .audit import Counts, audit, audit_files, check_rejects
from .input.reviews import read_reviews
from .pending import Slice, count_slice_rows, make_consumption, name_batch
from .plans import Plan
from .scoring import Stamp, score_rows
from .selection import select_rows
from .store.manifests import Consumption, Manifest
from .store.protocol import MAX_FILE_ROWS, Batch, Store
from .worker import SharedModel, WorkerCensus
from .writing import Written, list_scored_columns, write_rows

# More tasks than cores: cores finish at about the same time, and the progress is updated more often.
_TASKS_PER_CORE = 4


@dataclass(frozen=True)
class Chunk:
    """Hold the pending rows that become one batch."""

    plan: Plan
    slices: tuple[Slice, ...]
    stamp: Stamp

    @property
    def n_rows(self) -> int:
        return count_slice_rows(self.slices)

    @property
    def consumption(self) -> Consumption:
        return make_consumption(self.plan.request, self.slices)


@dataclass(frozen=True)
class Published:
    """Hold a published batch, its counts, and the seconds that reading, scoring and writing took."""

    batch: Batch
    counts: Counts
    seconds: float


def score_chunk(
    chunk: Chunk,
    spark: SparkSession,
    model: SharedModel,
    known: DataFrame | None,
    store: Store,
    census: WorkerCensus,
) -> Published:
    """Score a chunk and publish it as a batch; raise StoreError if its rows do not add up."""
    staging = store.stage()
    started = time.monotonic()
    rows = _make_query(chunk, spark, model, known, census)
    plan = chunk.plan
    ids, n_files = plan.table.columns.ids, -(-chunk.n_rows // MAX_FILE_ROWS)
    written = write_rows(
        rows, staging, ids, tuple(plan.prediction_types), plan.model.labels, chunk.stamp, n_files
    )
    seconds = time.monotonic() - started
    _check(chunk, written, staging.folder)
    name = name_batch(chunk.consumption, plan.model.version, plan.now)
    manifest = _make_manifest(chunk, written, census)
    return Published(store.publish(staging, name, manifest, written.files), written.counts, seconds)


def _make_query(
    chunk: Chunk, spark: SparkSession, model: SharedModel, known: DataFrame | None, census: WorkerCensus
) -> DataFrame:
    plan, cores = chunk.plan, session.count_cores(spark)
    n_tasks = min(chunk.n_rows, max(cores * _TASKS_PER_CORE, -(-chunk.n_rows // plan.config.rows_per_task)))
    reviews = read_reviews(spark, plan.table, chunk.slices, cores, plan.request.window)
    selected = select_rows(reviews, plan.table.columns.ids, known, plan.config.on_duplicate, n_tasks)
    return score_rows(selected, model, census, n_tasks)


def _check(chunk: Chunk, written: Written, staged: str) -> None:
    """Raise StoreError, or HeldBatchError for too many rejects, if the batch must not be published."""
    plan, counts = chunk.plan, written.counts
    audit(counts, chunk.n_rows, plan.model.labels)
    ids = plan.table.columns.ids
    scored = (*ids, *list_scored_columns(tuple(plan.prediction_types)))
    audit_files(written.files, counts, scored, (*ids, schema.REJECT_REASON, *schema.TABLE_COLUMNS))
    storage = plan.table.storage
    changed = next((p.file.path for p in chunk.slices if not p.file.is_unchanged(storage)), None)
    if changed is not None:
        raise StoreError(f"{changed}: changed while it was scored; the batch was not published; run again")
    check_rejects(counts, plan.config.max_reject_share, staged)


def _make_manifest(chunk: Chunk, written: Written, census: WorkerCensus) -> Manifest:
    plan, counts = chunk.plan, written.counts
    return Manifest(
        sequence=chunk.stamp.sequence,
        consumption=chunk.consumption,
        model_uri=plan.model.uri,
        model_version=plan.model.version,
        scored_at=plan.now.isoformat(),
        input_rows=chunk.n_rows,
        scored_rows=counts.scored,
        rejected_rows=counts.rejected,
        skipped_rows=counts.skipped_by_reason,
        rejected_by_reason=counts.rejected_by_reason,
        labels=counts.labels,
        label_names=plan.model.labels,
        unsure_rows=counts.unsure,
        min_score=plan.config.min_score,
        target_accuracy=plan.config.target_accuracy,
        conflicting_ids=counts.conflicting_ids,
        repeated_texts=counts.repeated_texts,
        stages=counts.stages,
        id_types=plan.table.id_types,
        bad_files=tuple(bad.as_dict() for bad in plan.table.bad_files),
        engines=tuple(sorted({f"{w.engine} on {w.instruction_set}" for w in census.workers})),
        input_version=plan.table.version,
        profile=written.profile.as_dict(),
    )
