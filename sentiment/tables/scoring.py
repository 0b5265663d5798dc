"""Reviews to predictions as one Spark plan: rules as expressions, a UDF only for the model."""

import functools
import operator
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from .. import schema
from .reviews import column
from .worker import PREDICTION_TYPE, WorkerCensus, make_scorer

TASKS_PER_CORE = 4
"""At least so many tasks a core: the last ones end together, and progress moves."""
_POLL_SECONDS = 0.5

Progress = Callable[[str, int, int, str], None]


def score_reviews(
    reviews: DataFrame,
    folder: Path,
    options: Mapping[str, Any],
    model_version: str,
    scored_at: datetime,
    census: WorkerCensus,
) -> DataFrame:
    """Predictions of reviews (`read_reviews`): ids, prediction, model version, time; one row per review.

    `options` are the model's (`registry.load_model`); it computes on as many threads as a task has cpus. A
    row with a null id, or a text that is no UTF-8, is rejected without being scored. Lazy: an action runs
    the model.
    """
    spark = reviews.sparkSession
    ids = [name for name in reviews.columns if name != schema.TEXT]
    threads = int(spark.conf.get("spark.task.cpus", "1") or 1)
    # A task that has the machine to itself may take its GPU; others get the one that Spark assigns, or none.
    is_alone = str(spark.sparkContext.master).startswith("local") and threads >= (os.cpu_count() or 1) > 1
    alone = {"device": "auto"} if is_alone else {}
    score = make_scorer(str(folder), {**options, **alone, "threads": threads}, census)
    scorer = pandas_udf(score, PREDICTION_TYPE)  # type: ignore[call-overload]  # stubs lack iterators of structs

    has_id = functools.reduce(operator.and_, (column(name).isNotNull() for name in ids))
    # Bytes that are no UTF-8 cannot be handed to Python at all: they would fail the whole task.
    is_undecodable = F.coalesce(~F.is_valid_utf8(schema.TEXT), F.lit(False))
    early_reason = F.when(~has_id, F.lit(schema.NULL_ID)).when(is_undecodable, F.lit(schema.UNDECODABLE_TEXT))
    scored = reviews.select(
        *map(column, ids),
        early_reason.alias("_early_reason"),
        scorer(F.when(has_id & ~is_undecodable, column(schema.TEXT))).alias("_prediction"),
    )
    reason = F.coalesce(F.col("_early_reason"), F.col(f"_prediction.{schema.REJECT_REASON}"))
    return scored.select(
        *map(column, ids),
        *(F.col(f"_prediction.{name}") for name in schema.PREDICTION_COLUMNS[:-1]),
        reason.alias(schema.REJECT_REASON),
        F.lit(model_version).alias(schema.MODEL_VERSION),
        F.lit(scored_at).alias(schema.SCORED_AT),
    )


def spread_rows(reviews: DataFrame, rows: int, rows_per_task: int) -> DataFrame:
    """The same rows in even partitions, enough of them for all cores however the files were cut.

    Rows go by a hash of their values: a retried task puts every row where it was before (a round robin
    would not, SPARK-23207), and rows without id or with one id do not pile up.
    """
    cores = reviews.sparkSession.sparkContext.defaultParallelism
    tasks = min(rows, max(cores * TASKS_PER_CORE, -(-rows // rows_per_task)))
    return reviews.repartition(tasks, *map(column, reviews.columns))


@contextmanager
def show_tasks(spark: SparkSession, stage: str, progress: Progress) -> Iterator[None]:
    """Report finished tasks of whatever Spark runs inside the block."""
    stop = threading.Event()
    tracker = spark.sparkContext.statusTracker()

    def poll() -> None:
        while not stop.wait(_POLL_SECONDS):
            infos = [tracker.getStageInfo(i) for i in tracker.getActiveStageIds()]
            tasks = [(info.numCompletedTasks, info.numTasks) for info in infos if info is not None]
            if tasks:
                done, total = (sum(column) for column in zip(*tasks, strict=True))
                progress(stage, done, total, "tasks")

    poller = threading.Thread(target=poll, name="spark-progress", daemon=True)
    poller.start()
    try:
        yield
    finally:
        stop.set()
        poller.join()
