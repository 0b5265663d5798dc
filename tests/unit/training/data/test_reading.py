import pandas as pd
import pytest

from sentiment.config import FinetuneConfig
from sentiment.errors import (
    AmbiguousInputError,
    ConfigError,
    EmptyInputError,
    MissingInputError,
    SchemaMismatchError,
    UnreadableFileError,
    UnusableLabelsError,
)
from sentiment.training.data.reading import load_labelled_reviews
from tests.factories import make_reviews


def count_all(counts):
    return (
        counts.used_rows
        + counts.dropped_text_rows
        + counts.dropped_label_rows
        + counts.left_out_rows
        + counts.unlabelled_split_rows
        + counts.conflicting_rows
        + counts.leaked_rows
        + counts.near_rows
        + counts.not_sampled_rows
    )


def load(name, **options):
    return load_labelled_reviews(FinetuneConfig(dataset_name=str(name), **options))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_file_of_each_kind_gives_the_same_splits(tmp_path, suffix):
    path = tmp_path / f"reviews.{suffix}"
    reviews = make_reviews(200)
    {
        "parquet": lambda: reviews.to_parquet(path),
        "csv": lambda: reviews.to_csv(path, index=False),
        "jsonl": lambda: reviews.to_json(path, orient="records", lines=True),
    }[suffix]()
    reviews.to_parquet(tmp_path / "same.parquet")
    assert load(path).digest == load(tmp_path / "same.parquet").digest


def test_files_that_name_no_split_are_all_train(tmp_path):
    make_reviews(100).iloc[:50].to_parquet(tmp_path / "a.parquet")
    make_reviews(100).iloc[50:].to_parquet(tmp_path / "b.parquet")
    report = load(tmp_path).report
    assert report.read_rows == 100
    counts = report.counts
    assert (counts.train_rows, counts.validation_rows, counts.test_rows) == (82, 8, 10)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_an_empty_file_of_spark_is_noted(tmp_path, suffix):
    make_reviews(100).to_parquet(tmp_path / "part-1.parquet")
    empty = tmp_path / f"part-0.{suffix}"
    make_reviews(1).iloc[:0].to_parquet(empty) if suffix == "parquet" else empty.write_bytes(b"")
    files = load(tmp_path).report.files
    assert {file.name: (file.rows, file.notes) for file in files} == {
        str(tmp_path / "part-1.parquet"): (100, ()),
        str(empty): (0, ("has no rows",)),
    }


def test_a_split_of_only_empty_files_is_an_error(tmp_path):
    make_reviews(100).to_parquet(tmp_path / "train.parquet")
    make_reviews(1).iloc[:0].to_parquet(tmp_path / "test.parquet")
    with pytest.raises(EmptyInputError, match=r"test\.parquet: has no rows"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["split", "fold", "set", "is_test", "dataset_split"])
def test_a_column_of_splits_is_noted(write_parquet, name):
    report = load(write_parquet(make_reviews(100, **{name: ["train", "test"] * 50}))).report
    assert report.files[0].notes == (f"column '{name}' is not used: names of files decide the splits",)


@pytest.mark.parametrize(
    ("values", "n_notes"), [(["train", "Test"], 1), (["phone", "test"], 0), ([None, None], 0)]
)
def test_a_column_is_one_of_splits_by_its_values(write_parquet, values, n_notes):
    report = load(write_parquet(make_reviews(100, type=values * 50))).report
    assert len(report.files[0].notes) == n_notes


def test_a_column_of_splits_that_has_the_labels_is_used(write_parquet):
    reviews = make_reviews(100).rename(columns={"label": "test_label"})
    assert load(write_parquet(reviews), label_col="test_label").report.files[0].notes == ()


@pytest.mark.parametrize(
    "form",
    [
        "b'{}'",
        'b"{}"',
        "'{}'",
        '"{}"',
        "['{}', 'it']",
        "{{'en': '{}'}}",
        '{{"en": "{}"}}',
        "Row(text='{}')",
        "tf.Tensor(b'{}', shape=(), dtype=string)",
        "<tf.Tensor: shape=(), dtype=string, numpy=b'{}'>",
    ],
)
def test_texts_that_are_printed_values_are_refused(write_parquet, form):
    """A model would learn the signs around them; `tfds.as_dataframe` gives bytes, which `to_csv` prints."""
    reviews = make_reviews(60)
    path = write_parquet(reviews.assign(text=[form.format(text) for text in reviews["text"]]))
    with pytest.raises(SchemaMismatchError, match="all texts of column 'text' are printed values"):
        load(path)


def test_escapes_that_are_not_undone_are_a_warning(tmp_path):
    reviews = make_reviews(100)
    reviews.loc[:2, "text"] += " \\n and \\n"
    reviews.assign(file="C:\\new").to_csv(tmp_path / "a.csv", index=False)
    reviews.to_parquet(tmp_path / "a.parquet")
    (warning,) = load(tmp_path / "a.csv").report.counts.warnings
    assert warning.startswith(f"{tmp_path}/a.csv: has values with what may be escapes")
    assert ": 3 with \\n, \\r or \\t as two characters; if" in warning
    assert load(tmp_path / "a.csv").report.counts.warnings == [warning]  # from the cache
    assert load(tmp_path / "a.parquet").report.counts.warnings == []


def test_some_texts_in_quotation_marks_are_texts(write_parquet):
    reviews = make_reviews(60)
    reviews.loc[:50, "text"] = "'" + reviews["text"] + "'"
    assert load(write_parquet(reviews)).report.counts.dropped_text_rows == 0


def test_labels_in_names_of_folders_are_named(tmp_path):
    for label, rows in make_reviews(60).groupby("label"):
        (tmp_path / f"label={label}").mkdir()
        rows[["text"]].to_parquet(tmp_path / f"label={label}" / "part-0.parquet")
    with pytest.raises(SchemaMismatchError, match="names of folders such as label=1 are not read"):
        load(tmp_path)


def test_an_export_of_prodigy_is_refused(write_parquet):
    """Its label is wrong where the answer is "reject"."""
    path = write_parquet(make_reviews(60, answer=["accept", "reject"] * 30, _task_hash=1))
    with pytest.raises(AmbiguousInputError, match="Prodigy.* answer is 'accept'; keep these rows"):
        load(path)


def test_every_row_that_was_read_is_accounted_for(write_parquet):
    reviews = make_reviews(100, label=[None, 0, 1, 0, 1] * 20)
    reviews.loc[[1, 2], "text"] = [None, "  "]
    report = load(write_parquet(reviews), max_train_samples=60).report
    counts = report.counts
    assert (counts.dropped_label_rows, counts.dropped_text_rows) == (20, 2)
    assert counts.train_rows == 60
    assert counts.not_sampled_rows > 0
    assert report.read_rows == 100 == count_all(counts)


def test_columns_are_joined_without_their_nulls(write_parquet):
    reviews = make_reviews(60).assign(title=lambda frame: frame["review_id"])
    reviews.loc[reviews.index % 3 == 0, "title"] = None
    splits = load(write_parquet(reviews), text_col="title,text").splits
    joined = pd.concat([splits.load_train(), splits.validation, splits.test])["text"]
    assert joined.str.startswith("r").sum() == 40


def test_the_default_text_column_is_content_or_text(write_parquet):
    reviews = make_reviews(60)
    assert load(write_parquet(reviews)).text_col == "text"
    assert load(write_parquet(reviews.rename(columns={"text": "content"}))).text_col == "content"


def test_two_usual_text_columns_are_ambiguous(write_parquet):
    path = write_parquet(make_reviews(60).assign(content="a page"))
    with pytest.raises(AmbiguousInputError, match="the columns content and text; choose with --text_col"):
        load(path)
    assert load(path, text_col="text").text_col == "text"


def test_a_text_column_without_texts_is_named(write_parquet):
    with pytest.raises(
        UnusableLabelsError, match=r"of 60 rows, 60 have no text .*\(60 not_text\), .* --text_col"
    ):
        load(write_parquet(make_reviews(60, text=range(60))))


def test_a_class_of_one_text_is_an_error(write_parquet):
    reviews = make_reviews(100, label=1)
    reviews.loc[:19, ["text", "label"]] = ["Bad", 0]
    with pytest.raises(UnusableLabelsError, match="too few different texts .* of negative to cut 'test'"):
        load(write_parquet(reviews))


def test_one_and_two_mean_negative_and_positive(write_parquet):
    reviews = make_reviews(60)
    relabelled = reviews.assign(label=reviews["label"] + 1)
    assert load(write_parquet(relabelled)).digest == load(write_parquet(reviews, "b.parquet")).digest


def test_an_unprintable_name_of_a_class_is_refused(write_parquet):
    path = write_parquet(make_reviews(60).assign(label=["good", "ba\x07d"] * 30))
    with pytest.raises(UnusableLabelsError, match="a class has an unprintable name.*--label_map"):
        load(path, label_scheme="names")


def test_a_sample_of_the_training_rows_is_taken(write_parquet):
    assert load(write_parquet(make_reviews(400)), max_train_samples=50).report.counts.train_rows == 50


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda folder: folder / "missing.parquet", MissingInputError, "no such file"),
        (lambda folder: folder, MissingInputError, "expected a Parquet, CSV"),
        (lambda folder: _write(folder / "a.parquet", b"text"), UnreadableFileError, "cannot be read"),
        (lambda folder: _write(folder / "a.csv", b"text,label\n"), EmptyInputError, "no rows"),
        (lambda folder: _write(folder / "a.xlsx", b"x"), UnreadableFileError, "does not end as"),
        (lambda folder: _write(folder / "a.csv", b"body,label\na,1\n"), SchemaMismatchError, "--text_col"),
        (lambda folder: _write(folder / "a.csv", b"text,y\na,1\n"), SchemaMismatchError, "no column label"),
        (lambda folder: _write(folder / "a.csv", b"text,label\na,1\nb,1\n"), UnusableLabelsError, "0 neg"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_a_clear_error(tmp_path, make, error, says):
    with pytest.raises(error, match=says):
        load(make(tmp_path))


def _write(path, content):
    path.write_bytes(content)
    return path


def test_class_names_decide_and_not_their_numbers(tmp_path):
    import datasets

    reviews = make_reviews(200)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["positive", "negative"])}
    )
    data = {"text": [*reviews["text"], "unlabelled"], "label": [*(1 - reviews["label"]), -1]}
    datasets.Dataset.from_dict(data, features=features).to_parquet(str(tmp_path / "a.parquet"))
    reviews.to_parquet(tmp_path / "b.parquet")
    found, expected = load(tmp_path / "a.parquet"), load(tmp_path / "b.parquet")
    assert found.digest == expected.digest
    assert found.report.counts.dropped_label_rows == 1


def test_class_names_of_one_file_hold_for_files_without(tmp_path):
    import datasets

    reviews = make_reviews(200)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["positive", "negative"])}
    )
    train = {"text": reviews["text"][:160], "label": 1 - reviews["label"][:160]}
    datasets.Dataset.from_dict(train, features=features).to_parquet(str(tmp_path / "train.parquet"))
    reviews[160:].assign(label=1 - reviews["label"]).to_csv(tmp_path / "test.csv", index=False)
    test = load(tmp_path).splits.test
    assert (test["label"] == test["text"].str.split().str[-1].astype(int) % 2).all()


def test_class_names_in_two_orders_are_ambiguous_for_files_without(tmp_path):
    import datasets

    for split, names in (("validation", ["negative", "positive"]), ("test", ["positive", "negative"])):
        label = datasets.ClassLabel(names=names)
        features = datasets.Features({"text": datasets.Value("string"), "label": label})
        rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
        rows.to_parquet(str(tmp_path / f"{split}.parquet"))
    make_reviews(200).to_csv(tmp_path / "train.csv", index=False)
    says = (
        r"train\.csv: does not name the classes of column 'label', .*"
        r"validation\.parquet: negative, positive; .*test\.parquet: positive, negative\)"
    )
    with pytest.raises(AmbiguousInputError, match=says):
        load(tmp_path)


def test_a_release_with_a_label_column_is_labelled_by_it(write_parquet):
    reviews = make_reviews(100, parent_asin="B0", title="A title", rating=5)
    report = load(write_parquet(reviews)).report
    assert (report.text_col, report.label_col) == ("title,text", "label")


@pytest.mark.parametrize("value", [b"Great", ["Great", "works"], {"en": "Great"}])
def test_bytes_and_containers_are_not_joined_as_text(write_parquet, value):
    reviews = make_reviews(100, title=[value] + [None] * 99)
    assert load(write_parquet(reviews), text_col="title,text").report.counts.dropped_text_rows == 1


def test_a_column_of_the_samples_group_name_means_nothing_in_a_file(write_parquet):
    reviews = make_reviews(100).assign(review=None)
    assert load(write_parquet(reviews)).report.counts.train_rows == 82


def test_names_of_columns_that_may_be_a_review_are_not_quoted(tmp_path):
    with pytest.raises(SchemaMismatchError, match="1 that do not look like column names") as caught:
        load(_write(tmp_path / "a.csv", b"2,I hate this secret thing\n1,b\n"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "says"), [(" , ", "at least one column"), ("text,text", "each column once")]
)
def test_text_columns_that_mean_nothing_are_a_config_error(write_parquet, columns, says):
    with pytest.raises(ConfigError, match=says):
        load(write_parquet(make_reviews(100)), text_col=columns)


def test_a_text_that_is_no_utf8_is_an_unreadable_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"text": text, "label": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableFileError, match="cannot be read as Parquet"):
        load(tmp_path / "a.parquet")


def test_a_sample_too_small_for_both_classes_is_an_error(write_parquet):
    reviews = make_reviews(2000, label=[0] * 15 + [1] * 1985)
    with pytest.raises(UnusableLabelsError, match="'train' has 0 negative"):
        load(write_parquet(reviews), max_train_samples=20)


CARD = """---
configs:
- config_name: books
  default: true
  data_files: {{train: "books.*"}}
- config_name: toys
  data_files: {{train: "toys.*"}}
dataset_info:
- config_name: books
  features: [{{name: label, dtype: {{class_label: {{names: {{'0': {first}, '1': {second}}}}}}}}}]
- config_name: toys
  features: [{{name: label, dtype: {{class_label: {{names: {{'0': negative, '1': positive}}}}}}}}]
---
"""


class TestClassNamesOfACard:
    """A card is the README.md of a hub data set; it decides which class a number means."""

    def write(self, folder, first, second):
        (folder / "README.md").write_text(CARD.format(first=first, second=second))

    def read(self, name):
        reviews = load(name)
        rows = pd.concat([reviews.splits.load_train(), reviews.splits.validation, reviews.splits.test])
        # The last number of a text of `make_reviews` is odd if its label is 1.
        is_one = rows["text"].str.split().str[-1].astype(int) % 2 == 1
        return {
            int(is_one): reviews.label_names[label]
            for is_one, label in zip(is_one, rows["label"], strict=True)
        }

    @pytest.mark.parametrize("suffix", ["csv", "jsonl"])
    @pytest.mark.parametrize(("first", "second"), [("positive", "negative"), ("yes", "no")])
    def test_the_names_of_the_default_configuration_count_in_text_formats_too(
        self, tmp_path, suffix, first, second
    ):
        self.write(tmp_path, first, second)
        for name in ("books", "toys"):
            path = tmp_path / f"{name}.{suffix}"
            if suffix == "csv":
                make_reviews(100).to_csv(path, index=False)
            else:
                make_reviews(100).to_json(path, orient="records", lines=True)
        assert self.read(tmp_path) == self.read(f"{tmp_path}:books") == {0: "positive", 1: "negative"}
        assert self.read(f"{tmp_path}:toys") == {0: "negative", 1: "positive"}

    def test_other_names_are_not_taken_from_the_cache(self, tmp_path):
        make_reviews(100).to_csv(tmp_path / "books.csv", index=False)
        self.write(tmp_path, "positive", "negative")
        assert self.read(tmp_path) == {0: "positive", 1: "negative"}
        self.write(tmp_path, "negative", "positive")
        assert self.read(tmp_path) == {0: "negative", 1: "positive"}

    @pytest.mark.parametrize("label", [[0, 1], [1, 2]])
    def test_a_text_is_no_class_number_if_names_are_numbers(self, tmp_path, label):
        self.write(tmp_path, "'1'", "'2'")
        make_reviews(100, label=label * 50).to_csv(tmp_path / "books.csv", index=False)
        assert self.read(tmp_path) == {0: "negative", 1: "positive"}

    def test_a_name_is_no_number_and_a_number_without_a_name_is_refused(self, tmp_path):
        self.write(tmp_path, "positive", "negative")
        names = ["negative", "positive"] * 50
        make_reviews(100, label=names).to_csv(tmp_path / "books.csv", index=False)
        assert self.read(tmp_path) == {0: "negative", 1: "positive"}
        make_reviews(100, label=[1, 2] * 50).to_csv(tmp_path / "books.csv", index=False)
        with pytest.raises(UnusableLabelsError, match="from 0 to 1.* found 2"):
            load(tmp_path)


def test_a_card_that_was_mended_counts_in_the_next_run(tmp_path):
    """Earlier, the rows of the first run were found in the cache."""
    reviews = make_reviews(100)
    reviews["other"] = [f"Not the review {i}" for i in range(100)]
    reviews[["text", "other", "label"]].to_csv(tmp_path / "train.csv", index=False, header=False)
    for names in ("[other, text, label]", "[text, other, label]"):
        card = f"---\nconfigs:\n- {{data_files: train.csv, column_names: {names}}}\n---\n"
        (tmp_path / "README.md").write_text(card)
        texts = set(load(tmp_path).splits.load_train()["text"])
        assert texts <= set(reviews["other" if names.startswith("[other") else "text"])
