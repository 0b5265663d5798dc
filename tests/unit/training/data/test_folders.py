import os
import re
from pathlib import Path

import pytest

from sentiment.errors import AmbiguousInputError, MissingInputError, UnreadableFileError
from tests.factories import place_files


@pytest.mark.parametrize("end", [".parquet", "-0a1b2c.parquet", ".jsonl.gz"])
def test_a_shard_that_was_not_fetched_is_named(tmp_path, end):
    names = [f"data/train-0000{i}-of-00003{end.replace('0a', f'{i}a')}" for i in range(3)]
    found, _ = place_files(tmp_path, *names, "data/test-00000-of-00001.parquet")
    assert found["train"] == names
    (tmp_path / names[1]).unlink()
    with pytest.raises(
        MissingInputError, match=r"lacks train-00001-of-00003\..*, expected by the names of the other files;"
    ):
        place_files(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        *("train-{}-of-4.csv", "train-{:03}-of-004.csv", "train_{:05}_of_00004.csv", "train.{}-of-4.csv.gz"),
        *("train-part{}of4.csv", "train_shard_{}_of_4.csv", "train-{}of4.csv", "TRAIN-{}-OF-4.csv"),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_shards_are_known_by_other_forms_of_their_names_too(tmp_path, names, first):
    shards = [names.format(i + first) for i in range(4)]
    assert place_files(tmp_path, *shards)[0] == {"train": shards}
    (tmp_path / shards[1]).unlink()
    with pytest.raises(MissingInputError, match=f"lacks {re.escape(shards[1])}, expected by the names"):
        place_files(tmp_path)


@pytest.mark.parametrize(
    "name", ["best-of-2.csv", "top10of100.csv", "1-of-a-kind.csv", "10-of-2.csv", "out-of-4.csv", "2of.csv"]
)
def test_a_name_with_of_is_no_shard(tmp_path, name):
    assert place_files(tmp_path, name)[0] == {"train": [name]}


@pytest.mark.parametrize(
    "other", ["train-00000-of-00001.csv", "train-00000-of-00002-0a1b.csv", "train-00002-of-00003.csv"]
)
def test_two_sets_of_shards_of_one_name_are_ambiguous(tmp_path, other):
    with pytest.raises(AmbiguousInputError, match=rf"{other}.*: are of two sets of shards, by their numbers"):
        place_files(tmp_path, "train-00000-of-00002.csv", "train-00001-of-00002.csv", other)


def test_shards_of_a_split_that_is_not_read_do_not_matter(tmp_path):
    card = "---\nconfigs: [{data_files: a.csv}]\n---\n"
    (tmp_path / "README.md").write_text(card)
    shards = [f"b/train-0-of-{total}.csv" for total in (2, 3)]
    assert place_files(tmp_path, "a.csv", *shards)[0] == {"train": ["a.csv"]}


def test_text_files_without_labels_are_no_data(tmp_path):
    (tmp_path / "LICENSE.txt").write_text("Everything is allowed.")
    (tmp_path / "test.ft.txt").write_text("__label__1 fine\n")
    found, unused = place_files(tmp_path, "train.csv")
    assert found == {"train": ["train.csv"], "test": ["test.ft.txt"]}
    assert unused == {"LICENSE.txt": "not a data file"}


def test_a_text_file_that_is_a_web_page_is_no_data(tmp_path):
    (tmp_path / "terms.txt").write_text("<!DOCTYPE html><html><title>Terms</title></html>")
    assert place_files(tmp_path, "train.csv")[1] == {"terms.txt": "not a data file"}
    (tmp_path / "test.txt").write_text("<html>Sign in</html>")
    with pytest.raises(AmbiguousInputError, match=r"test\.txt: names a split, but is no"):
        place_files(tmp_path, "train.csv")


def test_links_into_a_cache_are_followed(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0a1b").write_text("text,label\nfine,1\n")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "train.csv").symlink_to(tmp_path / "blobs" / "0a1b")
    assert place_files(tmp_path / "snapshot")[0] == {"train": ["train.csv"]}


def test_linked_folders_are_read_once(tmp_path):
    for name in ("tr", "te"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(f"text,label\n{name},1\n")
    (tmp_path / "set").mkdir()
    for name, target in (("train", "../tr"), ("test", "../te"), ("val_again", "../te"), ("loop", ".")):
        (tmp_path / "set" / name).symlink_to(target)
    found, unused = place_files(tmp_path / "set")
    assert found == {"train": ["train/a.csv"], "test": ["test/a.csv"]}
    assert unused == dict.fromkeys(("loop", "val_again"), "a link to a folder that is read already")


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "train.csv").symlink_to(tmp_path / "blob")
    with pytest.raises(UnreadableFileError, match=r"train\.csv: cannot be read \(No such file"):
        place_files(tmp_path)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("_delta_log/0.crc", "a Delta table"),
        (".hoodie/hoodie.properties", "a Hudi table"),
        ("metadata/v1.metadata.json", "an Iceberg table"),
        ("_spark_metadata/0", "written by a Spark stream"),
        ("_temporary/0/_temporary/attempt_1/part-0.parquet", "a table that Spark is writing"),
    ],
)
def test_a_table_whose_files_have_other_rows_is_refused(tmp_path, file, says):
    (tmp_path / "table" / file).parent.mkdir(parents=True)
    (tmp_path / "table" / file).write_text("{}")
    with pytest.raises(UnreadableFileError, match=f"table: is {says}"):
        place_files(tmp_path, "table/part-0.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_entered_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UnreadableFileError, match="closed: cannot be read"):
        place_files(tmp_path, "train.csv")


def test_a_name_that_is_not_utf_8_is_an_error(tmp_path):
    """An archive of an old system has such names; no report could be printed."""
    name = os.fsencode(tmp_path / "train_") + b"\xe9.csv"
    try:
        os.close(os.open(name, os.O_CREAT))
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    for path in (tmp_path, Path(os.fsdecode(name))):
        with pytest.raises(UnreadableFileError, match=r"train_.udce9.csv.: the name is not UTF-8; rename it"):
            place_files(tmp_path, name=str(path))


def test_a_hidden_name_that_is_not_utf_8_does_not_matter(tmp_path):
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/.trash_\xe9")
        os.close(os.open(os.fsencode(tmp_path) + b"/._train_\xe9.csv", os.O_CREAT))
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    assert place_files(tmp_path, "train.csv") == ({"train": ["train.csv"]}, {})
