"""Run peers inside Spark, each as in its documentation, with the same session."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession

from .. import CORES
from ..measuring.corpus import Table
from ..measuring.preparation import save_mlflow_model
from .contenders import IDLE_SECONDS, Pass, Trial

_TASKS_PER_CORE = 4
_PIPELINE_ROWS = 32
_PREDICT_ROWS = 64
_PREDICTION = "label string, score double"

Udf = Callable[[str], Column]


def open_mlflow_spark_udf(trial: Trial) -> AbstractContextManager[Pass]:
    """Run `mlflow.pyfunc.spark_udf` on the flavor `transformers`: one review at a time, without padding.

    https://mlflow.org/docs/latest/ml/deep-learning/transformers and the docstring of `spark_udf`. In local
    mode it loads the model in every task, so it runs with one task per core, its best setting.
    """
    import mlflow.pyfunc

    model = str(save_mlflow_model(trial.encoder, trial.cache))

    options = {"result_type": _PREDICTION, "env_manager": "local"}
    return _open_session(trial, lambda spark: mlflow.pyfunc.spark_udf(spark, model, **options), None)


def open_hf_pipeline_udf(trial: Trial) -> AbstractContextManager[Pass]:
    """Run a transformers pipeline in an iterator pandas UDF, `batch_size=32`, loaded once per worker.

    https://huggingface.co/docs/transformers/pipeline_tutorial (batching), and the iterator of series that
    `pyspark.sql.functions.pandas_udf` documents for a model that is expensive to load.
    """
    from pyspark.sql.pandas.functions import pandas_udf

    folder = str(trial.encoder)

    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        classify = _load_pipeline(folder)
        for texts in batches:
            yield pd.DataFrame(classify(texts.tolist(), batch_size=_PIPELINE_ROWS, truncation=True))

    def make_udf(_: SparkSession) -> Any:  # `pandas_udf` needs a session
        return pandas_udf(score, _PREDICTION)  # type: ignore[call-overload]

    return _open_session(trial, make_udf, _PIPELINE_ROWS)


def open_predict_batch_udf(trial: Trial) -> AbstractContextManager[Pass]:
    """Run `pyspark.ml.functions.predict_batch_udf` with torch, `batch_size=64`; it pads each batch.

    As in its docstring: the model is loaded by `make_predict_fn`, which Spark calls once per worker.
    """
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType

    make_predict = partial(_load_classifier, str(trial.encoder))
    options: dict[str, Any] = {"return_type": ArrayType(FloatType()), "batch_size": _PREDICT_ROWS}
    return _open_session(trial, lambda _: predict_batch_udf(make_predict, **options), _PREDICT_ROWS)


@contextmanager
def _open_session(
    trial: Trial, make_udf: Callable[[SparkSession], Udf], batch_rows: int | None
) -> Iterator[Pass]:
    """Open a session; its passes are timed with workers that have loaded the model.

    To load them, a pass with one review per task is run at the start, and again if the workers may have
    ended.
    """
    spark = _build_session()
    try:
        score = make_udf(spark)
        last_end = float("-inf")

        def run(rows: DataFrame, tasks: int) -> float:
            nonlocal last_end
            start = time.perf_counter()
            scored = rows.repartition(tasks).select("review_id", score("text").alias("prediction"))
            scored.write.format("noop").mode("overwrite").save()
            last_end = time.perf_counter()
            return last_end - start

        def run_pass(reviews: Table) -> float:
            rows = spark.read.schema("review_id string, text string").parquet(str(reviews.path))
            tasks = _choose_tasks(reviews.rows, batch_rows)
            if time.perf_counter() - last_end > IDLE_SECONDS:
                run(rows.limit(tasks), tasks)
            return run(rows, tasks)

        run_pass(trial.few)
        yield run_pass
    finally:
        spark.stop()


def _choose_tasks(rows: int, batch_rows: int | None) -> int:
    """Return four tasks per core, fewer if tasks would be smaller than a batch; one without batches."""
    rounds = rows // (batch_rows * CORES) if batch_rows else 1
    return CORES * min(_TASKS_PER_CORE, max(1, rounds))


def _build_session() -> SparkSession:
    settings: dict[str, bool | float | int | str | None] = {
        "spark.task.cpus": "1",  # Spark sets OMP_NUM_THREADS of the workers to this
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
        "spark.python.worker.reuse": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "OFF",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    return SparkSession.builder.appName("peer").master(f"local[{CORES}]").config(map=settings).getOrCreate()


@cache
def _load_pipeline(folder: str) -> Any:
    """Return the pipeline of this worker; its process runs many tasks."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(1)
    return pipeline("text-classification", model=folder, device="cpu")


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
