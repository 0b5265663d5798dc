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
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from .. import registry, schema
from ..config import ScoreConfig
from ..errors import ConfigError, ScoringError, StoreError
from .reviews import ReviewTable, inspect_reviews, read_reviews
from .scoring import Progress, score_reviews, show_tasks, spread_rows
from .store import REJECTED, BatchId, find_folder, open_store
from .worker import WorkerCensus

MANIFEST_VERSION = 1
_RAW = "_raw"
_MAX_FILE_ROWS = 1_000_000


@dataclass(frozen=True)
class RunSummary:
    """What a run did. Every input row is scored, rejected, or was scored by an earlier run (`skipped`).

    `rows_per_second` is over the scoring alone, `seconds` over the whole run.
    """

    input_rows: int
    scored_rows: int
    rejected_rows: int
    skipped_rows: int
    rejected_by_reason: dict[str, int]
    labels: dict[str, int]
    rows_per_second: float
    seconds: float
    model_loads: int
    python_workers: int
    model_uri: str
    model_version: str
    output: str
    batch: str
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Counts:
    """What the staged rows are, by one pass over them."""

    scored: int
    rejected_by_reason: dict[str, int]
    labels: dict[str, int]
    bad_scores: int

    @property
    def rejected(self) -> int:
        return sum(self.rejected_by_reason.values())


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
    warnings = _compare_text_columns(model, config)
    batch = BatchId(model.version, f"{now:%Y-%m-%d}", _digest(table, model, config))
    with open_store(config.output) as store:
        published = store.find_batch(batch)
        if published is not None:
            return _summarise_skipped(table, model, published, config, warnings, started)
        progress("starting Spark", 0, 1, "")
        spark = start_session()
        staged = store.stage()
        census = WorkerCensus(spark.sparkContext)
        score_started = time.monotonic()
        counts = _write_batch(spark, table, model, config, now, staged, census, progress)
        score_seconds = time.monotonic() - score_started
        _audit(counts, table)
        progress("publishing", 0, 1, "")
        published = store.publish(staged, batch, _make_manifest(table, model, config, counts, now))
    null_ids = counts.rejected_by_reason.get(schema.NULL_ID, 0)
    if null_ids:
        warnings.append(f"{null_ids:,} rows have no {config.id_col}: rejected as {schema.NULL_ID}")
    return RunSummary(
        input_rows=table.rows,
        scored_rows=counts.scored,
        rejected_rows=counts.rejected,
        skipped_rows=0,
        rejected_by_reason=counts.rejected_by_reason,
        labels=counts.labels,
        rows_per_second=table.rows / score_seconds,
        seconds=time.monotonic() - started,
        model_loads=census.loads,
        python_workers=census.workers,
        model_uri=config.model_uri,
        model_version=model.version,
        output=str(Path(config.output).absolute()),
        batch=str(published),
        warnings=warnings,
    )


def _write_batch(
    spark: SparkSession,
    table: ReviewTable,
    model: registry.ModelReference,
    config: ScoreConfig,
    now: datetime,
    staged: Path,
    census: WorkerCensus,
    progress: Progress,
) -> _Counts:
    """Run the model once over all rows into the staging folder, then part scores from rejects."""
    reviews = spread_rows(read_reviews(spark, table), table.rows, config.rows_per_task)
    predictions = score_reviews(reviews, model.folder, model.version, now, census)
    raw = staged / _RAW
    try:
        with show_tasks(spark, "scoring", progress):
            predictions.write.parquet(str(raw))
        with show_tasks(spark, "writing", progress):
            counts = _count(spark.read.parquet(str(raw)))
            _write_parts(spark.read.parquet(str(raw)), counts, staged)
    except (PySparkException, Py4JError) as error:
        # Spark's message holds the Python traceback, which may quote a row.
        raise ScoringError(
            f"Spark stopped with {type(error).__name__}; nothing was published; run again with --debug to "
            "see where"
        ) from error
    shutil.rmtree(raw)
    return counts


def _write_parts(rows: DataFrame, counts: _Counts, staged: Path) -> None:
    is_scored = F.col(schema.REJECT_REASON).isNull()
    prediction_only = (schema.LABEL, schema.SCORE, schema.N_TOKENS, schema.TRUNCATED)
    scored = rows.where(is_scored).drop(schema.REJECT_REASON)
    rejected = rows.where(~is_scored).drop(*prediction_only)
    for part, n_rows, folder in (
        (scored, counts.scored, staged),
        (rejected, counts.rejected, staged / REJECTED),
    ):
        if n_rows:
            files = -(-n_rows // _MAX_FILE_ROWS)
            part.coalesce(files).write.mode("append").parquet(str(folder))


def _count(rows: DataFrame) -> _Counts:
    is_bad = F.col(schema.SCORE).isNull() | ~F.col(schema.SCORE).between(0.5, 1.0)
    groups: list[Row] = (
        rows.groupBy(schema.REJECT_REASON, schema.LABEL)
        .agg(F.count(F.lit(1)).alias("rows"), F.count_if(is_bad).alias("bad"))
        .collect()
    )
    scored = [group for group in groups if group[schema.REJECT_REASON] is None]
    reasons: dict[str, int] = {}
    for group in groups:
        if group[schema.REJECT_REASON] is not None:
            reason = group[schema.REJECT_REASON]
            reasons[reason] = reasons.get(reason, 0) + group["rows"]
    labels = {str(group[schema.LABEL]): group["rows"] for group in scored}
    return _Counts(sum(labels.values()), reasons, labels, sum(group["bad"] for group in scored))


def _audit(counts: _Counts, table: ReviewTable) -> None:
    """Refuse to publish what does not add up: rows in are rows out, and every score is one."""
    if counts.scored + counts.rejected != table.rows:
        raise StoreError(
            f"audit: {table.rows:,} rows were read, {counts.scored:,} scored and "
            f"{counts.rejected:,} rejected; nothing was published; "
            "the input may have changed during the run: run again"
        )
    unknown = set(counts.labels) - set(schema.LABELS)
    if unknown or counts.bad_scores:
        raise StoreError(
            f"audit: {counts.bad_scores:,} scores outside [0.5, 1], labels {sorted(counts.labels)}; "
            "nothing was published; the model breaks its contract"
        )


def _check_places(config: ScoreConfig) -> None:
    source, target = Path(config.input).resolve(), find_folder(config.output).resolve()
    if source == target or source in target.parents or target in source.parents:
        raise ConfigError(
            f"output: {target} lies in the input {source} or holds it; scores would be read as reviews; "
            "choose another folder"
        )


def _compare_text_columns(model: registry.ModelReference, config: ScoreConfig) -> list[str]:
    if model.text_col is None or schema.split_columns(model.text_col) == schema.split_columns(
        config.text_col
    ):
        return []
    return [f"the model was trained on text_col {model.text_col}, this run scores {config.text_col}"]


def _digest(table: ReviewTable, model: registry.ModelReference, config: ScoreConfig) -> str:
    consumed = {
        "files": [file.identity() for file in table.files],
        "columns": [config.id_col, config.text_col],
        "model": model.model_id,
    }
    return hashlib.sha256(json.dumps(consumed, sort_keys=True).encode()).hexdigest()[:12]


def _make_manifest(
    table: ReviewTable,
    model: registry.ModelReference,
    config: ScoreConfig,
    counts: _Counts,
    now: datetime,
) -> dict[str, Any]:
    return {
        "manifest_version": MANIFEST_VERSION,
        "inputs": [file.identity() for file in table.files],
        "id_col": config.id_col,
        "text_col": config.text_col,
        "model_uri": model.uri,
        "model_version": model.version,
        "model_id": model.model_id,
        "input_rows": table.rows,
        "scored_rows": counts.scored,
        "rejected_rows": counts.rejected,
        "rejected_by_reason": counts.rejected_by_reason,
        "labels": counts.labels,
        "scored_at": now.isoformat(),
    }


def _summarise_skipped(
    table: ReviewTable,
    model: registry.ModelReference,
    published: Path,
    config: ScoreConfig,
    warnings: list[str],
    started: float,
) -> RunSummary:
    return RunSummary(
        input_rows=table.rows,
        scored_rows=0,
        rejected_rows=0,
        skipped_rows=table.rows,
        rejected_by_reason={},
        labels={},
        rows_per_second=0.0,
        seconds=time.monotonic() - started,
        model_loads=0,
        python_workers=0,
        model_uri=config.model_uri,
        model_version=model.version,
        output=str(Path(config.output).absolute()),
        batch=str(published),
        warnings=warnings,
    )
