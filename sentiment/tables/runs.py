"""The recipe of one scoring run: check, resolve, lock, score, audit, publish."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from .. import registry, schema
from ..config import ScoreConfig
from ..errors import ConfigError, ModelError, ModelLoadError, ScoringError, StoreError
from .audit import REJECTED_COLUMNS, SCORED_COLUMNS, Counts, audit, audit_files, count_rows
from .inspection import FileIdentity, ReviewTable, inspect_reviews
from .paths import find_local_path
from .reviews import column, read_reviews
from .scoring import Progress, score_reviews, show_tasks, spread_rows
from .store import REJECTED, BatchId, Store, find_folder, open_store
from .worker import ModelLoad, WorkerCensus

MANIFEST_VERSION = 1
_RAW = "_raw"
_MAX_FILE_ROWS = 1_000_000


@dataclass(frozen=True)
class RunSummary:
    """What a run did. Every input row is scored, rejected, or was scored by an earlier run (`skipped`).

    `rows_per_second` is over the scoring alone, `seconds` over the whole run; `worker_start_seconds` is how
    long the slowest Python worker took from its start until it could score. `labels` and `stages` count the
    scored rows.
    """

    input_rows: int
    scored_rows: int
    rejected_rows: int
    skipped_rows: int
    rejected_by_reason: dict[str, int]
    labels: dict[str, int]
    stages: dict[str, int]
    rows_per_second: float
    seconds: float
    engines: list[str]
    model_loads: int
    python_workers: int
    worker_start_seconds: float | None
    model_uri: str
    model_version: str
    output: str
    batch: str | None
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Plan:
    """What is to be scored, by what, as which batch."""

    config: ScoreConfig
    table: ReviewTable
    pending: ReviewTable
    model: registry.ModelReference
    now: datetime

    @property
    def model_options(self) -> dict[str, str]:
        """What this run tells the model, over what it was logged with."""
        told = {"engine": self.config.engine, "cascade": self.config.cascade}
        return {name: value for name, value in told.items() if value is not None}

    @property
    def batch(self) -> BatchId:
        """The same files, columns and model always make the same batch."""
        consumed = {
            "files": [file.identity() for file in self.pending.files],
            **_scored_how(self.table, self.model),
        }
        digest = hashlib.sha256(json.dumps(consumed, sort_keys=True).encode()).hexdigest()[:12]
        return BatchId(self.model.version, f"{self.now:%Y-%m-%d}", digest)


@dataclass(frozen=True)
class _Outcome:
    """What this run published: nothing, if there was nothing pending."""

    batch: Path | None = None
    counts: Counts = field(default_factory=Counts)
    score_seconds: float = 0.0
    loads: frozenset[ModelLoad] = frozenset()
    python_workers: int = 0


def run_scoring(
    config: ScoreConfig,
    start_session: Callable[[], SparkSession],
    now: datetime,
    progress: Progress,
) -> RunSummary:
    """Score what `config.input` holds and publish it; tracking must be set (`registry.use_tracking`).

    The session is started only when input, model and store are known to be usable and there is something
    to score. Raises a `SentimentError` and leaves nothing behind if anything fails.
    """
    started = time.monotonic()
    progress("checking input", 0, 1, "")
    _check_places(config)
    table = inspect_reviews(config.input, config.id_col, config.text_col)
    model = registry.resolve_model(config.model_uri)
    with open_store(config.output) as store:
        pending = table.without(_find_consumed(store, table, model))
        plan = _Plan(config, table, pending, model, now)
        outcome = _Outcome()
        if pending.rows:
            progress("starting Spark", 0, 1, "")
            outcome = _score_and_publish(plan, start_session(), store, progress)
    return _summarise(plan, outcome, time.monotonic() - started)


def _score_and_publish(plan: _Plan, spark: SparkSession, store: Store, progress: Progress) -> _Outcome:
    staged = store.stage()
    census = WorkerCensus(spark.sparkContext)
    started = time.monotonic()
    try:
        counts = _write_batch(plan, spark, staged, census, progress)
    except (PySparkException, Py4JError) as error:
        # Spark's message holds the Python traceback, which may quote a row: only its kind is passed on.
        if ModelError.__name__ in str(error) or ModelLoadError.__name__ in str(error):
            raise ModelError(
                f"the model at {plan.config.model_uri!r} failed in a Spark worker; nothing was published; "
                "run again with --debug to see how"
            ) from error
        raise ScoringError(
            f"Spark stopped with {type(error).__name__}; nothing was published; run again with --debug to "
            "see where"
        ) from error
    score_seconds = time.monotonic() - started
    audit(counts, plan.pending.rows)
    audit_files(staged, counts, plan.table.id_columns)
    changed = plan.pending.find_changed()
    if changed is not None:
        raise StoreError(f"{changed}: changed while it was scored; nothing was published; run again")
    progress("publishing", 0, 1, "")
    published = store.publish(staged, plan.batch, _make_manifest(plan, counts))
    return _Outcome(published, counts, score_seconds, census.loads, census.workers)


def _write_batch(
    plan: _Plan, spark: SparkSession, staged: Path, census: WorkerCensus, progress: Progress
) -> Counts:
    """Run the model once over all rows into the staging folder, then part scores from rejects."""
    reviews = spread_rows(read_reviews(spark, plan.pending), plan.pending.rows, plan.config.rows_per_task)
    raw = staged / _RAW
    with show_tasks(spark, "scoring", progress):
        score_reviews(
            reviews, plan.model.folder, plan.model_options, plan.model.version, plan.now, census
        ).write.parquet(str(raw))
    with show_tasks(spark, "writing", progress):
        predictions = spark.read.parquet(str(raw))
        counts = count_rows(predictions)
        _write_parts(predictions, counts, staged)
    shutil.rmtree(raw)
    return counts


def _write_parts(rows: DataFrame, counts: Counts, staged: Path) -> None:
    is_scored = F.col(schema.REJECT_REASON).isNull()
    ids = rows.columns[: -len({*SCORED_COLUMNS, *REJECTED_COLUMNS})]
    for is_part, n_rows, folder, columns in (
        (is_scored, counts.scored, staged, SCORED_COLUMNS),
        (~is_scored, counts.rejected, staged / REJECTED, REJECTED_COLUMNS),
    ):
        if n_rows:
            part = rows.where(is_part).select(*map(column, ids), *columns)
            part.coalesce(-(-n_rows // _MAX_FILE_ROWS)).write.mode("append").parquet(str(folder))


def _check_places(config: ScoreConfig) -> None:
    source, target = find_local_path(config.input), find_local_path(config.output)
    # None is a URI, which inspect_reviews and find_folder refuse.
    if source and target and (source == target or source in target.parents or target in source.parents):
        raise ConfigError(
            f"output: {target} lies in the input {source} or holds it; scores would be read as reviews; "
            "choose another folder"
        )
    find_folder(config.output)


def _find_consumed(store: Store, table: ReviewTable, model: registry.ModelReference) -> list[FileIdentity]:
    """The files that this model has scored before, from the same columns."""
    how = _scored_how(table, model)
    manifests = store.read_manifests(model.version)
    return [file for found in manifests if how.items() <= found.items() for file in found["inputs"]]


def _scored_how(table: ReviewTable, model: registry.ModelReference) -> dict[str, str]:
    """What besides the files makes two runs the same."""
    return {
        "id_col": ",".join(table.id_columns),
        "text_col": ",".join(table.text_columns),
        "model_id": model.model_id,
    }


def _make_manifest(plan: _Plan, counts: Counts) -> dict[str, Any]:
    return {
        "manifest_version": MANIFEST_VERSION,
        "inputs": [file.identity() for file in plan.pending.files],
        **_scored_how(plan.table, plan.model),
        "model_uri": plan.model.uri,
        "model_version": plan.model.version,
        "input_rows": plan.pending.rows,
        "scored_rows": counts.scored,
        "rejected_rows": counts.rejected,
        "rejected_by_reason": counts.rejected_by_reason,
        "labels": counts.labels,
        "stages": counts.stages,
        "scored_at": plan.now.isoformat(),
    }


def _summarise(plan: _Plan, outcome: _Outcome, seconds: float) -> RunSummary:
    counts = outcome.counts
    done_rows = counts.scored + counts.rejected
    return RunSummary(
        input_rows=plan.table.rows,
        scored_rows=counts.scored,
        rejected_rows=counts.rejected,
        skipped_rows=plan.table.rows - plan.pending.rows,
        rejected_by_reason=counts.rejected_by_reason,
        labels=counts.labels,
        stages=counts.stages,
        rows_per_second=done_rows / outcome.score_seconds if done_rows else 0.0,
        seconds=seconds,
        engines=sorted({load.engine for load in outcome.loads}),
        model_loads=len(outcome.loads),
        python_workers=outcome.python_workers,
        worker_start_seconds=max(
            (load.start_seconds for load in outcome.loads if load.start_seconds is not None), default=None
        ),
        model_uri=plan.config.model_uri,
        model_version=plan.model.version,
        output=str(find_folder(plan.config.output)),
        batch=str(outcome.batch) if outcome.batch else None,
        warnings=_list_warnings(plan, counts),
    )


def _list_warnings(plan: _Plan, counts: Counts) -> list[str]:
    warnings = []
    trained_on, text_col = plan.model.text_col, plan.config.text_col
    if trained_on is not None and schema.split_columns(trained_on) != schema.split_columns(text_col):
        warnings.append(f"the model was trained on text_col {trained_on}, this run scores {text_col}")
    null_ids = counts.rejected_by_reason.get(schema.NULL_ID, 0)
    if null_ids:
        warnings.append(f"{null_ids:,} rows have no {plan.config.id_col}: rejected as {schema.NULL_ID}")
    return warnings
