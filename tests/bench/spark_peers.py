"""Peers inside Spark, each as its documentation shows it; their session is the same."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession

from .preparation import save_mlflow_model
from .trials import Pass, Trial

_TASKS_PER_CORE = 4
_PIPELINE_ROWS = 32
_PREDICT_ROWS = 64
IDLE_SECONDS = 30.0
"""Spark ends a Python worker, and the model in it, that was idle for a minute."""
_PREDICTION = "label string, score double"

_pipelines: dict[str, Any] = {}
"""Of a worker's process, which outlives a task."""


@contextmanager
def open_mlflow_spark_udf(trial: Trial) -> Iterator[Pass]:
    """`mlflow.pyfunc.spark_udf` on the flavor `transformers`; one review at a time, pads nothing.

    https://mlflow.org/docs/latest/ml/deep-learning/transformers and the docstring of `spark_udf`. In local
    mode it loads the model in every task, so one task a core is its best setting, and is what it gets.
    """
    import mlflow.pyfunc

    model = save_mlflow_model(trial.encoder, trial.cache)

    def make_udf(spark: SparkSession) -> Callable[[str], Column]:
        udf: Callable[[str], Column] = mlflow.pyfunc.spark_udf(
            spark, str(model), result_type=_PREDICTION, env_manager="local"
        )
        return udf

    with _open_session(trial, make_udf, trial.cores) as run_pass:
        yield run_pass


@contextmanager
def open_hf_pipeline_udf(trial: Trial) -> Iterator[Pass]:
    """A transformers pipeline in an iterator pandas UDF, `batch_size=32`, loaded once a worker.

    https://huggingface.co/docs/transformers/pipeline_tutorial (batching), and the iterator of series that
    `pyspark.sql.functions.pandas_udf` documents for a model that is expensive to load.
    """

    def make_udf(spark: SparkSession) -> Callable[[str], Column]:
        from pyspark.sql.pandas.functions import pandas_udf

        folder = str(trial.encoder)

        def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
            classify = _load_pipeline_once(folder)
            for texts in batches:
                yield pd.DataFrame(classify(texts.tolist(), batch_size=_PIPELINE_ROWS, truncation=True))

        udf: Callable[[str], Column] = pandas_udf(score, _PREDICTION)  # type: ignore[call-overload]
        return udf

    with _open_session(trial, make_udf, _choose_tasks(trial, _PIPELINE_ROWS)) as run_pass:
        yield run_pass


@contextmanager
def open_predict_batch_udf(trial: Trial) -> Iterator[Pass]:
    """`pyspark.ml.functions.predict_batch_udf` with torch, `batch_size=64`: tokenises and pads each batch.

    As in its docstring: the model is loaded by `make_predict_fn`, which Spark calls once a worker.
    """

    def make_udf(spark: SparkSession) -> Callable[[str], Column]:
        from pyspark.ml.functions import predict_batch_udf
        from pyspark.sql.types import ArrayType, FloatType

        folder = str(trial.encoder)

        def make_predict() -> Callable[[np.ndarray], np.ndarray]:
            return _load_classifier(folder)

        udf: Callable[[str], Column] = predict_batch_udf(
            make_predict, return_type=ArrayType(FloatType()), batch_size=_PREDICT_ROWS
        )
        return udf

    with _open_session(trial, make_udf, _choose_tasks(trial, _PREDICT_ROWS)) as run_pass:
        yield run_pass


@contextmanager
def _open_session(
    trial: Trial, make_udf: Callable[[SparkSession], Callable[[str], Column]], tasks: int
) -> Iterator[Pass]:
    """A session of the trial's cores whose passes, of `tasks` tasks, are timed with loaded workers.

    A pass over a review a task belongs to the start; it is repeated, untimed, where the workers may have
    ended since.
    """
    spark = _build_session(trial.cores)
    try:
        score = make_udf(spark)
        reviews = spark.read.schema("review_id string, text string").parquet(str(trial.reviews))
        few = reviews.limit(tasks)

        def run(rows: DataFrame) -> float:
            start = time.perf_counter()
            scored = rows.repartition(tasks).select("review_id", score("text").alias("prediction"))
            scored.write.format("noop").mode("overwrite").save()
            return time.perf_counter() - start

        run(few)
        last_end = time.perf_counter()

        def run_pass() -> float:
            nonlocal last_end
            if time.perf_counter() - last_end > IDLE_SECONDS:
                run(few)
            seconds = run(reviews)
            last_end = time.perf_counter()
            return seconds

        yield run_pass
    finally:
        spark.stop()


def _choose_tasks(trial: Trial, batch_rows: int) -> int:
    """Four tasks a core, or as many fewer as leave each a whole batch: else the last one would pad less."""
    rounds = trial.count_rows() // (batch_rows * trial.cores)
    return trial.cores * min(_TASKS_PER_CORE, max(1, rounds))


def _build_session(cores: int) -> SparkSession:
    settings = {
        "spark.task.cpus": "1",  # of which Spark makes OMP_NUM_THREADS for the workers
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
        "spark.python.worker.reuse": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "OFF",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.appName("peer").master(f"local[{cores}]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _load_pipeline_once(folder: str) -> Any:
    """The pipeline of this worker. A function of the module, because a UDF's own state is a task's."""
    if folder not in _pipelines:
        import torch
        from transformers import pipeline

        torch.set_num_threads(1)
        _pipelines[folder] = pipeline("text-classification", model=folder, device="cpu")
    return _pipelines[folder]


def _load_classifier(folder: str) -> Callable[[np.ndarray], np.ndarray]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def predict(texts: np.ndarray) -> np.ndarray:
        batch = tokenizer(texts.tolist(), truncation=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            probabilities: np.ndarray = torch.softmax(model(**batch).logits, dim=-1).numpy()
        return probabilities

    return predict
