"""Read the reviews of a checked input as Spark rows of ids and text."""

import functools
from collections.abc import Iterable, Sequence

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from ... import schema
from ...errors import UnreadableFileError
from ..planning import Slice
from ..store.manifests import Window
from .files import BadFile, Columns, find_bytes
from .inspection import ReviewTable
from .splits import keep_splits

IS_OUTSIDE = "_is_outside"
# Spark's number of a row in its Parquet file, from 0.
_POSITION = "_metadata.row_index"
# A slice of at most this share of its file is read from its splits only, always with its texts. From a
# larger slice Spark can read only the ids where ids are compared.
_SMALL_SHARE = 0.5


def read_reviews(
    spark: SparkSession, table: ReviewTable, slices: Sequence[Slice], window: Window | None = None
) -> DataFrame:
    """Read the id columns, `text` and `_is_outside`, one row per row of the slices.

    An id is null if it is not valid UTF-8, `text` if all text columns are null. `_is_outside` is true if the
    date is outside the window, null or not a date. Lazy, except for the footers of partly read files: raises
    UnreadableFileError if one cannot be read.
    """
    # Without this option, a name such as part[1].parquet would be a pattern.
    reader = spark.read.option("__globPaths__", "false")
    if table.root.is_dir():
        reader = reader.option("basePath", str(table.root))
    parts = []
    # Spark reads a column without a type as a number, and then fails on files where it is text.
    for nulls in sorted({piece.file.null_columns for piece in slices}, key=sorted):
        alike = [piece for piece in slices if piece.file.null_columns == nulls]
        whole = [piece for piece in alike if piece.is_whole]
        if whole:
            rows = reader.parquet(*(str(piece.file.path) for piece in whole))
            parts.append(_select(rows, table.columns, nulls, window))
        parts += [_read_slice(reader, piece, table.columns, window) for piece in alike if not piece.is_whole]
    return functools.reduce(DataFrame.unionByName, parts)


def find_unreadable(
    spark: SparkSession, table: ReviewTable, slices: Iterable[Slice], window: Window | None
) -> list[BadFile]:
    """Return the files that Spark cannot read; tries one file at a time."""
    bad = []
    for file in {piece.file.path: piece.file for piece in slices}.values():
        try:
            rows = read_reviews(spark, table, [Slice(file, 0, file.rows)], window)
            rows.write.format("noop").mode("overwrite").save()
        except (PySparkException, Py4JError) as error:
            said = f"{file.path}: Spark cannot read it ({type(error).__name__}); write it again, or remove it"
            bad.append(BadFile(file.path, UnreadableFileError(said)))
    return bad


def _read_slice(reader: DataFrameReader, piece: Slice, columns: Columns, window: Window | None) -> DataFrame:
    position = F.col(_POSITION)
    rows = reader.parquet(str(piece.file.path)).where(
        (position >= piece.start_row) & (position < piece.stop_row)
    )
    selected = _select(rows, columns, piece.file.null_columns, window)
    if piece.rows > piece.file.rows * _SMALL_SHARE:
        return selected
    return keep_splits(selected, *find_bytes(piece.file, piece.start_row, piece.stop_row))


def _select(rows: DataFrame, columns: Columns, nulls: Iterable[str], window: Window | None) -> DataFrame:
    for name in nulls:
        rows = rows.withColumn(name, F.lit(None).cast(StringType()))
    return rows.select(
        *(_find_id(rows, name) for name in columns.ids), join_texts(columns.texts), _find_outside(window)
    )


def _find_id(rows: DataFrame, name: str) -> Column:
    """Return an id column with null for invalid UTF-8, which makes most readers fail on the whole table."""
    found = column(name)
    if isinstance(rows.schema[name].dataType, StringType):
        found = F.when(F.is_valid_utf8(found), found)
    return found.alias(name)


def _find_outside(window: Window | None) -> Column:
    if window is None:
        return F.lit(False).alias(IS_OUTSIDE)
    day = column(window.date_col).try_cast("date")
    inside = day.isNotNull()
    if window.since is not None:
        inside &= day >= F.lit(window.since).cast("date")
    if window.until is not None:
        inside &= day < F.lit(window.until).cast("date")
    return (~inside).alias(IS_OUTSIDE)


def join_texts(names: tuple[str, ...]) -> Column:
    """Return `text`: the non-null columns joined by a space, null if all are null."""
    columns = [column(name) for name in names]
    if len(columns) == 1:
        return columns[0].alias(schema.TEXT)
    is_any = F.coalesce(*columns).isNotNull()
    return F.when(is_any, F.concat_ws(schema.TEXT_JOINER, *columns)).alias(schema.TEXT)


def column(name: str) -> Column:
    """Return the column with exactly this name, even if it contains dots or backticks."""
    return F.col("`" + name.replace("`", "``") + "`")
