"""Score one chunk: read, select, score and write it in the executors, then audit and publish it."""

import time
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession

from .. import schema
from ..errors import StoreError
from . import session
from .audit import Counts, audit, audit_files, check_rejects
from .input.reviews import read_reviews
from .pending import Slice, count_slice_rows, make_consumption, name_batch
from .plans import Plan
from .scoring import score_rows
from .selection import select_rows
from .store.files import Staging, Stamp
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
    """Score a chunk and publish it as a batch.

    `known` are the digests of known texts (`history.find_known`), None if there are none. Raises StoreError
    if the rows do not add up or a file has changed, HeldBatchError for too many rejects.
    """
    staging = store.stage()
    started = time.monotonic()
    written = _write(chunk, spark, model, known, staging, census)
    seconds = time.monotonic() - started
    _check(chunk, written, staging.folder)
    name = name_batch(chunk.consumption, chunk.plan.model.version, chunk.plan.now)
    manifest = _make_manifest(chunk, written, census)
    return Published(store.publish(staging, name, manifest, written.files), written.counts, seconds)


def _write(
    chunk: Chunk,
    spark: SparkSession,
    model: SharedModel,
    known: DataFrame | None,
    staging: Staging,
    census: WorkerCensus,
) -> Written:
    """Select rows by ids and digests in a first query; read, score and write their texts in a second one."""
    plan, cores = chunk.plan, session.count_cores(spark)
    table, ids = plan.table, plan.table.columns.ids

    def count_tasks(rows: int) -> int:
        return min(rows, max(cores * _TASKS_PER_CORE, -(-rows // plan.config.rows_per_task)))

    compared = read_reviews(spark, table, chunk.slices, cores, plan.request.window)
    selection = select_rows(compared, ids, known, plan.config.on_duplicate, count_tasks(chunk.n_rows))
    counts = Counts(skipped_by_reason=selection.skipped_by_reason, conflicting_ids=selection.conflicting_ids)
    n_rows = chunk.n_rows - counts.skipped
    if not n_rows:
        return Written(counts=counts)
    reviews = read_reviews(spark, table, chunk.slices, cores, selection=selection)
    rows = score_rows(reviews, ids, model, census, count_tasks(n_rows))
    names, n_files = tuple(plan.prediction_types), -(-n_rows // MAX_FILE_ROWS)
    written = write_rows(rows, staging, ids, names, plan.model.labels, chunk.stamp, n_files)
    return replace(written, counts=written.counts + counts)


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
