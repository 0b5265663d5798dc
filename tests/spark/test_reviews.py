import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chispa import assert_df_equality
from pyspark.sql import functions as F

from sentiment.tables.inspection import check_columns, inspect_reviews
from sentiment.tables.planning import Slice
from sentiment.tables.reviews import IS_OUTSIDE, read_reviews
from sentiment.tables.selection import Past, identify, spread_rows
from tests.conftest import make_reviews


def read(spark, path, id_col="review_id", text_col="text"):
    table = inspect_reviews(str(path), check_columns(id_col, text_col))
    slices = [Slice(file, 0, file.rows) for file in table.files]
    return read_reviews(spark, table, slices).drop(IS_OUTSIDE)


def test_text_columns_are_joined_without_nulls_and_null_only_if_all_are(spark, write_parquet):
    path = write_parquet(
        {"id": [1, 2, 3, 4], "title": ["Good", None, "Bad", None], "body": ["phone", "ok", None, None]}
    )
    expected = spark.createDataFrame(
        [(1, "Good phone"), (2, "ok"), (3, "Bad"), (4, None)], "id long, text string"
    )
    assert_df_equality(read(spark, path, "id", "title,body"), expected, ignore_row_order=True)


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
    assert_df_equality(read(spark, tmp_path, "id"), expected, ignore_row_order=True, ignore_nullable=True)


def test_a_partition_key_is_read_as_it_stands(spark, tmp_path):
    for day in ("01", "02"):
        (tmp_path / f"day={day}").mkdir()
        make_reviews(1).to_parquet(tmp_path / f"day={day}" / "a.parquet")
    rows = read(spark, tmp_path, "day,review_id").collect()
    assert sorted(row["day"] for row in rows) == ["01", "02"]


def test_column_names_with_dots_and_in_two_cases_are_told_apart(spark, write_parquet):
    path = write_parquet({"the.id": [1], "Text": ["upper"], "text": ["lower"]})
    assert [tuple(row) for row in read(spark, path, "the.id").collect()] == [(1, "lower")]


@pytest.mark.parametrize("rows", [1, 5, 400])
def test_one_file_keeps_all_cores_busy(spark, write_parquet, rows):
    reviews = read(spark, write_parquet(make_reviews(rows)))
    assert reviews.rdd.getNumPartitions() == 1
    identified = identify(reviews.withColumn(IS_OUTSIDE, F.lit(False)), Past())
    spread = spread_rows(identified, rows, rows_per_task=100)
    cores = spark.sparkContext.defaultParallelism
    assert spread.rdd.getNumPartitions() == min(rows, max(4 * cores, rows // 100))
    sizes = [len(part) for part in spread.rdd.glom().collect()]
    assert sum(sizes) == rows
    if rows == 400:
        assert max(sizes) < 2.5 * rows / len(sizes)
