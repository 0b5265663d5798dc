"""A program over Spark Connect: score a table by `score` and in SQL; its results are JSON for a test.

Run in a process of its own: a process has either a classic session or a remote one.
"""

import json
import sys

from pyspark.sql import SparkSession

from sentiment import score, sentiment_udf
from sentiment.errors import ConfigError
from sentiment.tables import session


def main(reviews: str, model_uri: str) -> None:
    spark = SparkSession.builder.remote("local[2]").getOrCreate()
    rows = spark.read.parquet(reviews).repartition(6)
    scored = score(rows, model_uri=model_uri, probabilities=True)
    found = {row["review_id"]: [row["label"], row["score"], row["reject_reason"]] for row in scored.collect()}
    spark.udf.register("sentiment", sentiment_udf(model_uri, spark=spark))
    rows.createOrReplaceTempView("reviews")
    in_sql = spark.sql("SELECT review_id, sentiment(text).label AS label FROM reviews").collect()
    again = score(rows, model_uri=model_uri).select("review_id", "label").collect()
    loads = spark.range(0, 8, 1, 8).mapInPandas(_count_loads, "process long, loads long").collect()
    try:
        session.find_context(spark)
        refused = ""
    except ConfigError as error:
        refused = str(error)
    print(
        json.dumps(
            {
                "columns": scored.columns,
                "rows": found,
                "sql": {row["review_id"]: row["label"] for row in in_sql},
                "again": {row["review_id"]: row["label"] for row in again},
                "loads": {row["process"]: row["loads"] for row in loads},
                "refused": refused,
            }
        )
    )


def _count_loads(batches):
    """Yield the process of this worker, and how many models it has loaded."""
    import os

    import pandas as pd

    from sentiment.tables import worker

    for _ in batches:
        yield pd.DataFrame({"process": [os.getpid()], "loads": [worker.count_loads()]})


if __name__ == "__main__":
    main(*sys.argv[1:])
