"""The recipe of one scoring run: check, resolve, plan; then chunk by chunk score, audit, publish."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from .. import registry, schema
from ..config import ScoreConfig
from ..errors import BadFilesError, ModelError, ModelLoadError, ScoringError, StoreError
from .audit import (
    REJECTED_COLUMNS,
    SCORED_COLUMNS,
    Counts,
    audit,
    audit_files,
    check_rejects,
    count_rows,
)
from .history import find_known
from .inspection import ReviewTable, check_columns, find_damaged, inspect_reviews
from .manifests import Consumption, Manifest, Window
from .paths import check_apart
from .planning import (
    KNOWN,
    REPEATED,
    SUPERSEDED,
    WAITING,
    Request,
    Slice,
    check_id_types,
    cut_chunks,
    describe,
    find_left_repeats,
    find_pending,
    limit_rows,
    name_batch,
)
from .planning import count_rows as count_slices
from .reviews import column, read_reviews
from .scoring import Progress, Stamp, score_reviews, show_rows
from .selection import (
    SKIP_REASON,
    Past,
    find_repeated,
    identify,
    keep_repeated,
    leave_repeated,
    settle_duplicates,
    spread_rows,
)
from .store import REJECTED, Batch, Store, find_folder
from .worker import FetchFrom, ModelLoad, ModelPlace, WorkerCensus

_RAW = "_raw"
_MAX_FILE_ROWS = 1_000_000


@dataclass(frozen=True)
class RunSummary:
    """What a run did with the rows of the usable files.

    Each is scored, rejected, `skipped` (scored or rejected by an earlier run), `repeated` (stands for
    another row with the same id and text) or `waiting` (of a file that this run did not take whole, for its
    dates, `max_rows` or a dry run). `pending_rows` is what the run set out to do. `rows_per_second` is over
    the scoring alone, `seconds` over the whole run; `worker_start_seconds` is how long the slowest Python
    worker took from its start until it could score. `labels` and `stages` count the scored rows.
    """

    input_rows: int
    pending_rows: int
    scored_rows: int
    rejected_rows: int
    skipped_rows: int
    repeated_rows: int
    waiting_rows: int
    input_files: int
    pending_files: int
    bad_files: list[dict[str, str]]
    rejected_by_reason: dict[str, int]
    labels: dict[str, int]
    stages: dict[str, int]
    rows_per_second: float
    seconds: float
    engines: list[str]
    model_fetches: int
    model_loads: int
    python_workers: int
    worker_start_seconds: float | None
    model_uri: str
    model_version: str
    output: str
    batch: str | None
    batches: list[str]
    dry_run: bool
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Plan:
    """What is to be scored, by what, beside what is published."""

    config: ScoreConfig
    table: ReviewTable
    model: registry.ModelReference
    batches: tuple[Batch, ...]
    pending: tuple[Slice, ...]
    now: datetime

    @property
    def request(self) -> Request:
        return _make_request(self.config, self.table, self.model)

    @property
    def model_options(self) -> dict[str, str]:
        """What this run tells the model, over what it was logged with."""
        told = {"engine": self.config.engine, "cascade": self.config.cascade}
        return {name: value for name, value in told.items() if value is not None}

    @property
    def next_sequence(self) -> int:
        return 1 + max((batch.manifest.sequence for batch in self.batches), default=0)


@dataclass(frozen=True)
class _Chunk:
    """What one batch takes: rows that were read and identified, and how many there are."""

    rows: DataFrame
    n_rows: int
    slices: tuple[Slice, ...]
    consumption: Consumption


@dataclass(frozen=True)
class _Outcome:
    """What this run published: nothing, if there was nothing pending."""

    batches: tuple[Batch, ...] = ()
    counts: Counts = field(default_factory=Counts)
    score_seconds: float = 0.0
    loads: frozenset[ModelLoad] = frozenset()
    python_workers: int = 0
    model_fetches: int = 0


def run_scoring(
    config: ScoreConfig,
    store: Store,
    start_session: Callable[[], SparkSession],
    now: datetime,
    progress: Progress,
) -> RunSummary:
    """Score what is pending in `config.input` and publish it; tracking must be set (`registry.use_tracking`).

    The session is started only when input, model and store are known to be usable and there is something
    to score. Raises a `SentimentError` if anything fails: what was published before stays. Raises
    BadFilesError, with the summary, after all else is published.
    """
    started = time.monotonic()
    check_apart(config.input, config.output)
    plan = _make_plan(config, store, now, progress)
    outcome = _Outcome()
    if plan.pending and not config.dry_run:
        progress("starting Spark", 0, 1, "")
        outcome = _publish_chunks(plan, start_session(), store, progress)
    summary = _summarise(plan, outcome, time.monotonic() - started)
    _check_bad_files(plan, summary)
    return summary


def _make_plan(config: ScoreConfig, store: Store, now: datetime, progress: Progress) -> _Plan:
    progress("checking input", 0, 1, "")
    columns = check_columns(config.id_col, config.text_col, config.date_col)
    table = inspect_reviews(config.input, columns)
    model = registry.resolve_model(config.model_uri)
    batches = store.list_batches()
    manifests = [batch.manifest for batch in batches]
    check_id_types(table, manifests)
    pending = find_pending(table, manifests, _make_request(config, table, model))
    if not config.dry_run:
        table, pending = _set_damaged_aside(table, pending)
    return _Plan(config, table, model, tuple(batches), tuple(limit_rows(pending, config.max_rows)), now)


def _set_damaged_aside(table: ReviewTable, pending: Sequence[Slice]) -> tuple[ReviewTable, list[Slice]]:
    """Less the pending files that cannot be decoded."""
    files = {piece.file.path: piece.file for piece in pending}
    damaged = find_damaged(files.values(), table.columns)
    if damaged and len(damaged) == len(table.files):
        raise damaged[0].error
    gone = {bad.path for bad in damaged}
    usable = tuple(file for file in table.files if file.path not in gone)
    table = replace(table, files=usable, bad_files=(*table.bad_files, *damaged))
    return table, [piece for piece in pending if piece.file.path not in gone]


def _make_request(config: ScoreConfig, table: ReviewTable, model: registry.ModelReference) -> Request:
    window = None
    if config.date_col and (config.since or config.until):
        window = Window(config.date_col, config.since, config.until)
    columns = table.columns
    return Request(",".join(columns.ids), ",".join(columns.texts), model.model_id, window, config.rescore)


def _publish_chunks(plan: _Plan, spark: SparkSession, store: Store, progress: Progress) -> _Outcome:
    work = store.stage()
    census = WorkerCensus(spark.sparkContext)
    outcome = _Outcome()
    with _TranslatedErrors(plan):
        done_rows, all_rows = 0, count_slices(plan.pending)
        for number, chunk in enumerate(_make_chunks(plan, spark, work)):
            stamp = Stamp(plan.model.version, plan.now, plan.next_sequence + number)
            staged = work / f"chunk-{number}"
            started = time.monotonic()
            with show_rows(spark, "scoring", progress, done_rows, chunk.n_rows, all_rows):
                counts = _write_batch(plan, spark, chunk, staged, stamp, census)
            seconds = time.monotonic() - started
            progress("publishing", done_rows, all_rows, "rows")
            batch = _publish(plan, store, chunk, staged, stamp, counts)
            done_rows += count_slices(chunk.slices)
            outcome = replace(
                outcome,
                batches=(*outcome.batches, batch),
                counts=outcome.counts + counts,
                score_seconds=outcome.score_seconds + seconds,
            )
    return replace(outcome, loads=census.loads, python_workers=census.workers, model_fetches=census.fetches)


def _make_chunks(plan: _Plan, spark: SparkSession, work: Path) -> "list[_Chunk]":
    """The pending rows in chunks. Rows of an id that occurs in two of them all go into the first."""
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
    chunks = []
    for number, part in enumerate(parts):
        rows, n_rows = read(part), count_slices(part)
        takes_foreign = number == 0 and n_foreign
        if takes_foreign and repeated is not None:
            rows, n_rows = rows.unionByName(keep_repeated(read(later), repeated)), n_rows + n_foreign
        elif number and repeated is not None:
            rows = leave_repeated(rows, repeated)
        taken = describe(plan.request, part, later if takes_foreign else ())
        chunks.append(_Chunk(rows, n_rows, tuple(part), taken))
    return chunks


def _write_batch(
    plan: _Plan,
    spark: SparkSession,
    chunk: _Chunk,
    staged: Path,
    stamp: Stamp,
    census: WorkerCensus,
) -> Counts:
    """Run the model once over all rows into the staging folder, then part scores from rejects."""
    staged.mkdir()
    raw = staged / _RAW
    spread = spread_rows(chunk.rows, chunk.n_rows, plan.config.rows_per_task)
    settled = settle_duplicates(spread, plan.config.max_text_chars)
    place = _place_model(plan, spark)
    score_reviews(settled, place, plan.model_options, stamp, census).write.parquet(str(raw))
    predictions = spark.read.parquet(str(raw))
    counts = count_rows(predictions)
    _write_parts(predictions, counts, staged)
    shutil.rmtree(raw)
    return counts


def _place_model(plan: _Plan, spark: SparkSession) -> ModelPlace:
    """On a cluster each executor fetches the model: the driver's copy is on the driver's machine."""
    folder = str(plan.model.folder)
    if str(spark.sparkContext.master).startswith("local"):
        return ModelPlace(folder)
    tracking_uri = registry.import_mlflow().get_tracking_uri()
    return ModelPlace(folder, FetchFrom(plan.model.pinned_uri, tracking_uri, plan.model.model_id))


def _write_parts(rows: DataFrame, counts: Counts, staged: Path) -> None:
    is_done = F.col(SKIP_REASON).isNull()
    is_scored = is_done & F.col(schema.REJECT_REASON).isNull()
    extra = {*SCORED_COLUMNS, *REJECTED_COLUMNS, SKIP_REASON}
    ids = [name for name in rows.columns if name not in extra]
    for is_part, n_rows, folder, columns in (
        (is_scored, counts.scored, staged, SCORED_COLUMNS),
        (is_done & ~is_scored, counts.rejected, staged / REJECTED, REJECTED_COLUMNS),
    ):
        if n_rows:
            part = rows.where(is_part).select(*map(column, ids), *columns)
            part.coalesce(-(-n_rows // _MAX_FILE_ROWS)).write.mode("append").parquet(str(folder))


def _publish(plan: _Plan, store: Store, chunk: _Chunk, staged: Path, stamp: Stamp, counts: Counts) -> Batch:
    audit(counts, chunk.n_rows)
    audit_files(staged, counts, plan.table.columns.ids)
    changed = next((p.file.path for p in chunk.slices if not p.file.is_unchanged()), None)
    if changed is not None:
        raise StoreError(f"{changed}: changed while it was scored; it was not published; run again")
    check_rejects(counts, plan.config.max_reject_share, staged)
    batch_id = name_batch(chunk.consumption, plan.model.version, plan.now)
    return store.publish(staged, batch_id, _make_manifest(plan, chunk, stamp, counts))


def _make_manifest(plan: _Plan, chunk: _Chunk, stamp: Stamp, counts: Counts) -> Manifest:
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
        stages=counts.stages,
        id_types=plan.table.id_types,
        bad_files=tuple(bad.as_dict() for bad in plan.table.bad_files),
    )


class _TranslatedErrors:
    """Spark's errors, whose messages hold Python tracebacks that may quote a row, by their kind alone."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, PySparkException | Py4JError):
            return
        if ModelError.__name__ in str(error) or ModelLoadError.__name__ in str(error):
            raise ModelError(
                f"the model at {self._plan.config.model_uri!r} failed in a Spark worker; its batch was not "
                "published; run again with --debug to see how"
            ) from error
        raise ScoringError(
            f"Spark stopped with {type(error).__name__}; the batch was not published; run again with "
            "--debug to see where"
        ) from error


def _check_bad_files(plan: _Plan, summary: RunSummary) -> None:
    bad = plan.table.bad_files
    if len(bad) > plan.config.max_bad_files:
        more = f"; {len(bad) - 1:,} more are in the summary" if len(bad) > 1 else ""
        raise BadFilesError(
            f"{len(bad):,} of {len(bad) + len(plan.table.files):,} input files cannot be used, more than "
            f"max_bad_files {plan.config.max_bad_files}; the others are done: {bad[0].error}{more}",
            summary.as_dict(),
        )


def _summarise(plan: _Plan, outcome: _Outcome, seconds: float) -> RunSummary:
    counts = outcome.counts
    done_rows = counts.scored + counts.rejected
    skips = counts.skipped_by_reason
    pending_rows = count_slices(plan.pending)
    repeated = skips.get(REPEATED, 0)
    found_known = skips.get(KNOWN, 0) + skips.get(SUPERSEDED, 0)
    waiting = skips.get(WAITING, 0) + (pending_rows if plan.config.dry_run else 0)
    # What find_pending left out: taken by earlier runs, less what dates or max_rows have put off.
    put_off = _count_put_off(plan)
    return RunSummary(
        input_rows=plan.table.rows,
        pending_rows=pending_rows,
        scored_rows=counts.scored,
        rejected_rows=counts.rejected,
        skipped_rows=plan.table.rows - pending_rows - put_off + found_known,
        repeated_rows=repeated,
        waiting_rows=waiting + put_off,
        input_files=len(plan.table.files),
        pending_files=len({piece.file.path for piece in plan.pending}),
        bad_files=[bad.as_dict() for bad in plan.table.bad_files],
        rejected_by_reason=counts.rejected_by_reason,
        labels=counts.labels,
        stages=counts.stages,
        rows_per_second=done_rows / outcome.score_seconds if done_rows else 0.0,
        seconds=seconds,
        engines=sorted({load.engine for load in outcome.loads}),
        model_fetches=outcome.model_fetches,
        model_loads=len(outcome.loads),
        python_workers=outcome.python_workers,
        worker_start_seconds=max(
            (load.start_seconds for load in outcome.loads if load.start_seconds is not None), default=None
        ),
        model_uri=plan.config.model_uri,
        model_version=plan.model.version,
        output=str(find_folder(plan.config.output)),
        batch=str(outcome.batches[-1].folder) if outcome.batches else None,
        batches=[str(batch.folder) for batch in outcome.batches],
        dry_run=plan.config.dry_run,
        warnings=_list_warnings(plan, counts),
    )


def _count_put_off(plan: _Plan) -> int:
    """Rows that a run without dates and without max_rows would have taken beside the pending ones."""
    anytime = replace(plan.request, window=None)
    manifests = [batch.manifest for batch in plan.batches]
    return count_slices(find_pending(plan.table, manifests, anytime)) - count_slices(plan.pending)


def _list_warnings(plan: _Plan, counts: Counts) -> list[str]:
    warnings = plan.table.list_oddities()
    trained_on, text_col = plan.model.text_col, plan.config.text_col
    if trained_on is not None and schema.split_columns(trained_on) != schema.split_columns(text_col):
        warnings.append(f"the model was trained on text_col {trained_on}, this run scores {text_col}")
    null_ids = counts.rejected_by_reason.get(schema.NULL_ID, 0)
    if null_ids:
        warnings.append(f"{null_ids:,} rows have no {plan.config.id_col}: rejected as {schema.NULL_ID}")
    warnings += [
        f"set aside: {bad.error}"
        for bad in plan.table.bad_files
        if len(plan.table.bad_files) <= plan.config.max_bad_files
    ]
    others = {b.manifest.model_version for b in plan.batches} - {plan.model.version}
    if not plan.pending and others and not plan.config.rescore:
        warnings.append(
            f"nothing is new; rows scored by model version {', '.join(sorted(others))} stay as they are: "
            f"--rescore has version {plan.model.version} score them"
        )
    return warnings
