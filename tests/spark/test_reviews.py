import os

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chispa import assert_df_equality
from pyspark.errors import PythonException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sentiment.tables.columns import IS_DUPLICATE, IS_OUTSIDE, POSITION
from sentiment.tables.input.inspection import inspect_reviews
from sentiment.tables.input.reviews import read_reviews
from sentiment.tables.input.tables import check_columns
from sentiment.tables.pending import Slice
from sentiment.tables.selection import Selection
from tests.factories import make_reviews


def read(spark, path, id_col="review_id", text_col="text", bounds=None, n_tasks=2, **options):
    table = inspect_reviews(str(path), check_columns(id_col, text_col))
    slices = [Slice(file, *pair) for file in table.files for pair in bounds or [(0, file.rows)]]
    return read_reviews(spark, table, slices, n_tasks, **options)


def read_plain(*arguments, **options):
    return read(*arguments, **options).drop(IS_OUTSIDE, IS_DUPLICATE, POSITION)


def _write_by_spark(reviews, path):
    session = SparkSession.getActiveSession()
    rows = (
        session.createDataFrame(reviews)
        .coalesce(1)
        .sortWithinPartitions(F.expr("cast(substr(review_id, 2) as int)"))
    )
    small = {"parquet.block.size": 4_000, "parquet.page.size": 500, "parquet.block.size.row.check.max": 50}
    rows.write.options(**small, **{"parquet.block.size.row.check.min": 10}).parquet(str(path))


WRITERS = {
    "pyarrow": lambda reviews, path: reviews.to_parquet(path, row_group_size=37),
    "pyarrow, plain": lambda reviews, path: reviews.to_parquet(
        path, row_group_size=37, use_dictionary=False, compression=None
    ),
    "polars": lambda reviews, path: polars.from_pandas(reviews).write_parquet(path, row_group_size=37),
    "spark": _write_by_spark,
}


def test_text_columns_are_joined_without_nulls_and_null_only_if_all_are(spark, write_parquet):
    path = write_parquet(
        {"id": [1, 2, 3, 4], "title": ["Good", None, "Bad", None], "body": ["phone", "ok", None, None]}
    )
    expected = spark.createDataFrame(
        [(1, "Good phone"), (2, "ok"), (3, "Bad"), (4, None)], "id long, text string"
    )
    assert_df_equality(read_plain(spark, path, "id", "title,body"), expected, ignore_row_order=True)


def test_a_file_whose_texts_are_all_null_is_read_beside_others(spark, tmp_path):
    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["b"], "text": pa.nulls(1)}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"id": pa.nulls(1), "text": ["z"]}), tmp_path / "c.parquet")
    pq.write_table(
        pa.table({"id": ["d"], "text": pa.array(["y"]).dictionary_encode()}), tmp_path / "d.parquet"
    )
    expected = spark.createDataFrame(
        [("a", "x"), ("b", None), (None, "z"), ("d", "y")], "id string, text string"
    )
    assert_df_equality(
        read_plain(spark, tmp_path, "id"), expected, ignore_row_order=True, ignore_nullable=True
    )


def test_a_partition_key_is_read_as_it_stands(spark, tmp_path):
    for day in ("01", "02"):
        (tmp_path / f"day={day}").mkdir()
        make_reviews(1).to_parquet(tmp_path / f"day={day}" / "a.parquet")
    rows = read(spark, tmp_path, "day,review_id").collect()
    assert sorted(row["day"] for row in rows) == ["01", "02"]


def test_column_names_with_dots_and_in_two_cases_are_told_apart(spark, write_parquet):
    path = write_parquet({"the.id": [1], "Text": ["upper"], "text": ["lower"]})
    assert [tuple(row) for row in read_plain(spark, path, "the.id").collect()] == [(1, "lower")]


@pytest.mark.parametrize("rows", [1, 5, 400])
def test_one_file_keeps_all_cores_busy(spark, write_parquet, rows):
    reviews = read(spark, write_parquet(make_reviews(rows)), n_tasks=4)
    sizes = [len(part) for part in reviews.rdd.glom().collect()]
    assert sum(sizes) == rows
    assert len(sizes) == -(-rows // max(sizes)) <= 4
    assert max(sizes) == -(-rows // 4)


# The others write the same format with other settings.
QUICK_WRITERS = ("pyarrow", "spark")


@pytest.mark.parametrize(
    "writer",
    [pytest.param(w, marks=[] if w in QUICK_WRITERS else pytest.mark.reliability) for w in WRITERS],
)
def test_a_slice_has_its_rows_in_order(spark, tmp_path, writer):
    reviews = make_reviews(1_000)
    path = tmp_path / "reviews.parquet"
    WRITERS[writer](reviews, path)
    for bounds in ([(0, 1)], [(36, 38)], [(500, 737)], [(999, 1_000)], [(0, 400), (740, 741), (990, 1_000)]):
        found = read(spark, path, bounds=bounds, n_tasks=3).orderBy(POSITION)
        expected = pd.concat([reviews[start:stop] for start, stop in bounds])
        assert [(row.review_id, row.text, row[POSITION]) for row in found.collect()] == list(
            zip(expected.review_id, expected.text, expected.index, strict=True)
        )


def test_skipped_rows_are_not_read_and_duplicates_are_flagged(spark, tmp_path):
    """Positions count through all files, whatever slices and tasks they are cut into."""
    reviews = make_reviews(60)
    for name, part in (("a", reviews[:25]), ("b", reviews[25:])):
        part.to_parquet(tmp_path / f"{name}.parquet")
        os.utime(tmp_path / f"{name}.parquet", (1, 1))
    selection = Selection(skipped=np.array([0, 3, 24, 25, 40, 59]), duplicates=np.array([2, 26, 58]))
    for bounds, n_tasks in ([None, 1], [None, 7], [[(0, 4), (20, 25)], 3]):
        rows = read(spark, tmp_path, bounds=bounds, n_tasks=n_tasks, selection=selection).collect()
        places = [
            at
            for start, n in ((0, 25), (25, 35))
            for low, high in bounds or [(0, n)]
            for at in range(start + low, start + high)
        ]
        expected = [
            (at, reviews.review_id[at], at in (2, 26, 58)) for at in places if at not in selection.skipped
        ]
        assert sorted((row[POSITION], row.review_id, row[IS_DUPLICATE]) for row in rows) == expected


def test_only_the_row_groups_of_a_slice_are_read(spark, tmp_path):
    path = tmp_path / "reviews.parquet"
    table = pa.Table.from_pandas(make_reviews(100), preserve_index=False)
    pq.write_table(table, path, row_group_size=10, write_page_checksum=True)
    chunk = pq.read_metadata(path).row_group(5).column(1)
    content = bytearray(path.read_bytes())
    content[(chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 2] ^= 1
    path.write_bytes(content)
    assert read(spark, path, bounds=[(0, 50), (60, 100)]).count() == 90
    with pytest.raises(PythonException, match="reviews.parquet: not a readable Parquet file"):
        read(spark, path, bounds=[(49, 51)]).count()


def test_a_slice_is_what_these_rows_of_the_whole_file_are(spark, tmp_path):
    """Whatever the types of ids, and with texts that are no UTF-8."""
    n = 200
    numbers = np.arange(n)
    broken = pa.array([b"\xff\xfe" if i % 7 == 0 else b"fine %d" % i for i in range(n)]).cast(pa.binary())
    ids = {
        "instant": pa.array(numbers).cast(pa.timestamp("ns")),
        "moment": pa.array(numbers).cast(pa.timestamp("us", "UTC")),
        "day": pa.array(numbers.astype("int32")).cast(pa.date32()),
        "large": pa.array(numbers.astype("uint64")),
        "price": pa.array(numbers).cast(pa.decimal128(25, 2)),
        "word": pa.array([f"w{i}" for i in range(n)]).dictionary_encode(),
        "odd`name.": pa.array(numbers),
        "nothing": pa.nulls(n),
    }
    text = pa.StringArray.from_buffers(n, *broken.buffers()[1:], broken.buffers()[0])
    path = tmp_path / "region=01" / "part[1].parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({**ids, "text": text}), path, row_group_size=9)
    names = ",".join(["region", *ids])
    whole = read(spark, tmp_path, names).withColumn("text", F.hex("text"))
    found = read(spark, tmp_path, names, bounds=[(50, 90)]).withColumn("text", F.hex("text"))
    assert found.schema == whole.schema
    expected = whole.where(F.col("large").between(50, 89)).collect()
    assert len(expected) == 40
    assert sorted(found.collect(), key=str) == sorted(expected, key=str)
