import errno
import json
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from sentiment.config import FinetuneConfig
from sentiment.errors import AmbiguousInputError, ConfigError, MissingInputError, UnreadableFileError
from sentiment.training.data.reading import choose_columns
from sentiment.training.data.source import ReadOptions
from sentiment.training.data.sources import find_locations
from sentiment.training.data.split_names import place_file


def place(folder, *names, name=None, content="text,label\n{},1\n"):
    for file in names:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content.format(file))
    found = find_locations(name or str(folder), ReadOptions())
    return {
        split: [os.path.relpath(location.name, folder) for location in locations]
        for split, locations in found.by_split.items()
    }, found.unused


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.csv", "train"),
        ("training_2.csv", "train"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("train2/a.csv", "train"),
        ("Valid.csv", "validation"),
        ("my-dev.csv", "validation"),
        ("val/x.csv", "validation"),
        ("eval.json", "validation"),
        ("TEST.CSV", "test"),
        ("deep/testing/part-0.csv", "test"),
        ("train/test.csv", "test"),  # the file name is nearer
        ("trainer_notes.csv", None),
        ("contest.csv", None),
        ("latest/values.csv", None),
        ("reviews.csv", None),
        ("trainset.csv", "train"),
        ("tst.csv", "test"),
        ("test_data.csv", "test"),
        ("valset.csv", "validation"),
        ("imdbTrain.csv", "train"),
        ("labeledTrainData.tsv", "train"),
        ("IMDBTest.csv", "test"),
        ("split=test/part-0.parquet", "test"),
        ("reviews(train).csv", "train"),
        ("GreatestHits.csv", None),
        ("dataset.csv", None),
        ("训练集_train.csv", "train"),
        ("train数据.csv", "train"),
        ("测试test.csv", "test"),
        ("データtestset2.csv", "test"),
        ("리뷰Val.csv", "validation"),
        ("\uff54\uff45\uff53\uff54.csv", "test"),
        ("prétest.csv", None),
        ("pre\u0301test.csv", None),
        ("数据contest.csv", None),
        ("训练集.csv", None),
    ],
)
def test_words_of_a_path_place_a_file(tmp_path, path, split):
    assert place_file(tmp_path.relative_to(tmp_path) / path) == split


def test_a_name_of_two_splits_is_ambiguous(tmp_path):
    with pytest.raises(AmbiguousInputError, match="test and train"):
        place(tmp_path, "train_test.csv")


def test_a_clone_of_a_hub_data_set_has_its_splits(tmp_path):
    files = ["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv", "data/test-00000-of-00001.csv"]
    (tmp_path / "dataset_infos.json").write_text("{}")
    found, unused = place(tmp_path, *files, "README.md", ".gitattributes")
    assert found == {"train": files[:2], "test": files[2:]}
    assert unused == {"README.md": "not a data file", "dataset_infos.json": "a description"}


@pytest.mark.parametrize("end", [".parquet", "-0a1b2c.parquet", ".jsonl.gz"])
def test_a_shard_that_was_not_fetched_is_named(tmp_path, end):
    names = [f"data/train-0000{i}-of-00003{end.replace('0a', f'{i}a')}" for i in range(3)]
    found, _ = place(tmp_path, *names, "data/test-00000-of-00001.parquet")
    assert found["train"] == names
    (tmp_path / names[1]).unlink()
    with pytest.raises(MissingInputError, match=r"lacks train-00001-of-00003\..*, which the names of other"):
        place(tmp_path)


def test_text_files_without_labels_are_no_data(tmp_path):
    (tmp_path / "LICENSE.txt").write_text("Everything is allowed.")
    (tmp_path / "test.ft.txt").write_text("__label__1 fine\n")
    found, unused = place(tmp_path, "train.csv")
    assert found == {"train": ["train.csv"], "test": ["test.ft.txt"]}
    assert unused == {"LICENSE.txt": "not a data file"}


@pytest.mark.parametrize(
    "name",
    [
        *("test.xlsx", "sub/val.csv.zip", "test.csv.lz4", "test.txt", "test.pq", "dev.jl", "test.7z"),
        *("test/a.xlsx", "test/pos/0_9.txt"),
    ],
)
def test_a_split_that_cannot_be_read_is_an_error(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("...")
    with pytest.raises(AmbiguousInputError, match=f"{name}: names a split, but is no"):
        place(tmp_path, "train.csv")


def test_notes_in_the_folder_of_a_split_that_is_read_are_no_data(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "notes.txt").write_text("Nothing.")
    assert place(tmp_path, "train/a.csv", "test/a.csv")[1] == {"test/notes.txt": "not a data file"}


def test_an_empty_folder_of_a_split_is_an_error(tmp_path):
    """A download that was broken off leaves one."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / ".gitkeep").touch()
    with pytest.raises(AmbiguousInputError, match=": test: names a split, but is no"):
        place(tmp_path, "train/a.csv")
    assert place(tmp_path, "test.csv")[1] == {"test": "an empty folder"}


@pytest.mark.parametrize("name", ["test.csv.part", "test.parquet.incomplete", "test/a.csv.crdownload"])
def test_an_unfinished_file_of_a_split_is_an_error(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(AmbiguousInputError, match=f": {name}: names a split, but is no"):
        place(tmp_path, "train.csv")
    assert place(tmp_path, "test.csv")[1] == {name: "not a data file"}


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
        place(tmp_path)


def test_a_file_that_no_rule_places_is_an_error_that_lists_it(tmp_path):
    with pytest.raises(AmbiguousInputError, match=r"extra\.json, notes/more\.csv: no split"):
        place(tmp_path, "train.csv", "val.csv", "test.CSV", "extra.json", "notes/more.csv")


def test_a_name_of_another_script_that_no_rule_places_is_listed(tmp_path):
    with pytest.raises(AmbiguousInputError, match=r"训练集\.csv: no split"):
        place(tmp_path, "训练集.csv", "测试test.csv")


def test_files_of_which_none_names_a_split_are_all_train(tmp_path):
    assert place(tmp_path, "a.csv", "sub/trainer_notes.csv")[0] == {
        "train": ["a.csv", "sub/trainer_notes.csv"]
    }


def test_a_folder_without_train_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no split 'train'; found \\['test'\\]"):
        place(tmp_path, "test.csv")


def test_a_file_by_itself_is_train_whatever_its_name(tmp_path):
    assert place(tmp_path, "test.csv", name=str(tmp_path / "test.csv"))[0] == {"train": ["test.csv"]}


def test_links_into_a_cache_are_followed(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0a1b").write_text("text,label\nfine,1\n")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "train.csv").symlink_to(tmp_path / "blobs" / "0a1b")
    assert place(tmp_path / "snapshot")[0] == {"train": ["train.csv"]}


def test_linked_folders_are_read_once(tmp_path):
    for name in ("tr", "te"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(f"text,label\n{name},1\n")
    (tmp_path / "set").mkdir()
    for name, target in (("train", "../tr"), ("test", "../te"), ("val_again", "../te"), ("loop", ".")):
        (tmp_path / "set" / name).symlink_to(target)
    found, unused = place(tmp_path / "set")
    assert found == {"train": ["train/a.csv"], "test": ["test/a.csv"]}
    assert unused == dict.fromkeys(("loop", "val_again"), "a link to a folder that is read already")


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "train.csv").symlink_to(tmp_path / "blob")
    with pytest.raises(UnreadableFileError, match=r"train\.csv: cannot be read \(No such file"):
        place(tmp_path)


def test_a_copy_is_not_read_again(tmp_path):
    found, unused = place(tmp_path, "train (1).csv", "train.csv", "test.csv", content="text,label\nfine,1\n")
    assert found == {"train": ["train (1).csv"], "test": ["test.csv"]}
    assert unused == {"train.csv": "a copy of train (1).csv"}


@pytest.mark.parametrize("twin", ["train.csv.gz", "train.jsonl"])
def test_a_file_in_two_formats_is_ambiguous(tmp_path, twin):
    (tmp_path / twin).write_bytes(b"another content")
    with pytest.raises(AmbiguousInputError, match=r"train\.csv.* the same reviews in two formats"):
        place(tmp_path, "train.csv")


def test_files_that_datasets_caches_next_to_a_saved_data_set_are_not_read(tmp_path):
    import datasets

    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).save_to_disk(str(tmp_path))
    datasets.load_from_disk(str(tmp_path)).map(lambda row: {"text": row["text"].upper()})
    found, unused = place(tmp_path)
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
        place(tmp_path)


def test_a_saved_file_that_is_missing_is_named(tmp_path):
    (tmp_path / "data-0.arrow").write_bytes(b"")
    files = [{"filename": f"data-{i}.arrow"} for i in range(2)]
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": files}))
    with pytest.raises(MissingInputError, match=r"state\.json: lists data-1\.arrow, which the folder lacks"):
        place(tmp_path)


def test_a_saved_folder_without_its_only_file_is_an_error(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        state = {"_data_files": [{"filename": "data-0.arrow"}]}
        (tmp_path / split / "state.json").write_text(json.dumps(state))
    (tmp_path / "train" / "data-0.arrow").write_bytes(b"")
    with pytest.raises(MissingInputError, match=r"test/state\.json: lists data-0\.arrow, which"):
        place(tmp_path)


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
        place(tmp_path, "train/data-0.arrow")


def test_all_saved_splits_are_read(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path))
    assert place(tmp_path)[0] == {
        split: [f"{split}/data-00000-of-00001.arrow"] for split in ("train", "test")
    }


def test_a_state_without_arrow_files_is_a_description(tmp_path):
    (tmp_path / "state.json").write_text("{")
    assert place(tmp_path, "train.csv")[1] == {"state.json": "a description"}


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
        place(tmp_path, "table/part-0.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_entered_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UnreadableFileError, match="closed: cannot be read"):
        place(tmp_path, "train.csv")


def test_a_name_that_is_not_utf_8_is_an_error(tmp_path):
    """An archive of an old system has such names; no report could be printed."""
    name = os.fsencode(tmp_path / "train_") + b"\xe9.csv"
    try:
        os.close(os.open(name, os.O_CREAT))
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    for path in (tmp_path, Path(os.fsdecode(name))):
        with pytest.raises(UnreadableFileError, match=r"train_.udce9.csv.: the name is not UTF-8; rename it"):
            place(tmp_path, name=str(path))


def test_a_loading_script_is_never_run(tmp_path):
    with pytest.raises(MissingInputError, match="loading script is never run"):
        place(tmp_path, "amazon.py")


CARD = """---
configs:
- config_name: books
  default: true
  data_files:
  - split: train
    path: "books/a*.csv"
  - split: test
    path: books/b.csv
- config_name: toys
  data_dir: toys
dataset_info:
- config_name: books
  features:
  - name: label
    dtype:
      class_label:
        names:
          '0': positive
          '1': negative
---
"""


class TestCard:
    FILES = ("books/a1.csv", "books/a2.csv", "books/b.csv", "toys/train.csv", "toys/dev.csv")

    def test_the_default_configuration(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD)
        found, unused = place(tmp_path, *self.FILES)
        assert found == {"train": ["books/a1.csv", "books/a2.csv"], "test": ["books/b.csv"]}
        assert unused["toys/train.csv"] == "not in the configuration"

    def test_two_stars_mean_all_files_below(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- data_files: {train: 'tr/**', test: '**/b.csv'}\n---\n"
        )
        assert place(tmp_path, "tr/x/a.csv", "b.csv")[0] == {"train": ["tr/x/a.csv"], "test": ["b.csv"]}

    def test_a_pattern_without_a_file_is_an_error_and_not_a_missing_split(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD)
        with pytest.raises(MissingInputError, match=r"'books/b.csv' for the split 'test', but no data file"):
            place(tmp_path, "books/a1.csv")

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_file_in_two_splits_is_ambiguous(self, tmp_path, order):
        entries = ['  - split: train\n    path: "*.csv"\n', "  - split: test\n    path: test.csv\n"][::order]
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files:\n{''.join(entries)}---\n")
        with pytest.raises(AmbiguousInputError, match=r"README.md places test\.csv in two splits"):
            place(tmp_path, "a.csv", "test.csv")

    def test_a_split_of_the_very_name_wins(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- data_files: {train_small: a.csv, train: b.csv, test: c.csv}\n---\n"
        )
        (tmp_path / "a.csv").write_text("text,label\na,1\n")
        found, unused = place(tmp_path, "b.csv", "c.csv")
        assert found == {"train": ["b.csv"], "test": ["c.csv"]}
        assert unused == {"README.md": "the card, a description", "a.csv": "not in the configuration"}

    @pytest.mark.parametrize("entry", ["{split: train}", "{split: train, path: /abs/a.csv}", "3"])
    def test_data_files_that_cannot_be_understood(self, tmp_path, entry):
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files: [{entry}]\n---\n")
        with pytest.raises(UnreadableFileError, match=r"README\.md: its data_files cannot be understood"):
            place(tmp_path, "a.csv")

    def test_class_names_that_cannot_be_understood(self, tmp_path):
        (tmp_path / "README.md").write_text("---\ndataset_info: {features: [label]}\n---\n")
        with pytest.raises(
            UnreadableFileError, match=r"README\.md: its description of the data set cannot be"
        ):
            place(tmp_path, "a.csv")

    @pytest.mark.parametrize("names", ["{'1': good, '0': bad}", "{1: good, 0: bad}", "[bad, good]"])
    def test_class_names_count_by_their_numbers(self, tmp_path, names):
        label = f"{{name: label, dtype: {{class_label: {{names: {names}}}}}}}"
        (tmp_path / "README.md").write_text(f"---\ndataset_info: {{features: [{label}]}}\n---\n")
        (tmp_path / "a.csv").write_text("text,label\nfine,1\n")
        source = find_locations(str(tmp_path), ReadOptions()).by_split["train"][0].open()
        assert source.class_names == {"label": ("bad", "good")}

    @pytest.mark.parametrize("names", ["{'1': bad, '2': good}", "{'0': bad, '2': good}", "{a: bad, b: good}"])
    def test_class_names_without_a_number_are_an_error(self, tmp_path, names):
        label = f"{{name: label, dtype: {{class_label: {{names: {names}}}}}}}"
        (tmp_path / "README.md").write_text(f"---\ndataset_info: {{features: [{label}]}}\n---\n")
        with pytest.raises(UnreadableFileError, match="so the names of its classes are not known"):
            place(tmp_path, "a.csv")

    def test_the_form_of_text_files_that_a_card_states_counts(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- {data_files: a.csv, sep: '|', names: [text, label]}\n---\n"
        )
        (tmp_path / "a.csv").write_text("text|1\nb, c|0\n")
        source = find_locations(str(tmp_path), ReadOptions()).by_split["train"][0].open()
        assert list(source.read(["text", "label"])) == [{"text": ["text", "b, c"], "label": ["1", "0"]}]

    def test_a_form_that_is_not_known_is_an_error(self, tmp_path):
        (tmp_path / "README.md").write_text("---\nconfigs:\n- {data_files: a.csv, skiprows: 2}\n---\n")
        with pytest.raises(UnreadableFileError, match=r"its card, README\.md, states skiprows"):
            place(tmp_path, "a.csv")

    @pytest.mark.parametrize(
        "stated",
        [
            "sep: ';;'",
            "sep: '\\s+'",
            "sep: 5",
            "sep: [',']",
            "encoding: 5",
            "encoding: [a]",
            "encoding: rot13",
            "encoding: klingon",
            "column_names: 7",
            "column_names: text",
            "column_names: []",
            "column_names: [text, no]",
            "column_names: [text, ' ']",
            "names: [text, text]",
        ],
    )
    def test_a_setting_that_is_none_is_named(self, tmp_path, stated):
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- {{data_files: a.csv, {stated}}}\n---\n")
        key = stated.partition(":")[0]
        with pytest.raises(
            UnreadableFileError, match=rf"README\.md, states {key} for .*: expected .*, found "
        ):
            place(tmp_path, "a.csv")

    @pytest.mark.parametrize(
        ("stated", "content"),
        [
            ("sep: \\t", "text\tlabel\na,1\t2\n"),
            ("sep: ','", "text,label\na;b;1|2,2\n"),
            ("sep: ',', delimiter: ;", "text;label\na,1;2\n"),
            ("header: 0, quotechar: '\"', skiprows: null", "text,label\na,2\n"),
            ("names: [text, label], header: null", "a,2\n"),
        ],
    )
    def test_a_setting_counts_as_it_is_written(self, tmp_path, stated, content):
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- {{data_files: a.csv, {stated}}}\n---\n")
        (tmp_path / "a.csv").write_text(content)
        source = find_locations(str(tmp_path), ReadOptions()).by_split["train"][0].open()
        assert source.columns == ("text", "label")
        assert [batch["label"] for batch in source.read(["label"])] == [["2"]]

    def test_a_stated_delimiter_is_not_guessed(self, tmp_path):
        (tmp_path / "README.md").write_text("---\nconfigs:\n- {data_files: a.csv, sep: ','}\n---\n")
        (tmp_path / "a.csv").write_text("text;label\na;1\n")
        [location] = find_locations(str(tmp_path), ReadOptions()).by_split["train"]
        assert location.open().columns == ("text;label",)

    @pytest.mark.parametrize(
        "stated", ["field: rows", "header: null", "header: 1", "names: [text, label], header: 0"]
    )
    def test_no_setting_of_json_files_is_left_out(self, tmp_path, stated):
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- {{data_files: a.json, {stated}}}\n---\n")
        (tmp_path / "a.json").write_text('[{"text": "a", "label": 1}]')
        with pytest.raises(
            UnreadableFileError, match="states (field|header) for its text files, which cannot"
        ):
            find_locations(str(tmp_path), ReadOptions())

    def test_settings_of_text_files_mean_nothing_for_parquet_files(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- {data_files: a.parquet, columns: [text]}\n---\n"
        )
        assert place(tmp_path, "a.parquet")[0] == {"train": ["a.parquet"]}

    def test_given_names_do_not_make_a_stated_header_a_row(self, tmp_path):
        (tmp_path / "a.csv").write_text("a,b\nfine,1\n")
        options = ReadOptions(column_names=("text", "label"))
        for header, is_refused in ((0, True), ("null", False)):
            card = f"---\nconfigs:\n- {{data_files: a.csv, header: {header}}}\n---\n"
            (tmp_path / "README.md").write_text(card)
            with pytest.raises(UnreadableFileError, match="header") if is_refused else nullcontext():
                find_locations(str(tmp_path), options)

    def test_given_options_win_over_a_setting_that_is_none(self, tmp_path):
        (tmp_path / "README.md").write_text("---\nconfigs:\n- {data_files: a.csv, sep: ;;}\n---\n")
        (tmp_path / "a.csv").write_text("text|label\na|1\n")
        [location] = find_locations(str(tmp_path), ReadOptions(delimiter="|")).by_split["train"]
        assert location.open().columns == ("text", "label")

    def test_paths_by_split(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- config_name: x\n  data_files:\n    train: a.csv\n    test: b.csv\n---\n"
        )
        assert place(tmp_path, "a.csv", "b.csv")[0] == {"train": ["a.csv"], "test": ["b.csv"]}

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_a_card_that_may_not_be_read_is_named(self, tmp_path):
        (tmp_path / "README.md").touch(mode=0)
        with pytest.raises(UnreadableFileError, match=r"README\.md: cannot be read \(Permission denied"):
            place(tmp_path, "a.csv")

    def test_a_byte_order_mark_does_not_hide_the_card(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD, encoding="utf-8-sig")
        assert place(tmp_path, *self.FILES)[0]["test"] == ["books/b.csv"]

    def test_another_configuration(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD)
        found, _ = place(tmp_path, *self.FILES, name=f"{tmp_path}:toys")
        assert found == {"train": ["toys/train.csv"], "validation": ["toys/dev.csv"]}

    def test_an_unknown_or_missing_choice_lists_the_configurations(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD.replace("  default: true\n", ""))
        for name in (None, f"{tmp_path}:games"):
            with pytest.raises(AmbiguousInputError, match="books, toys; choose with --dataset_name"):
                place(tmp_path, *self.FILES, name=name)

    def test_class_names_of_the_card_are_those_of_its_files(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD)
        place(tmp_path, *self.FILES)
        location = find_locations(f"{tmp_path}:books", ReadOptions()).by_split["train"][0]
        assert location.open().class_names == {"label": ("positive", "negative")}
        location = find_locations(f"{tmp_path}:toys", ReadOptions()).by_split["train"][0]
        assert location.open().class_names == {}


def describe(names, column="label"):
    """Return a configuration in `dataset_infos.json` as older versions of `datasets` wrote it."""
    label = {"num_classes": len(names), "names": names, "names_file": None, "id": None, "_type": "ClassLabel"}
    return {"features": {"text": {"dtype": "string", "id": None, "_type": "Value"}, column: label}}


class TestOldInfos:
    @pytest.fixture
    def find(self, tmp_path):
        """Write the file, and return the class names and the form of a file next to it."""

        def find(infos, card=None, name=None):
            text = infos if isinstance(infos, str) else json.dumps(infos)
            (tmp_path / "dataset_infos.json").write_text(text)
            (tmp_path / "train.csv").write_text("text,label\na,1\n")
            if card is not None:
                (tmp_path / "README.md").write_text(f"---\n{card}\n---\n")
            [location] = find_locations(name or str(tmp_path), ReadOptions()).by_split["train"]
            return location.open().class_names, location.form

        return find

    def test_its_names_are_used_and_decide_what_is_read(self, find):
        names, form = find({"plain_text": describe(["positive", "negative"])})
        assert names == {"label": ("positive", "negative")}
        assert form != find({"plain_text": describe(["negative", "positive"])})[1]

    def test_the_card_comes_first(self, find):
        card = "dataset_info: {features: [{name: label, dtype: {class_label: {names: {'0': a, '1': b}}}}]}"
        assert find({"plain_text": describe(["c", "d"])}, card)[0] == {"label": ("a", "b")}
        assert find({"plain_text": describe(["c", "d"])}, "license: mit")[0] == {"label": ("c", "d")}

    def test_the_names_are_those_of_the_configuration(self, find, tmp_path):
        infos = {"books": describe(["a", "b"]), "toys": describe(["b", "a"])}
        card = (
            "configs: [{config_name: books, data_files: '*.csv'}, {config_name: toys, data_files: '*.csv'}]"
        )
        assert find(infos, card, f"{tmp_path}:toys")[0] == {"label": ("b", "a")}

    def test_configurations_with_other_names_are_ambiguous(self, find, tmp_path):
        """Only for the column that they name differently, and only if it is used."""
        infos = {"a": describe(["n", "p"]), "b": describe(["p", "n"]), "c": describe(["x", "y"], "topic")}
        assert find({"a": infos["a"], "b": infos["a"]})[0] == {"label": ("n", "p")}
        assert find(infos)[0] == {"topic": ("x", "y")}
        [location] = find_locations(str(tmp_path), ReadOptions()).by_split["train"]
        with pytest.raises(AmbiguousInputError, match="names the classes of column 'label' differently"):
            choose_columns(FinetuneConfig(), location.open())
        assert choose_columns(FinetuneConfig(label_col="text"), location.open()).label == "text"

    def test_a_name_chooses_among_the_descriptions(self, find, tmp_path):
        infos = {"a": describe(["n", "p"]), "b": describe(["p", "n"])}
        assert find(infos, name=f"{tmp_path}:b")[0] == {"label": ("p", "n")}
        with pytest.raises(AmbiguousInputError, match="has the configurations a, b; choose"):
            find(infos, name=f"{tmp_path}:c")
        place(tmp_path, "b/train.csv", content="text,label\nfine,1\n")
        assert (
            find_locations(f"{tmp_path}:b", ReadOptions()).unused["train.csv"] == "not in the configuration"
        )

    def test_a_name_can_be_a_number(self, find, tmp_path):
        label = "features: [{name: label, dtype: {class_label: {names: [%s]}}}]"
        infos = [
            f"{{config_name: {year}, {label % names}}}" for year, names in ((2014, "n, p"), (2018, "p, n"))
        ]
        card = f"dataset_info: [{', '.join(infos)}]"
        assert find({}, card, f"{tmp_path}:2018")[0] == {"label": ("p", "n")}
        with pytest.raises(AmbiguousInputError, match="has the configurations 2014, 2018; choose"):
            find({}, card, f"{tmp_path}:2023")

    def test_a_name_without_any_description_is_an_error(self, find, tmp_path):
        with pytest.raises(AmbiguousInputError, match="has no configurations; pass"):
            find({}, name=f"{tmp_path}:a")

    @pytest.mark.parametrize("content", ["", "[]", "{", '{"a": []}', '{"a": {"features": [1]}}', "[" * 9999])
    def test_a_damaged_file_is_an_error(self, find, content):
        with pytest.raises(UnreadableFileError, match=r"dataset_infos\.json: its description"):
            find(content)


def make_builder(paths, /, features=None, **card):
    """Return a builder of `datasets` for text files of the hub at these paths."""
    import datasets
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules.csv.csv import CsvConfig

    files = {}
    for name in paths:
        url = name if "://" in name else f"hf://datasets/owner/name@0a1b/{name}"
        split = next((split for split in ("test", "unsupervised") if split in name), "train")
        files.setdefault(split, DataFilesList([], [])).append(url)
    config = CsvConfig(data_files=DataFilesDict(files), **card)
    return SimpleNamespace(config=config, info=datasets.DatasetInfo(features=features))


def make_http_error(status):
    """Return what the hub's client raises for an answer with this status."""
    from huggingface_hub.errors import HfHubHTTPError

    error = HfHubHTTPError.__new__(HfHubHTTPError)
    error.response = SimpleNamespace(status_code=status)
    return error


def make_timeout():
    """Return an error of the HTTP library that is no OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    [root] = set(HfHubHTTPError.__bases__) - {OSError}
    return type("ReadTimeout", (root,), {})("timed out")


class TestHub:
    @pytest.fixture
    def load(self, monkeypatch):
        """Replace the hub by what a test passes: a `DatasetDict` or an error."""
        import datasets

        from sentiment.training.data import hub

        def replace(answer):
            def answer_it(*_, **__):
                if isinstance(answer, Exception):
                    raise answer
                return answer

            monkeypatch.setattr(hub, "is_hub_reachable", lambda: True)
            monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
            monkeypatch.setattr(datasets, "load_dataset_builder", answer_it)
            monkeypatch.setattr(datasets, "load_dataset", answer_it)
            if isinstance(answer, datasets.DatasetDict):
                monkeypatch.setattr(datasets.DatasetDict, "config", object(), raising=False)
                info = datasets.DatasetInfo(builder_name="parquet")
                monkeypatch.setattr(datasets.DatasetDict, "info", info, raising=False)

        return replace

    @pytest.fixture
    def serve(self, load, tmp_path, monkeypatch):
        """Replace the hub by one with a data set of these text files; return its locations."""
        import huggingface_hub

        def serve(files, options=None, /, **card):
            def download(repository, path, repo_type, revision):
                assert (repository, repo_type, revision) == ("owner/name", "dataset", "0a1b")
                (tmp_path / path).write_bytes(files[path])
                return str(tmp_path / path)

            monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
            load(make_builder(files, **card))
            return find_locations("owner/name", options or ReadOptions()).by_split

        return serve

    def test_csv_is_read_as_csv_files_are(self, serve):
        """As pandas reads them, 007 is 7, and N/A and None are null."""
        found = serve(
            {
                "train-0.csv": b'text,label,id\nN/A,1,007\nNone,0,1e5\n"say \\"hi\\"",1,0x1\n',
                "train-1.csv": b"text,label,id\n\\N,0,1.0\n",
                "test.jsonl": b'{"text": "2019-01-01", "label": 1}\n',
            },
        )
        read = {
            split: [batch for place in places for batch in place.open().read(["text"])]
            for split, places in found.items()
        }
        assert read == {
            "train": [{"text": ["N/A", "None", 'say "hi"']}, {"text": [None]}],
            "test": [{"text": ["2019-01-01"]}],
        }
        [batch] = found["train"][0].open().read(["id"])
        assert batch == {"id": ["007", "1e5", "0x1"]}

    def test_rows_that_do_not_fit_the_header_are_refused(self, serve):
        [place] = serve({"train.csv": b"text,label\nGood, works,1\n"})["train"]
        with pytest.raises(UnreadableFileError, match="line 2: expected 2 values"):
            place.open()

    def test_what_the_card_states_about_csv_files_counts(self, serve):
        import datasets

        label = datasets.ClassLabel(names=["p", "n"])
        features = datasets.Features({"text": datasets.Value("string"), "label": label})
        card = {"sep": ";", "names": ["text", "label"], "encoding": "cp1252", "features": features}
        [place] = serve({"train.csv": "déjà;1\n".encode("cp1252")}, **card)["train"]
        source = place.open()
        assert list(source.read(["text", "label"])) == [{"text": ["déjà"], "label": ["1"]}]
        assert source.class_names == {"label": ("p", "n")}

    def test_given_options_win_over_the_card(self, serve):
        [place] = serve({"train.csv": b"text|label\na;b|1\n"}, ReadOptions(delimiter="|"), sep=";")["train"]
        assert place.open().columns == ("text", "label")

    @pytest.mark.parametrize(
        "card", [{"skiprows": 1}, {"escapechar": "!"}, {"encoding": "klingon"}, {"header": None}]
    )
    def test_a_card_that_cannot_be_followed_is_an_error(self, serve, card):
        with pytest.raises(UnreadableFileError, match=f"states {next(iter(card))} for its text"):
            serve({"train.csv": b"text,label\na,1\n"}, **card)

    def test_files_of_other_splits_are_not_fetched(self, serve, tmp_path):
        assert list(serve({"train.csv": b"text,label\na,1\n", "unsupervised.csv": b"text\na\n"})) == ["train"]
        assert not (tmp_path / "unsupervised.csv").exists()
        assert find_locations("owner/name", ReadOptions()).unused == {
            "owner/name, split unsupervised": "another split"
        }

    @pytest.mark.parametrize(
        ("error", "kind", "says"),
        [
            (
                OSError(errno.ENOSPC, "No space left on device"),
                ConfigError,
                "there is no room .* set HF_HOME",
            ),
            (make_http_error(401), MissingInputError, "does not let you read it .* `hf auth login`"),
            (make_http_error(403), MissingInputError, "does not let you read it .* `hf auth login`"),
            (make_http_error(404), MissingInputError, r"its file train\.csv .* failed .*; run again, or run"),
            (make_http_error(503), MissingInputError, "fetching it .* failed .*; check the network"),
            (make_timeout(), MissingInputError, "fetching it .* failed .*; check the network"),
            (ConnectionError(), MissingInputError, "fetching it .* failed .*; check the network"),
            (RuntimeError("xet"), MissingInputError, r"its file train\.csv .* failed \(RuntimeError\); run"),
        ],
    )
    def test_each_cause_of_a_failed_download_has_its_message(self, load, monkeypatch, error, kind, says):
        import huggingface_hub

        def fail(*_, **__):
            raise error

        load(make_builder(["train.csv"]))
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(kind, match=says):
            find_locations("owner/name", ReadOptions())

    def test_text_files_offline_need_a_folder(self, load, monkeypatch):
        import datasets

        load(ConnectionError("Couldn't reach 'owner/name' on the Hub (OfflineModeIsEnabled)"))
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        with pytest.raises(
            MissingInputError, match="HF_HUB_OFFLINE is set.* `hf download owner/name .*FOLDER"
        ):
            find_locations("owner/name:books", ReadOptions())

    def test_a_file_outside_the_hub_is_an_error(self, load):
        load(make_builder(["https://host/train.csv"]))
        with pytest.raises(MissingInputError, match="names a file outside the hub"):
            find_locations("owner/name", ReadOptions())

    @pytest.mark.parametrize("kind", ["csv", "json", "text"])
    def test_text_files_that_datasets_read_in_an_earlier_run_are_not_used(self, load, monkeypatch, kind):
        import datasets

        load(datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"], "label": [1]})}))
        assert find_locations("owner/name", ReadOptions()).by_split  # Parquet files
        monkeypatch.setattr(datasets.DatasetDict, "info", datasets.DatasetInfo(builder_name=kind))
        with pytest.raises(MissingInputError, match="as `datasets` read .* `hf download owner/name"):
            find_locations("owner/name", ReadOptions())

    def test_splits_of_other_names_are_named(self, load):
        import datasets

        rows = datasets.Dataset.from_dict({"text": ["a"], "label": [1]})
        load(datasets.DatasetDict({"train": rows, "dev": rows, "unsupervised": rows}))
        found = find_locations("owner/name", ReadOptions())
        assert list(found.by_split) == ["train", "validation"]
        assert found.unused == {"owner/name, split unsupervised": "another split"}

    def test_a_split_of_the_very_name_wins_and_two_others_are_ambiguous(self, load):
        import datasets

        rows = datasets.Dataset.from_dict({"text": ["a"], "label": [1]})
        load(datasets.DatasetDict({"train_small": rows, "train": rows}))
        assert find_locations("owner/name", ReadOptions()).by_split["train"][0].name.endswith("split train")
        load(datasets.DatasetDict({"train_sft": rows, "train_gen": rows}))
        with pytest.raises(AmbiguousInputError, match="the splits train_sft, train_gen.* can be 'train'"):
            find_locations("owner/name", ReadOptions())

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (RuntimeError("Dataset scripts are no longer supported"), "loading script"),
            (ValueError("Config name is missing"), "owner/name:NAME"),
            (OSError(), "loading it from the hub failed"),
            (make_timeout(), "fetching it from the hub failed .*; check the network"),
        ],
    )
    def test_each_cause_has_its_message(self, load, error, says):
        load(error)
        with pytest.raises(MissingInputError, match=says):
            find_locations("owner/name", ReadOptions())

    def test_a_full_disk_is_named_also_while_tables_are_written(self, load):
        from datasets.exceptions import DatasetGenerationError

        error = DatasetGenerationError("An error occurred while generating the dataset")
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
        load(error)
        with pytest.raises(ConfigError, match="no room for its files"):
            find_locations("owner/name", ReadOptions())

    def test_an_error_while_tables_are_fetched_is_no_loading_script(self, load, monkeypatch):
        import datasets

        def fail(*_, **__):
            raise RuntimeError("xet")

        load(datasets.DatasetDict())
        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(MissingInputError, match=r"loading it from the hub failed \(RuntimeError\)"):
            find_locations("owner/name", ReadOptions())

    def test_files_that_disagree(self, load):
        from datasets.exceptions import DatasetGenerationError

        load(DatasetGenerationError("columns"))
        with pytest.raises(UnreadableFileError, match="differ in their columns"):
            find_locations("owner/name", ReadOptions())

    def test_a_hub_that_does_not_answer_is_named_with_the_way_out(self, monkeypatch):
        import datasets

        from sentiment.training.data import hub

        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "is_hub_reachable", lambda: False)
        with pytest.raises(MissingInputError, match="the hub does not answer.*--dataset_name sample"):
            find_locations("fancyzhx/amazon_polarity", ReadOptions())
