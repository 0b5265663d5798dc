import gzip
import os
from contextlib import nullcontext

import pytest

from sentiment.errors import AmbiguousInputError, ConfigError, MissingInputError
from sentiment.training.data import sample
from sentiment.training.data.source import ReadOptions
from sentiment.training.data.sources import find_all, find_locations
from tests.factories import place_files


def test_a_clone_of_a_hub_data_set_has_its_splits(tmp_path):
    files = ["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv", "data/test-00000-of-00001.csv"]
    (tmp_path / "dataset_infos.json").write_text("{}")
    found, unused = place_files(tmp_path, *files, "README.md", ".gitattributes")
    assert found == {"train": files[:2], "test": files[2:]}
    assert unused == {"README.md": "not a data file", "dataset_infos.json": "a description"}


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_current_folder(name):
    with pytest.raises(ConfigError, match="dataset_name: is empty"):
        find_locations(name, ReadOptions())


def test_a_name_that_is_too_long_is_an_error(tmp_path):
    with pytest.raises(
        MissingInputError, match="it cannot be read .File name too long.; check --dataset_name"
    ):
        find_locations(str(tmp_path / ("x" * 300)), ReadOptions())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_file_in_a_folder_that_cannot_be_entered_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(MissingInputError, match=r"a\.csv': it cannot be read .Permission denied"):
        find_locations(str(tmp_path / "closed" / "a.csv"), ReadOptions())


def test_a_folder_of_texts_per_class_names_the_way_out(tmp_path):
    (tmp_path / "pos").mkdir()
    (tmp_path / "pos" / "0_9.txt").write_text("Good.")
    with pytest.raises(MissingInputError, match="names of their folders, as columns of a CSV"):
        place_files(tmp_path)


def test_a_folder_without_train_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no split 'train'; found \\['test'\\]"):
        place_files(tmp_path, "test.csv")


def test_a_file_by_itself_is_train_whatever_its_name(tmp_path):
    assert place_files(tmp_path, "test.csv", name=str(tmp_path / "test.csv"))[0] == {"train": ["test.csv"]}


def test_a_loading_script_is_never_run(tmp_path):
    with pytest.raises(MissingInputError, match="loading script is never run"):
        place_files(tmp_path, "amazon.py")


def test_some_shards_of_reviews_without_labels_are_read_and_the_others_named(tmp_path):
    """A dump has hundreds, and one of them may be enough."""
    (tmp_path / "train-00000-of-00002.csv").write_text("text\nfine\n")
    (location,), unused = find_all(str(tmp_path), ReadOptions())
    assert location.name.endswith("train-00000-of-00002.csv")
    assert unused == {
        "train-00001-of-00002.csv": "not there, but expected by the names of the other files",
    }
    assert find_all(location.name, ReadOptions())[1] == {}


@pytest.mark.parametrize("name", ["sample/a.csv", "sample"])
def test_a_path_of_the_name_of_the_sample_does_not_hide_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(sample, "_fetch_ratings", lambda _: b"")
    monkeypatch.chdir(tmp_path)
    assert find_locations("sample", ReadOptions()).by_split["train"][0].name == "sample"
    place_files(tmp_path, "sample/a.csv", name=str(tmp_path / "sample"))
    with pytest.raises(
        AmbiguousInputError, match=r"sample: is a data set of .*; pass \./sample for the latter"
    ):
        find_locations("sample", ReadOptions())
    [location] = find_locations("./sample", ReadOptions()).by_split["train"]
    assert location.name == "sample/a.csv"


class TestOptions:
    """An option that no file can follow is no option that was followed."""

    GIVEN = {"delimiter": ";", "column_names": ("text", "label"), "encoding": "utf-8"}  # noqa: RUF012

    @pytest.mark.parametrize("find", [find_locations, find_all])
    @pytest.mark.parametrize(
        ("name", "used"),
        [
            ("a.csv", {"delimiter", "column_names", "encoding"}),
            ("a.tsv.gz", {"delimiter", "column_names", "encoding"}),
            ("a.jsonl", {"encoding"}),
            ("a.txt", {"encoding"}),
            ("a.parquet", set()),
            ("a.arrow", set()),
        ],
    )
    def test_one_that_no_file_can_follow_is_an_error(self, tmp_path, find, name, used):
        content = b"__label__1 fine\n"
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        for option, value in self.GIVEN.items():
            for path in (tmp_path, tmp_path / name):
                refused = pytest.raises(
                    ConfigError,
                    match=rf"^{option}: only for .*, found .*{name}; leave it out, also of the config file$",
                )
                with nullcontext() if option in used else refused:
                    find(str(path), ReadOptions(**{option: value}))

    def test_one_that_some_file_can_follow_is_followed(self, tmp_path):
        place_files(tmp_path, "train.csv", "test.parquet")
        assert find_locations(str(tmp_path), ReadOptions(**self.GIVEN)).by_split

    @pytest.mark.parametrize("option", GIVEN)
    def test_the_sample_follows_none(self, option, monkeypatch):
        monkeypatch.setattr(sample, "_fetch_ratings", lambda _: b"")
        with pytest.raises(ConfigError, match=f"{option}: only for .*, found sample"):
            find_locations("sample", ReadOptions(**{option: self.GIVEN[option]}))
