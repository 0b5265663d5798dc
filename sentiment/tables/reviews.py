"""The reviews of a checked input, as Spark rows of ids and text."""

import functools

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from .. import schema
from .inspection import ReviewTable


def read_reviews(spark: SparkSession, table: ReviewTable) -> DataFrame:
    """The id columns and `text`, null where all text columns are null; one row per row of the files."""
    # A name such as part[1].parquet is a name, not a pattern.
    reader = spark.read.option("__globPaths__", "false")
    if table.root.is_dir():
        reader = reader.option("basePath", str(table.root))
    files = [file for file in table.files if file.rows]
    parts = []
    # Spark reads a column without type as a number, and then fails on the files where it is text.
    for nulls in sorted({file.null_columns for file in files}, key=len):
        rows = reader.parquet(*(str(file.path) for file in files if file.null_columns == nulls))
        for name in nulls:
            rows = rows.withColumn(name, F.lit(None).cast(StringType()))
        ids = [column(name) for name in table.id_columns]
        parts.append(rows.select(*ids, join_texts(table.text_columns)))
    return functools.reduce(DataFrame.unionByName, parts)


def join_texts(names: tuple[str, ...]) -> Column:
    """`text`: the non-null columns joined by a space, null if all are null."""
    columns = [column(name) for name in names]
    if len(columns) == 1:
        return columns[0].alias(schema.TEXT)
    is_any = F.coalesce(*columns).isNotNull()
    return F.when(is_any, F.concat_ws(schema.TEXT_JOINER, *columns)).alias(schema.TEXT)


def column(name: str) -> Column:
    """The column of exactly that name, whatever is in it."""
    return F.col("`" + name.replace("`", "``") + "`")
