import json

import pytest

from sentiment.errors import MissingInputError, UnreadableFileError
from tests.factories import place_files


def test_files_that_datasets_caches_next_to_a_saved_data_set_are_not_read(tmp_path):
    import datasets

    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).save_to_disk(str(tmp_path))
    datasets.load_from_disk(str(tmp_path)).map(lambda row: {"text": row["text"].upper()})
    found, unused = place_files(tmp_path)
    assert found == {"train": ["data-00000-of-00001.arrow"]}
    assert list(unused.values()).count("not listed in state.json") == 1


@pytest.mark.parametrize(
    "content",
    [b"", b'{"_data_files": [{"fil', b"[]", b"\xff\xfe", b'{"_data_files": null}', b"{}", b"[" * 9999],
)
def test_a_damaged_list_of_saved_files_is_an_error(tmp_path, content):
    (tmp_path / "data-0.arrow").write_bytes(b"")
    (tmp_path / "cache-0.arrow").write_bytes(b"")
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"state\.json: is damaged"):
        place_files(tmp_path)


def test_a_saved_file_that_is_missing_is_named(tmp_path):
    (tmp_path / "data-0.arrow").write_bytes(b"")
    files = [{"filename": f"data-{i}.arrow"} for i in range(2)]
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": files}))
    with pytest.raises(MissingInputError, match=r"state\.json: lists data-1\.arrow, which the folder lacks"):
        place_files(tmp_path)


def test_a_saved_folder_without_its_only_file_is_an_error(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        state = {"_data_files": [{"filename": "data-0.arrow"}]}
        (tmp_path / split / "state.json").write_text(json.dumps(state))
    (tmp_path / "train" / "data-0.arrow").write_bytes(b"")
    with pytest.raises(MissingInputError, match=r"test/state\.json: lists data-0\.arrow, which"):
        place_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ('{"splits": ["train", "test"]}', MissingInputError, "lists test, which the folder lacks"),
        ('{"splits": ["tr', UnreadableFileError, "is damaged or of another kind"),
        ("[]", UnreadableFileError, "is damaged or of another kind"),
    ],
)
def test_a_saved_split_that_is_missing_is_named(tmp_path, content, error, says):
    (tmp_path / "dataset_dict.json").write_text(content)
    with pytest.raises(error, match=rf"dataset_dict\.json: {says}"):
        place_files(tmp_path, "train/data-0.arrow")


def test_all_saved_splits_are_read(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path))
    assert place_files(tmp_path)[0] == {
        split: [f"{split}/data-00000-of-00001.arrow"] for split in ("train", "test")
    }


def test_a_split_that_an_earlier_save_left_is_not_read(tmp_path):
    import datasets

    rows = [datasets.Dataset.from_dict({"text": [text], "label": [0]}) for text in "abc"]
    datasets.DatasetDict(zip(("train", "validation", "test"), rows, strict=True)).save_to_disk(str(tmp_path))
    datasets.DatasetDict({"train": rows[0], "test": rows[2]}).save_to_disk(str(tmp_path))
    found, unused = place_files(tmp_path)
    assert found == {split: [f"{split}/data-00000-of-00001.arrow"] for split in ("train", "test")}
    assert unused["validation"] == "not listed in dataset_dict.json"


def test_a_state_without_arrow_files_is_a_description(tmp_path):
    (tmp_path / "state.json").write_text("{")
    assert place_files(tmp_path, "train.csv")[1] == {"state.json": "a description"}
