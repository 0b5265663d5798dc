"""Files of a folder, and folders whose files must not be read one by one."""

import os

import pytest

from sentiment.errors import ConfigError, InputError, MissingInputError
from sentiment.tables.input.inspection import inspect_table
from sentiment.tables.input.tables import check_columns
from sentiment.tables.storage import LOCAL, Storage, find_storage
from tests.factories import make_reviews


def inspect(path):
    return inspect_table(str(path), check_columns("review_id", "text"))


def write(path, n=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    make_reviews(n).to_parquet(path, index=False)
    return path


MARKS = {
    "Delta": "_delta_log/0.json",
    "Hudi": ".hoodie/hoodie.properties",
    "Iceberg": "metadata/v1.metadata.json",
}


def make_table(folder, kind):
    """Write a table with one data file, and what shows its format."""
    write(folder / "data" / "day=01" / "a.parquet")
    mark = folder / MARKS[kind]
    mark.parent.mkdir(parents=True)
    mark.write_text("{}")
    return folder


@pytest.mark.parametrize("kind", ["Hudi", "Iceberg"])
@pytest.mark.parametrize("place", ["", "data", "data/day=01", "data/day=01/a.parquet"])
def test_a_table_of_another_format_is_refused_by_name(tmp_path, kind, place):
    make_table(tmp_path / "table", kind)
    with pytest.raises(
        InputError, match=f"belongs to an? {kind} table at {tmp_path}/table, .* export its reviews"
    ):
        inspect(tmp_path / "table" / place)


@pytest.mark.parametrize("place", ["data", "data/day=01", "data/day=01/a.parquet"])
def test_a_part_of_a_delta_table_is_refused(tmp_path, place):
    make_table(tmp_path / "table", "Delta")
    with pytest.raises(
        InputError, match=f"is inside the Delta table {tmp_path}/table; .* pass the table's folder"
    ):
        inspect(tmp_path / "table" / place)


@pytest.mark.parametrize("kind", MARKS)
def test_a_folder_that_contains_a_table_is_refused(tmp_path, kind):
    write(tmp_path / "in" / "a.parquet")
    make_table(tmp_path / "in" / "more" / "table", kind)
    with pytest.raises(InputError, match=f"contains an? {kind} table at {tmp_path}/in/more/table"):
        inspect(tmp_path / "in")


def test_a_folder_called_metadata_is_no_table(tmp_path):
    write(tmp_path / "metadata" / "a.parquet")
    assert inspect(tmp_path).rows == 2


def close(monkeypatch, folder):
    """Let a folder refuse to be listed; modes do not keep out root."""
    real = os.scandir

    def scan(path="."):
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)


def test_a_sub_folder_that_may_not_be_entered_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a" / "a.parquet")
    write(tmp_path / "b" / "b.parquet")
    close(monkeypatch, tmp_path / "b")
    table = inspect(tmp_path)
    [bad] = table.bad_files
    assert bad.path == str(tmp_path / "b")
    assert bad.error.exit_code == 3
    assert "this user may not list the folder (Permission denied); change its permissions" in str(bad.error)
    assert table.rows == 2


def test_a_folder_of_closed_folders_is_not_called_empty(tmp_path, monkeypatch):
    write(tmp_path / "b" / "b.parquet")
    close(monkeypatch, tmp_path / "b")
    with pytest.raises(InputError, match="b: this user may not list the folder"):
        inspect(tmp_path)


def test_an_input_that_may_not_be_entered_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="this user may not list the folder; change its permissions"):
        inspect(tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Storage, "open", refuse)
    with pytest.raises(InputError, match=r"a.parquet: may not be read by this user; change its permissions"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    "name", ["_reviews.parquet", ".x.parquet", "12:30.parquet", "a b#c%20?.parquet", "é\n.parquet"]
)
def test_a_file_of_any_name_is_read(tmp_path, name):
    assert inspect(write(tmp_path / "in" / name)).rows == 2
    is_hidden = name[0] in "_."
    write(tmp_path / "in" / "plain.parquet", 3)
    assert inspect(tmp_path / "in").rows == (3 if is_hidden else 5)


def test_a_relative_name_with_a_colon_is_read_after_a_dot(tmp_path, monkeypatch):
    write(tmp_path / "12:30.parquet")
    write(tmp_path / "x:y.parquet")
    monkeypatch.chdir(tmp_path)
    assert inspect("./x:y.parquet").rows == 2
    assert inspect("12:30.parquet").rows == 2, "no scheme begins with a digit"
    with pytest.raises(ConfigError, match=r"for a name with a colon pass ./x:y.parquet"):
        inspect("x:y.parquet")


def test_a_folder_of_links_into_a_cache_is_explained(tmp_path):
    write(tmp_path / "blobs" / "0123")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "a.parquet").symlink_to(tmp_path / "blobs" / "0123")
    with pytest.raises(
        InputError, match=r"all 1 files are links that lead out of the folder, .* copy what they lead to"
    ):
        inspect(tmp_path / "snapshot")


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("*.parquet", "patterns are not expanded: pass the folder"),
        ("day=0[12]", "patterns are not expanded"),
        ("a.parquet,b.parquet", "a list is not taken: pass the folder"),
        ("none", "check the input path"),
    ],
)
def test_a_path_that_is_not_there_is_explained(tmp_path, path, advice):
    write(tmp_path / "a.parquet")
    with pytest.raises(MissingInputError, match=advice):
        inspect(tmp_path / path)


@pytest.mark.parametrize("uri", ["ftp://host/x", "s3a://bucket/x", "https://host/x.parquet", "http://host"])
def test_a_scheme_that_nothing_reads_is_refused(uri):
    with pytest.raises(ConfigError, match="is not supported; expected a mounted folder or one of s3://"):
        inspect(uri)


def test_a_file_uri_is_a_path(tmp_path):
    write(tmp_path / "a.parquet")
    assert inspect(f"file://{tmp_path}").rows == inspect(f"file:{tmp_path}").rows == 2
    assert find_storage(f"FILE://{tmp_path}") == LOCAL
