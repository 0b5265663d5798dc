"""Score reviews in one Spark query: skip and reject rules are SQL expressions, the model is a UDF."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from .. import schema
from .input.reviews import column
from .selection import EARLY_REASON, SKIP_REASON
from .worker import SharedModel, WorkerCensus, make_scorer

_POLL_SECONDS = 0.5

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Stamp:
    """Hold the values that every row of a batch has next to its prediction."""

    model_version: str
    scored_at: datetime
    sequence: int


def score_reviews(rows: DataFrame, model: SharedModel, stamp: Stamp, census: WorkerCensus) -> DataFrame:
    """Add prediction and stamp to rows of `selection.settle_duplicates`, and remove their text.

    The model uses as many threads as a task has CPUs, and does not get the texts of skipped or
    rejected rows. Lazy: an action runs the model.
    """
    spark = rows.sparkSession
    extra = (schema.TEXT, schema.TEXT_DIGEST, SKIP_REASON, EARLY_REASON)
    ids = [name for name in rows.columns if name not in extra]
    threads = int(spark.conf.get("spark.task.cpus", "1") or 1)
    # Local mode with one task for all cores: let it find the GPU. Else the worker uses what Spark assigns.
    is_alone = str(spark.sparkContext.master).startswith("local") and threads >= (os.cpu_count() or 1) > 1
    alone = {"device": "auto"} if is_alone else {}
    score = make_scorer(replace(model, options={**model.options, **alone, "threads": threads}), census)
    scorer = pandas_udf(score, model.prediction_struct)  # type: ignore[call-overload]  # stubs lack structs

    needs_no_model = F.col(SKIP_REASON).isNotNull() | F.col(EARLY_REASON).isNotNull()
    scored = rows.select(
        *map(column, ids),
        *(F.col(name) for name in extra[1:]),
        scorer(F.when(~needs_no_model, column(schema.TEXT))).alias("_prediction"),
    )
    reason = F.coalesce(F.col(EARLY_REASON), F.col(f"_prediction.{schema.REJECT_REASON}"))
    return scored.select(
        *map(column, ids),
        *(F.col(f"_prediction.{name}") for name in model.prediction_types if name != schema.REJECT_REASON),
        F.when(F.col(SKIP_REASON).isNull(), reason).alias(schema.REJECT_REASON),
        schema.TEXT_DIGEST,
        F.lit(stamp.model_version).alias(schema.MODEL_VERSION),
        F.lit(stamp.scored_at).alias(schema.SCORED_AT),
        F.lit(stamp.sequence).cast("long").alias(schema.SEQUENCE),
        SKIP_REASON,
    )


@contextmanager
def report_progress(
    spark: SparkSession, phase: str, progress: Progress, done_rows: int, rows: int, all_rows: int
) -> Iterator[None]:
    """Report Spark's progress inside the block: on `rows` rows, after `done_rows` of `all_rows`.

    Progress is the share of finished tasks in Spark's running stages.
    """
    stop = threading.Event()
    tracker = spark.sparkContext.statusTracker()

    def poll() -> None:
        while not stop.wait(_POLL_SECONDS):
            infos = [tracker.getStageInfo(i) for i in tracker.getActiveStageIds()]
            tasks = [(info.numCompletedTasks, info.numTasks) for info in infos if info is not None]
            if tasks:
                done, total = (sum(column) for column in zip(*tasks, strict=True))
                progress(phase, done_rows + rows * done // total, all_rows, "rows")

    poller = threading.Thread(target=poll, name="spark-progress", daemon=True)
    poller.start()
    try:
        yield
    finally:
        stop.set()
        poller.join()
