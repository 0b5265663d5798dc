"""Score a column of texts with a model: for the job, for any DataFrame, and in SQL."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from .. import schema
from ..cli import Progress
from ..config import DEFAULT_MODEL_URI
from ..errors import ConfigError
from ..models import loading, registry
from .columns import IS_DUPLICATE, column, make_key
from .worker import JOB_TYPES, SharedModel, WorkerCensus, make_scorer, share_model

_POLL_SECONDS = 0.5
_PREDICTION = "_prediction"
_EARLY_REASON = "_early_reason"


def score(
    df: DataFrame,
    text_col: str = schema.TEXT,
    model_uri: str = DEFAULT_MODEL_URI,
    *,
    probabilities: bool = False,
    allow_unverified: bool = False,
    **options: Any,
) -> DataFrame:
    """Add the model's columns to a DataFrame: `label`, `score`, `unsure` … `reject_reason`.

    One row per row of `df`, in any number of partitions; a text that cannot be scored has a `reject_reason`
    and nulls. Lazy: an action runs the model, once per action. Works on classic Spark and over Spark Connect.
    `options` are those of `load_model` (`min_score`, `engine` …). Raises ConfigError if the text column is
    missing or a column of `df` has a name of a new column, ModelError if the model cannot be used.
    """
    model = _share(df.sparkSession, model_uri, probabilities, allow_unverified, options)
    if text_col not in df.columns:
        raise ConfigError(f"text_col: {text_col} is not a column; found {schema.show_columns(df.columns)}")
    taken = [name for name in model.prediction_types if name in df.columns]
    if taken:
        raise ConfigError(
            f"the model adds the columns {', '.join(taken)}, which are there; rename or drop them"
        )
    return _add_predictions(df, column(text_col), model)


def sentiment_udf(
    model_uri: str = DEFAULT_MODEL_URI,
    *,
    spark: SparkSession | None = None,
    probabilities: bool = False,
    allow_unverified: bool = False,
    **options: Any,
) -> Callable[..., Column]:
    """Return a UDF of a text column for `spark.udf.register`; its value is a struct of the model's columns.

    `SELECT sentiment(text).label FROM reviews`. `spark` is the session to use, by default the active one. For
    the other arguments and the errors see `score`.
    """
    active = spark or SparkSession.getActiveSession()
    if active is None:
        raise ConfigError("there is no active Spark session; pass one as `spark`")
    model = _share(active, model_uri, probabilities, allow_unverified, options)
    return _make_udf(model)


def _share(
    spark: SparkSession,
    model_uri: str,
    has_probabilities: bool,
    allow_unverified: bool,
    options: Mapping[str, Any],
) -> SharedModel:
    model = registry.resolve_model(model_uri)
    loading.check_model(model, allow_unverified, None)
    if has_probabilities:
        options = {**options, "probabilities": True}
    types = schema.list_prediction_types(model.labels, has_probabilities)
    return share_model(spark, model, options, types)


def _make_udf(model: SharedModel, census: WorkerCensus | None = None) -> Callable[..., Column]:
    made: Callable[..., Column] = pandas_udf(
        make_scorer(model, census), model.name_struct(census is not None)
    )  # type: ignore[call-overload]  # stubs lack structs
    return made


def _add_predictions(
    rows: DataFrame, text: Column, model: SharedModel, census: WorkerCensus | None = None
) -> DataFrame:
    names = (*model.prediction_types, *(JOB_TYPES if census is not None else ()))
    predicted = rows.withColumn(_PREDICTION, _make_udf(model, census)(text))
    return predicted.select(
        *map(column, rows.columns), *(F.col(f"{_PREDICTION}.{name}").alias(name) for name in names)
    )


def score_rows(
    reviews: DataFrame, ids: Sequence[str], model: SharedModel, census: WorkerCensus, n_tasks: int
) -> DataFrame:
    """Add `text_digest` and predictions to rows of `read_reviews`, and return them with their ids only.

    Rows that are rejected for their id or their bytes do not reach the model. Equal texts are in one task,
    one after the other, so that each is scored once; a retried task has the same rows in the same order (a
    round robin would not, SPARK-23207). Lazy: an action runs the model.
    """
    # Spark cannot pass invalid UTF-8 to Python: one such text would fail the whole task.
    is_undecodable = F.coalesce(~F.is_valid_utf8(F.col(schema.TEXT)), F.lit(False))
    early = (
        F.when(make_key(ids).isNull(), schema.NULL_ID)
        .when(F.col(IS_DUPLICATE), schema.DUPLICATE_ID)
        .when(is_undecodable, schema.UNDECODABLE_TEXT)
    )
    rows = reviews.select(
        *map(column, ids),
        F.when(early.isNull(), F.col(schema.TEXT)).alias(schema.TEXT),
        F.xxhash64(schema.TEXT).alias(schema.TEXT_DIGEST),
        early.alias(_EARLY_REASON),
    )
    ordered = rows.repartition(n_tasks, schema.TEXT_DIGEST).sortWithinPartitions(schema.TEXT_DIGEST)
    scored = _add_predictions(ordered, F.col(schema.TEXT), model, census)
    extra = (schema.TEXT, _EARLY_REASON, schema.REJECT_REASON)
    return scored.select(
        *(column(name) for name in scored.columns if name not in extra),
        F.coalesce(F.col(_EARLY_REASON), F.col(schema.REJECT_REASON)).alias(schema.REJECT_REASON),
    )


@contextmanager
def report_progress(
    census: WorkerCensus, phase: str, progress: Progress, done_rows: int, rows: int, all_rows: int
) -> Iterator[None]:
    """Report inside the block how many of a chunk's `rows` are scored, after `done_rows` of `all_rows`.

    The number never falls: a task that is repeated counts twice, up to the rows of the chunk.
    """
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(_POLL_SECONDS):
            progress(phase, done_rows + min(rows, census.rows), all_rows, "rows")

    poller = threading.Thread(target=poll, name="spark-progress", daemon=True)
    poller.start()
    try:
        yield
    finally:
        stop.set()
        poller.join()
