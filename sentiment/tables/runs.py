"""Run a scoring job: check input and model, plan; then score, audit and publish each chunk."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from .. import schema
from ..config import ScoreConfig
from ..errors import (
    ModelError,
    ModelLoadError,
    ScoringError,
    SentimentError,
    StoreError,
    UnreadableFileError,
)
from ..models import copies
from .audit import (
    REJECTED_COLUMNS,
    Counts,
    audit,
    audit_files,
    check_rejects,
    count_rows,
    list_scored_columns,
)
from .chunks import Chunk, make_chunks
from .input.paths import check_apart
from .input.reviews import column, find_unreadable
from .planning import count_slice_rows, name_batch, skip_rows
from .plans import Plan, make_plan
from .scoring import Progress, Stamp, report_progress, score_reviews
from .selection import SKIP_REASON, settle_duplicates, spread_rows
from .store.folder import MAX_FILE_ROWS, REJECTED, Batch, Store
from .store.manifests import Manifest
from .summary import Outcome, RunSummary, check_bad_files, summarise
from .worker import SharedModel, WorkerCensus, share_model

_RAW = "_raw"
# Spark passes a worker's error only as text. This message is safe to show: it holds no review.
_NO_RIGHT_ENGINE = re.compile(r"NoRightEngineError: (no engine of the model [^\n]{1,2000})")
# Spark's error condition for a file that cannot be read.
_READ_FAILED = "FAILED_READ_FILE"


def run_scoring(
    config: ScoreConfig,
    store: Store,
    start_session: Callable[[], SparkSession],
    now: datetime,
    progress: Progress,
) -> RunSummary:
    """Score the pending rows of `config.input` and publish them; call `models.registry.use_tracking` first.

    Spark starts only if input, model and store are usable and rows are pending. Raises a `SentimentError`
    if anything fails; batches published before stay, and `error.summary` counts them. Too many quarantined
    files raise BadFilesError after all other files are published.
    """
    started = time.monotonic()
    check_apart(config.input, config.output)
    plan = make_plan(config, store, now, progress)
    outcome = Outcome()

    def finish() -> RunSummary:
        return summarise(plan.without(outcome.bad_files), outcome, time.monotonic() - started)

    try:
        if plan.pending and not config.dry_run:
            progress("starting Spark", 0, 1, "")
            for published in _publish_pending(plan, start_session(), store, progress):
                outcome += published
    except SentimentError as error:
        if outcome.batches:
            error.summary = finish().as_dict()
        raise
    finally:
        copies.release(plan.model.folder)
    summary = finish()
    check_bad_files(summary, config.max_bad_files)
    return summary


def _publish_pending(plan: Plan, spark: SparkSession, store: Store, progress: Progress) -> Iterator[Outcome]:
    """Publish all pending rows; quarantine files that pyarrow can read but Spark cannot.

    Yields the outcome of each chunk and of each quarantine.
    """
    model = share_model(spark, plan.model, plan.model_options, plan.prediction_types)
    rest = plan
    while rest.pending:
        done_rows = 0
        try:
            for published in _publish_chunks(rest, spark, model, store, progress):
                yield published
                done_rows += published.batches[0].manifest.consumption.rows
            return
        except UnreadableFileError as error:
            bad = find_unreadable(spark, rest.table, rest.pending, rest.request.window)
            if not bad:
                raise ScoringError(str(error)) from error
            yield Outcome(bad_files=tuple(bad))
            left = replace(rest, pending=tuple(skip_rows(rest.pending, done_rows)))
            rest = replace(left.without(bad), batches=tuple(store.list_batches()))


def _publish_chunks(
    plan: Plan, spark: SparkSession, model: SharedModel, store: Store, progress: Progress
) -> Iterator[Outcome]:
    """Score and publish each chunk; yield its outcome."""
    work = store.stage()
    done_rows, all_rows = 0, count_slice_rows(plan.pending)
    with _translate_errors(plan.config.model_uri):
        for number, chunk in enumerate(make_chunks(plan, spark, work)):
            stamp = Stamp(plan.model.version, plan.now, plan.next_sequence + number)
            staged = work / f"chunk-{number}"
            staged.mkdir()
            census = WorkerCensus(spark.sparkContext)
            started = time.monotonic()
            with report_progress(spark, "scoring", progress, done_rows, chunk.n_rows, all_rows):
                settled = settle_duplicates(spread_rows(chunk.rows, chunk.n_rows, plan.config.rows_per_task))
                counts = _write_batch(score_reviews(settled, model, stamp, census), plan, staged)
            seconds = time.monotonic() - started
            progress("publishing", done_rows, all_rows, "rows")
            batch = _publish(plan, store, chunk, staged, stamp, counts, census)
            yield Outcome((batch,), counts, seconds, census.loads, census.workers)
            done_rows += count_slice_rows(chunk.slices)


def _write_batch(rows: DataFrame, plan: Plan, staged: Path) -> Counts:
    """Run the model once over all rows, then write scores and rejects to the staging folder."""
    raw = staged / _RAW
    rows.write.parquet(str(raw))
    predictions = rows.sparkSession.read.parquet(str(raw))
    counts = count_rows(predictions, plan.model.labels)
    _write_parts(predictions, counts, plan, staged)
    shutil.rmtree(raw)
    return counts


def _write_parts(rows: DataFrame, counts: Counts, plan: Plan, staged: Path) -> None:
    scored_columns = list_scored_columns(plan.prediction_types)
    is_active = F.col(SKIP_REASON).isNull()
    is_scored = is_active & F.col(schema.REJECT_REASON).isNull()
    ids = plan.table.columns.ids
    for is_part, n_rows, folder, columns in (
        (is_scored, counts.scored, staged, scored_columns),
        (is_active & ~is_scored, counts.rejected, staged / REJECTED, REJECTED_COLUMNS),
    ):
        if n_rows:
            part = rows.where(is_part).select(*map(column, ids), *columns)
            part.coalesce(-(-n_rows // MAX_FILE_ROWS)).write.mode("append").parquet(str(folder))


def _publish(
    plan: Plan,
    store: Store,
    chunk: Chunk,
    staged: Path,
    stamp: Stamp,
    counts: Counts,
    census: WorkerCensus,
) -> Batch:
    audit(counts, chunk.n_rows, plan.model.labels)
    audit_files(staged, counts, plan.table.columns.ids, list_scored_columns(plan.prediction_types))
    changed = next((p.file.path for p in chunk.slices if not p.file.is_unchanged()), None)
    if changed is not None:
        raise StoreError(f"{changed}: changed while it was scored; the batch was not published; run again")
    check_rejects(counts, plan.config.max_reject_share, staged)
    batch_id = name_batch(chunk.consumption, plan.model.version, plan.now)
    return store.publish(staged, batch_id, _make_manifest(plan, chunk, stamp, counts, census))


def _make_manifest(plan: Plan, chunk: Chunk, stamp: Stamp, counts: Counts, census: WorkerCensus) -> Manifest:
    return Manifest(
        sequence=stamp.sequence,
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
        stages=counts.stages,
        id_types=plan.table.id_types,
        bad_files=tuple(bad.as_dict() for bad in plan.table.bad_files),
        engines=tuple(sorted({f"{w.engine} on {w.instruction_set}" for w in census.workers})),
    )


@contextmanager
def _translate_errors(model_uri: str) -> Iterator[None]:
    """Translate Spark's errors by kind; their messages hold tracebacks, which may quote a review."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        message = str(error)
        if found := _NO_RIGHT_ENGINE.search(message):
            raise ModelError(f"a Spark worker cannot use the model at {model_uri!r}: {found[1]}") from error
        if ModelError.__name__ in message or ModelLoadError.__name__ in message:
            raise ModelError(
                f"the model at {model_uri!r} failed in a Spark worker; the batch was not published; "
                "run again with --debug to see the error"
            ) from error
        if _READ_FAILED in message:
            raise UnreadableFileError(
                "Spark cannot read an input file; run again with --debug to see which"
            ) from error
        raise ScoringError(
            f"Spark stopped with {type(error).__name__}; the batch was not published; run again with "
            "--debug to see where"
        ) from error
