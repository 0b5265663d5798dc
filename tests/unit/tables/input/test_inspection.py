import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.errors import (
    ConfigError,
    EmptyInputError,
    InputError,
    MissingInputError,
    SchemaMismatchError,
    UnreadableFileError,
)
from sentiment.tables.input.inspection import inspect_reviews
from sentiment.tables.input.tables import check_columns
from sentiment.tables.storage import LOCAL
from tests.factories import make_reviews


def inspect(path, id_col="review_id", text_col="text"):
    return inspect_reviews(str(path), check_columns(id_col, text_col))


@pytest.fixture
def folder(tmp_path):
    for day in ("01", "02"):
        (tmp_path / f"day={day}").mkdir()
        make_reviews(5).to_parquet(tmp_path / f"day={day}" / "part-0.parquet")
    return tmp_path


def test_rows_and_files_are_counted_and_hidden_names_skipped(folder):
    (folder / "_staging").mkdir()
    (folder / "_staging" / "half.parquet").write_bytes(b"half")
    (folder / ".part.crc").write_bytes(b"x")
    table = inspect(folder)
    assert table.rows == 10
    assert [Path(file.path).name for file in table.files] == ["part-0.parquet"] * 2


def test_a_partition_key_may_be_an_id(folder):
    assert inspect(folder, id_col="day,review_id").columns.ids == ("day", "review_id")


def test_a_file_that_changes_has_another_identity(folder):
    before = inspect(folder).files[0].identity()
    assert inspect(folder).files[0].identity() == before
    os.utime(before["path"], ns=(0, before["modified_ns"] + 1))
    assert inspect(folder).files[0].identity() != before


def test_a_column_without_values_needs_no_type(tmp_path):
    make_reviews(2, text=[None, None]).to_parquet(tmp_path / "a.parquet")
    make_reviews(2).to_parquet(tmp_path / "b.parquet")
    assert [dict(file.column_types)["text"] for file in inspect(tmp_path).files] == [pa.null(), pa.string()]


def test_ids_of_two_types_are_refused(tmp_path):
    make_reviews(2).to_parquet(tmp_path / "a.parquet")
    make_reviews(2, review_id=[1, 2]).to_parquet(tmp_path / "b.parquet")
    assert_set_aside(inspect(tmp_path), r"b.parquet: column review_id holds int64, but string in most files")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("id_kind", [pa.string(), pa.int64(), pa.timestamp("us")])
def test_every_kind_of_string_is_text_and_every_plain_value_an_id(tmp_path, kind, id_kind):
    ids = pa.array([1, 2]).cast(id_kind if id_kind != pa.string() else pa.int64()).cast(id_kind)
    table = pa.table({"review_id": ids, "text": pa.array(["a", "b"]).cast(kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert inspect(tmp_path).rows == 2


def assert_set_aside(table, says):
    assert len(table.bad_files) == 1
    with pytest.raises(InputError, match=says):
        raise table.bad_files[0].error
    assert table.bad_files[0].path not in [file.path for file in table.files]


def _damage(folder, name, content):
    (folder / name).write_bytes(content)
    return folder


GOOD = pd.DataFrame({"review_id": ["a"], "text": ["b"]}).to_parquet()


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", UnreadableFileError, r"bad.parquet: not a readable Parquet file \(0 bytes"),
        (b"plain text, no Parquet", UnreadableFileError, "bad.parquet"),
        (GOOD[: len(GOOD) // 2], UnreadableFileError, "bad.parquet"),
        (GOOD[:-1], UnreadableFileError, "bad.parquet"),
        (GOOD[:-4] + b"PARX", UnreadableFileError, "bad.parquet"),
    ],
)
def test_a_damaged_file_among_good_ones_is_named(folder, content, error, says):
    table = inspect(_damage(folder, "day=02/bad.parquet", content))
    assert table.rows == 10
    assert_set_aside(table, says)
    assert isinstance(table.bad_files[0].error, error)


@pytest.mark.parametrize(
    ("frame", "error", "says"),
    [
        (make_reviews(3).rename(columns={"text": "body"}), SchemaMismatchError, "no column text; found"),
        (make_reviews(3, text=[1, 2, 3]), SchemaMismatchError, "text holds int64, expected strings"),
        (make_reviews(3, review_id=[[1]] * 3), SchemaMismatchError, "expected plain values"),
        (make_reviews(1).iloc[:0], EmptyInputError, "no rows"),
    ],
)
def test_a_table_that_cannot_be_scored_says_why(tmp_path, frame, error, says):
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(error, match=says):
        inspect(tmp_path)


def test_nothing_at_the_path_is_an_error(tmp_path):
    with pytest.raises(MissingInputError, match=r"no such file"):
        inspect(tmp_path / "none")
    with pytest.raises(MissingInputError, match="without Parquet files"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    ("id_col", "text_col"),
    [("label", "text"), ("text", "text"), ("", "text"), ("review_id", " , "), ("a,a", "text")],
)
def test_columns_that_cannot_make_a_scored_table_are_refused(tmp_path, id_col, text_col):
    with pytest.raises(ConfigError):
        inspect(tmp_path, id_col, text_col)


def test_a_link_out_of_the_input_is_set_aside(tmp_path):
    for name in ("in", "elsewhere"):
        (tmp_path / name).mkdir()
        make_reviews(2).to_parquet(tmp_path / name / "a.parquet")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "link.parquet").symlink_to(tmp_path / "elsewhere" / "a.parquet")
    table = inspect(tmp_path / "in")
    assert table.rows == 2
    assert [Path(bad.path).name for bad in table.bad_files] == ["link", "link.parquet"]
    assert all("leads out of the input" in str(bad.error) for bad in table.bad_files)


def test_a_partition_folder_may_begin_with_an_underscore(tmp_path):
    (tmp_path / "_day=01").mkdir()
    make_reviews(2).to_parquet(tmp_path / "_day=01" / "a.parquet")
    assert inspect(tmp_path).rows == 2


def test_a_file_beside_partition_folders_is_set_aside(folder):
    make_reviews(2).to_parquet(folder / "z.parquet")
    assert_set_aside(inspect(folder), "z.parquet: partition columns are none, but in most files day")


def test_one_file_has_one_identity_by_whatever_path_it_is_named(folder):
    plain = inspect(folder).files
    (folder.parent / "link").symlink_to(folder)
    for path in (f"{folder}/day=01/..", f"file://{folder}", f"file:{folder}", folder.parent / "link"):
        assert inspect(path).files == plain


@pytest.mark.parametrize("uri", ["s3:/bucket/x", "dbfs:/x", "hdfs:x"])
def test_a_uri_with_one_slash_is_no_folder(uri):
    with pytest.raises(ConfigError, match=r"expected (a mounted folder|s3://bucket)"):
        inspect(uri)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.table([["a"], ["b"], ["c"]], names=["review_id", "text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatchError, match="two columns text"):
        inspect(tmp_path)


def test_column_names_that_may_be_a_review_are_not_quoted(tmp_path):
    pd.DataFrame({"id": ["1"], "I hate this secret thing": ["x"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatchError, match="found id and 1 that do not look like") as caught:
        inspect(tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["batch", "model", "text", "expected", "probabilities", "_has_id"])
def test_names_that_the_store_needs_are_no_ids(tmp_path, name):
    with pytest.raises(ConfigError, match="reserves"):
        inspect(tmp_path, id_col=name, text_col="body")


def test_a_file_that_changes_or_goes_is_noticed(folder):
    first, second = inspect(folder).files
    assert first.is_unchanged(LOCAL)
    os.utime(second.path, ns=(0, 5))
    assert not second.is_unchanged(LOCAL)
    os.unlink(first.path)
    assert not first.is_unchanged(LOCAL)
