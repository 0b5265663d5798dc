"""Reviews to predictions as one Spark plan: rules as expressions, a UDF only for the model."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from .. import schema
from .worker import PREDICTION_TYPE, WorkerCensus, make_scorer

TASKS_PER_CORE = 4
"""At least so many tasks a core: the last ones end together, and progress moves."""
_POLL_SECONDS = 0.5

Progress = Callable[[str, int, int, str], None]


def score_reviews(
    reviews: DataFrame, folder: Path, model_version: str, scored_at: datetime, census: WorkerCensus
) -> DataFrame:
    """Predictions of reviews (`read_reviews`): the id columns, then `scored_columns`, one row per review.

    A row with a null id is rejected without being scored. Lazy: an action runs the model.
    """
    spark = reviews.sparkSession
    ids = [name for name in reviews.columns if name != schema.TEXT]
    threads = int(spark.conf.get("spark.task.cpus", "1") or 1)
    score = make_scorer(str(folder), threads, census)
    scorer = pandas_udf(score, PREDICTION_TYPE)  # type: ignore[call-overload]  # stubs lack iterators of structs

    has_id = F.lit(True)
    for name in ids:
        has_id = has_id & F.col(f"`{name}`").isNotNull()
    scored = reviews.select(
        *(F.col(f"`{name}`") for name in ids),
        has_id.alias("_has_id"),
        scorer(F.when(has_id, F.col(schema.TEXT))).alias("_prediction"),
    )
    reason = F.when(~F.col("_has_id"), F.lit(schema.NULL_ID)).otherwise(
        F.col(f"_prediction.{schema.REJECT_REASON}")
    )
    return scored.select(
        *(F.col(f"`{name}`") for name in ids),
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
    return reviews.repartition(tasks, *(F.col(f"`{name}`") for name in reviews.columns))


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
