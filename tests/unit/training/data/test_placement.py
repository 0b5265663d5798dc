import re

import pytest

from sentiment.errors import AmbiguousInputError
from tests.factories import place_files


def test_a_name_of_two_splits_is_ambiguous(tmp_path):
    with pytest.raises(AmbiguousInputError, match="test and train"):
        place_files(tmp_path, "train_test.csv")


@pytest.mark.parametrize(
    "name",
    [
        *("test.xlsx", "sub/val.csv.zip", "test.csv.lz4", "test.txt", "test.pq", "dev.jl", "test.7z"),
        *("test.csv.gzip", "test.csv.Z", "test.json.bz", "test.dta", "test.rds"),
        *("test.csv.1", "test.jsonl.gz.aa", "test.csv~", "test.csv (1)", "test.csv?download=true"),
        *("test", "cooking.valid", "IMDBTest", "sub/dev"),
        *("test/a.xlsx", "test/pos/0_9.txt", "test/a.csv.1"),
    ],
)
def test_a_split_that_cannot_be_read_is_an_error(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("...")
    with pytest.raises(AmbiguousInputError, match=f"{re.escape(name)}: names a split, but is no"):
        place_files(tmp_path, "train.csv")


@pytest.mark.parametrize(
    "name",
    [
        *("README", "LICENSE", "test.md", "test.csv.md", "test.py", "test.yaml", "eval.log", "test/README"),
        *("train.csv.sha256", "train.csv~", "train.csv.1", "train", "contest", "contest.csv.1", "train_log"),
    ],
)
def test_a_file_that_is_no_data_of_another_split_is_named_as_unused(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert place_files(tmp_path, "train.csv") == ({"train": ["train.csv"]}, {name: "not a data file"})


def test_notes_in_the_folder_of_a_split_that_is_read_are_no_data(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "notes.txt").write_text("Nothing.")
    assert place_files(tmp_path, "train/a.csv", "test/a.csv")[1] == {"test/notes.txt": "not a data file"}


@pytest.mark.parametrize("inside", [None, ".gitkeep", ".ipynb_checkpoints/train.csv"])
@pytest.mark.parametrize("files", [("train.csv", "test.csv"), ("reviews.csv",)])
def test_a_folder_without_visible_files_is_named_as_unused(tmp_path, files, inside):
    (tmp_path / "eval").mkdir()
    if inside is not None:
        (tmp_path / "eval" / inside).parent.mkdir(exist_ok=True)
        (tmp_path / "eval" / inside).touch()
    assert place_files(tmp_path, *files)[1] == {"eval": "an empty folder"}


def test_notes_in_a_folder_are_no_split_where_no_file_names_one(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "notes.txt").write_text("Nothing.")
    found, unused = place_files(tmp_path, "reviews.csv")
    assert (found, unused) == ({"train": ["reviews.csv"]}, {"test/notes.txt": "not a data file"})


@pytest.mark.parametrize("name", ["test.xlsx", "test/a.xlsx", "test.txt", "test.csv.part"])
def test_a_split_that_cannot_be_read_is_an_error_where_no_other_file_names_one(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("...")
    with pytest.raises(AmbiguousInputError, match=f": {name}: names a split, but is no"):
        place_files(tmp_path, "reviews.csv")


@pytest.mark.parametrize("name", ["train_test_split.tmp", "test.tmp", "test.log.part", "eval/cache.tmp"])
def test_an_unfinished_file_that_is_no_data_is_named_as_unused(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert place_files(tmp_path, "reviews.csv")[1] == {name: "not a data file"}


@pytest.mark.parametrize("name", ["test.csv.part", "test.parquet.incomplete", "test/a.csv.crdownload"])
def test_an_unfinished_file_of_a_split_is_an_error(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(AmbiguousInputError, match=f": {name}: names a split, but is no"):
        place_files(tmp_path, "train.csv")
    assert place_files(tmp_path, "test.csv")[1] == {name: "not a data file"}


def test_a_file_that_no_rule_places_is_an_error_that_lists_it(tmp_path):
    with pytest.raises(AmbiguousInputError, match=r"extra\.json, notes/more\.csv: no split"):
        place_files(tmp_path, "train.csv", "val.csv", "test.CSV", "extra.json", "notes/more.csv")


def test_a_name_of_another_script_that_no_rule_places_is_listed(tmp_path):
    with pytest.raises(AmbiguousInputError, match=r"训练集\.csv: no split"):
        place_files(tmp_path, "训练集.csv", "测试test.csv")


def test_files_of_which_none_names_a_split_are_all_train(tmp_path):
    assert place_files(tmp_path, "a.csv", "sub/trainer_notes.csv")[0] == {
        "train": ["a.csv", "sub/trainer_notes.csv"]
    }


def test_a_copy_is_not_read_again(tmp_path):
    found, unused = place_files(
        tmp_path, "train (1).csv", "train.csv", "test.csv", content="text,label\nfine,1\n"
    )
    assert found == {"train": ["train (1).csv"], "test": ["test.csv"]}
    assert unused == {"train.csv": "a copy of train (1).csv"}


@pytest.mark.parametrize("twin", ["train.csv.gz", "train.jsonl"])
def test_a_file_in_two_formats_is_ambiguous(tmp_path, twin):
    (tmp_path / twin).write_bytes(b"another content")
    with pytest.raises(AmbiguousInputError, match=r"train\.csv.* the same reviews in two formats"):
        place_files(tmp_path, "train.csv")
