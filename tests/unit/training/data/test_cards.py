import json
import os
from contextlib import nullcontext

import pytest

from sentiment.config import FinetuneConfig
from sentiment.errors import AmbiguousInputError, MissingInputError, UnreadableFileError
from sentiment.training.data.reading import choose_columns
from sentiment.training.data.source import ReadOptions
from sentiment.training.data.sources import find_locations
from tests.factories import place_files

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
        found, unused = place_files(tmp_path, *self.FILES)
        assert found == {"train": ["books/a1.csv", "books/a2.csv"], "test": ["books/b.csv"]}
        assert unused["toys/train.csv"] == "not in the configuration"

    def test_two_stars_mean_all_files_below(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- data_files: {train: 'tr/**', test: '**/b.csv'}\n---\n"
        )
        assert place_files(tmp_path, "tr/x/a.csv", "b.csv")[0] == {"train": ["tr/x/a.csv"], "test": ["b.csv"]}

    def test_a_pattern_without_a_file_is_an_error_and_not_a_missing_split(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD)
        with pytest.raises(MissingInputError, match=r"'books/b.csv' for the split 'test', but no data file"):
            place_files(tmp_path, "books/a1.csv")

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_file_in_two_splits_is_ambiguous(self, tmp_path, order):
        entries = ['  - split: train\n    path: "*.csv"\n', "  - split: test\n    path: test.csv\n"][::order]
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files:\n{''.join(entries)}---\n")
        with pytest.raises(AmbiguousInputError, match=r"README.md places test\.csv in two splits"):
            place_files(tmp_path, "a.csv", "test.csv")

    def test_a_split_of_the_very_name_wins(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- data_files: {train_small: a.csv, train: b.csv, test: c.csv}\n---\n"
        )
        (tmp_path / "a.csv").write_text("text,label\na,1\n")
        found, unused = place_files(tmp_path, "b.csv", "c.csv")
        assert found == {"train": ["b.csv"], "test": ["c.csv"]}
        assert unused == {"README.md": "the card, a description", "a.csv": "not in the configuration"}

    @pytest.mark.parametrize("entry", ["{split: train}", "{split: train, path: /abs/a.csv}", "3"])
    def test_data_files_that_cannot_be_understood(self, tmp_path, entry):
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files: [{entry}]\n---\n")
        with pytest.raises(UnreadableFileError, match=r"README\.md: its data_files cannot be understood"):
            place_files(tmp_path, "a.csv")

    def test_class_names_that_cannot_be_understood(self, tmp_path):
        (tmp_path / "README.md").write_text("---\ndataset_info: {features: [label]}\n---\n")
        with pytest.raises(
            UnreadableFileError, match=r"README\.md: its description of the data set cannot be"
        ):
            place_files(tmp_path, "a.csv")

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
            place_files(tmp_path, "a.csv")

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
            place_files(tmp_path, "a.csv")

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
            place_files(tmp_path, "a.csv")

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
        assert place_files(tmp_path, "a.parquet")[0] == {"train": ["a.parquet"]}

    def test_rows_that_a_card_leaves_out_are_an_error(self, tmp_path):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- {data_files: a.parquet, filters: [[[label, '==', 1]]]}\n---\n"
        )
        with pytest.raises(
            UnreadableFileError, match=r"README\.md, states filters for its files, which cannot"
        ):
            place_files(tmp_path, "a.parquet")

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
        assert place_files(tmp_path, "a.csv", "b.csv")[0] == {"train": ["a.csv"], "test": ["b.csv"]}

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_a_card_that_may_not_be_read_is_named(self, tmp_path):
        (tmp_path / "README.md").touch(mode=0)
        with pytest.raises(UnreadableFileError, match=r"README\.md: cannot be read \(Permission denied"):
            place_files(tmp_path, "a.csv")

    def test_a_byte_order_mark_does_not_hide_the_card(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD, encoding="utf-8-sig")
        assert place_files(tmp_path, *self.FILES)[0]["test"] == ["books/b.csv"]

    def test_another_configuration(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD)
        found, _ = place_files(tmp_path, *self.FILES, name=f"{tmp_path}:toys")
        assert found == {"train": ["toys/train.csv"], "validation": ["toys/dev.csv"]}

    def test_an_unknown_or_missing_choice_lists_the_configurations(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD.replace("  default: true\n", ""))
        for name in (None, f"{tmp_path}:games"):
            with pytest.raises(AmbiguousInputError, match="books, toys; choose with --dataset_name"):
                place_files(tmp_path, *self.FILES, name=name)

    def test_class_names_of_the_card_are_those_of_its_files(self, tmp_path):
        (tmp_path / "README.md").write_text(CARD)
        place_files(tmp_path, *self.FILES)
        location = find_locations(f"{tmp_path}:books", ReadOptions()).by_split["train"][0]
        assert location.open().class_names == {"label": ("positive", "negative")}
        location = find_locations(f"{tmp_path}:toys", ReadOptions()).by_split["train"][0]
        assert location.open().class_names == {}


class TestPlaceOfCard:
    """A card counts for a file or folder of the clone too, and not for a folder that the clone is in."""

    CARD = """---
configs: [{config_name: books, data_files: '*.csv'}, {config_name: toys, data_dir: toys}]
dataset_info:
- {config_name: books, features: [{name: label, dtype: {class_label: {names: [good, bad]}}}]}
- {config_name: toys, features: [{name: label, dtype: {class_label: {names: [%s]}}}]}
---
"""

    @pytest.fixture
    def read(self, tmp_path):
        """Write a card and files into a clone, and open the one file of a path."""
        clone = tmp_path / "clone"
        place_files(clone, "data/a.csv", "b.csv", "README.md")
        (clone / "link.csv").symlink_to(tmp_path / "clone" / "data" / "a.csv")

        def read(card, path):
            (clone / "README.md").write_text(card)
            [location] = find_locations(str(clone / path), ReadOptions()).by_split["train"]
            return location.open()

        return read

    @pytest.mark.parametrize(
        ("path", "place"),
        [
            *(("b.csv", "README.md"), ("link.csv", "README.md"), ("data/a.csv", "../README.md")),
            ("data", "../README.md"),
        ],
    )
    def test_a_file_or_folder_of_the_clone_has_its_class_names(self, read, path, place):
        source = read(self.CARD % "good, bad", path)
        assert source.class_names == {"label": ("good", "bad")}
        assert source.notes == (f"class names of label: as in {place}",)

    @pytest.mark.parametrize("names", ["bad, good", "good, fair, bad"])
    def test_names_that_differ_by_configuration_are_ambiguous_for_a_file(self, read, names):
        source = read(self.CARD % names, "b.csv")
        with pytest.raises(AmbiguousInputError, match="names the classes of column 'label' differently"):
            choose_columns(FinetuneConfig(), source)

    def test_a_configuration_without_names_is_ambiguous_for_a_file_too(self, read):
        source = read(
            "\n".join(line for line in (self.CARD % "").split("\n") if "e: toys, f" not in line), "b.csv"
        )
        with pytest.raises(AmbiguousInputError, match="names the classes of column 'label' differently"):
            choose_columns(FinetuneConfig(), source)

    def test_a_card_without_statements_does_not_hide_the_one_above(self, read, tmp_path):
        (tmp_path / "clone" / "data" / "README.md").write_text("---\nlicense: mit\n---\n")
        assert read(self.CARD % "good, bad", "data/a.csv").class_names == {"label": ("good", "bad")}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("README.md", CARD % "good, bad"),
            ("README.md", "---\nconfigs: [{data_files: train.csv}]\n---\n"),
            (
                "dataset_infos.json",
                '{"a": {"features": {"label": {"_type": "ClassLabel", "names": ["b", "a"]}}}}',
            ),
        ],
    )
    def test_a_folder_above_the_clone_is_ambiguous(self, tmp_path, name, content):
        snapshot = tmp_path / "snapshots" / "abc"
        place_files(tmp_path, "snapshots/abc/train.csv")
        (snapshot / name).write_text(content)
        with pytest.raises(
            AmbiguousInputError, match=rf": snapshots/abc: has a .*; pass {snapshot}, or move"
        ):
            place_files(tmp_path)

    @pytest.mark.parametrize("card", ["---\nlicense: mit\n---\n", "Train on this.", "---\nconfigs: 3\n---\n"])
    def test_a_card_below_that_states_nothing_does_not_matter(self, tmp_path, card):
        place_files(tmp_path, "a/train.csv", "b/test.csv")
        (tmp_path / "a" / "README.md").write_text(card)
        assert place_files(tmp_path)[0] == {"train": ["a/train.csv"], "test": ["b/test.csv"]}


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
        place_files(tmp_path, "b/train.csv", content="text,label\nfine,1\n")
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
