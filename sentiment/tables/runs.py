"""Run a scoring job: check input and model, plan; then score, audit and publish each chunk."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ..cli import Progress
from ..config import ScoreConfig
from ..errors import (
    ModelError,
    ModelLoadError,
    ObjectStoreError,
    SchemaMismatchError,
    ScoringError,
    SentimentError,
    UnreadableFileError,
)
from ..models import copies
from . import session
from .chunks import Chunk, score_chunk
from .history import find_known
from .input.reviews import find_unreadable
from .pending import count_slice_rows, cut_chunks, skip_slices
from .plans import Plan, make_plan
from .scoring import report_progress
from .store.files import Stamp
from .store.protocol import Store
from .summary import Outcome, RunSummary, check_bad_files, summarise
from .uris import check_apart
from .worker import SharedModel, WorkerCensus, share_model

# Spark passes a worker's error only as text. These messages are safe to show: they hold no review.
_NO_RIGHT_ENGINE = re.compile(r"NoRightEngineError: (no engine of the model [^\n]{1,2000})")
_DISK_IS_FULL = "No space left on device"
_STORAGE_FAILED = re.compile(rf"{ObjectStoreError.__name__}: ([^\n]{{1,500}})")


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
        return summarise(plan.without(outcome.bad_files), outcome, store.root, time.monotonic() - started)

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
    """Publish all pending rows; quarantine files that turn out to be damaged when they are read.

    Yields the outcome of each chunk and of each quarantine.
    """
    with _translate_errors(plan.config.model_uri):
        model = share_model(spark, plan.model, plan.model_options, plan.prediction_types)
    rest = plan
    done_rows, all_rows = 0, count_slice_rows(plan.pending)
    while rest.pending:
        try:
            for published in _publish_chunks(rest, spark, model, store, progress, done_rows, all_rows):
                yield published
                done_rows += published.batches[0].manifest.input_rows
                done = published.batches[0].manifest.consumption.inputs
                rest = replace(rest, pending=tuple(skip_slices(rest.pending, done)))
            return
        except UnreadableFileError as error:
            progress("looking for damaged files", 0, 1, "")
            with _translate_errors(plan.config.model_uri):
                bad = find_unreadable(
                    spark, rest.table, rest.pending, rest.request.window, session.count_cores(spark)
                )
            if not bad:
                raise ScoringError(str(error)) from error
            if len(bad) == len(rest.table.files):
                raise bad[0].error from None
            yield Outcome(bad_files=tuple(bad))
            rest = replace(rest.without(bad), batches=tuple(store.list_batches()))


def _publish_chunks(
    plan: Plan,
    spark: SparkSession,
    model: SharedModel,
    store: Store,
    progress: Progress,
    done_rows: int,
    all_rows: int,
) -> Iterator[Outcome]:
    """Score and publish each chunk, after `done_rows` of the run's `all_rows`; yield its outcome."""
    ids, cores = plan.table.columns.ids, session.count_cores(spark)
    model_id = plan.model.model_id if plan.config.rescore else None
    for number, slices in enumerate(cut_chunks(plan.pending, plan.config.chunk_rows)):
        stamp = Stamp(plan.model.version, plan.now, plan.next_sequence + number)
        chunk = Chunk(plan, tuple(slices), stamp)
        with _translate_errors(plan.config.model_uri):
            known = find_known(spark, store, ids, model_id)
            census = WorkerCensus(spark)
            with report_progress(census, "scoring", progress, done_rows, chunk.n_rows, all_rows):
                made = score_chunk(chunk, spark, model, known, store, census)
        done_rows += chunk.n_rows
        progress("published", done_rows, all_rows, "rows")
        yield Outcome((made.batch,), made.counts, made.seconds, census.loads, census.workers, cores=cores)


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
        if found := _STORAGE_FAILED.search(message):
            raise ObjectStoreError(f"a Spark worker could not reach the object store: {found[1]}") from error
        if UnreadableFileError.__name__ in message or SchemaMismatchError.__name__ in message:
            raise UnreadableFileError(
                "an input file cannot be read; run again with --debug to see which"
            ) from error
        if _DISK_IS_FULL in message:
            raise ScoringError(
                "a local disk of Spark is full; the batch was not published; free some space, or name "
                "another disk with SPARK_LOCAL_DIRS or spark.local.dir"
            ) from error
        raise ScoringError(
            f"Spark stopped with {type(error).__name__}; the batch was not published; run again with "
            "--debug to see where"
        ) from error
