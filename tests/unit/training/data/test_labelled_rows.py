import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.config import FinetuneConfig
from sentiment.errors import (
    ConfigError,
    InputError,
    MissingInputError,
    SchemaMismatchError,
    UnusableLabelsError,
)
from sentiment.training.data.labelled_rows import number_rows, read_labelled_rows, take_sample

THREE = ("bad", "fair", "good")


@pytest.fixture
def read(write_parquet):
    """Write rows to a file and read them as a test set is read."""

    def read_rows(label, usual_text_col=None, **columns):
        rows = {"text": [f"t{i}" for i in range(len(label))], "label": label, **columns}
        return read_labelled_rows(FinetuneConfig(dataset_name=write_parquet(rows)), usual_text_col)

    return read_rows


def test_labels_of_the_model_are_taken_by_name_in_its_order(read):
    found = number_rows(read(["good", "Bad ", "fair", None]), THREE)
    assert found.truth.tolist() == [2, 0, 1]
    assert found.texts == ["t0", "t1", "t2"]
    assert found.unused == {"without label": 1, "left out by the label scheme": 0}


@pytest.mark.parametrize(
    "labels", [("1", "2", "3", "4", "5"), ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")]
)
def test_stars_are_understood_as_in_fine_tuning(read, labels):
    rows = (
        read([5, 1, 2, 3, 4])
        if labels[0] == "1"
        else read(["5 stars", "1 star", "2 stars", "3 stars", "4 stars"])
    )
    assert number_rows(rows, labels).truth.tolist() == [4, 0, 1, 2, 3]


def test_two_classes_are_understood_as_in_fine_tuning(read):
    assert number_rows(read([0, 1, 1]), ("negative", "positive")).truth.tolist() == [0, 1, 1]
    assert number_rows(read([1, 3, 5]), ("negative", "positive"), "polarity").unused == {
        "without label": 0,
        "left out by the label scheme": 1,
    }


def test_a_map_names_the_labels_of_the_model(read):
    found = number_rows(read([0, 1, 2]), THREE, label_map="0=bad;1=fair;2=good")
    assert found.truth.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ([None, None], "has no label"),
        (["great", "awful"], r"label_scheme names .* no labels of the model \(bad, fair, good\)"),
        ([0, 1], r"reviews.parquet: .* has the values 0, 1, which are no labels"),
        (["good", "bad"], "no review of fair"),
    ],
)
def test_labels_that_the_model_does_not_know_are_an_error(read, label, says):
    with pytest.raises(UnusableLabelsError, match=says):
        number_rows(read(label), THREE)


def test_details_are_the_columns_that_slices_know(read):
    rows = read(["bad", "fair", "good"], Category=["a", "b", "c"], secret=[1, 2, 3], stars=[1.0, 2.0, None])
    assert list(rows.details) == ["category", "stars"]
    assert rows.details["stars"].tolist() == ["1", "2", "(none)"]


def test_a_sample_is_stratified_and_counts_what_it_leaves_out(read):
    rows = number_rows(read([*THREE] * 4), THREE)
    kept = take_sample(rows, 6, 0)
    assert len(kept.texts) == len(kept.details) == 6
    assert sorted(kept.truth.tolist()) == [0, 0, 1, 1, 2, 2]
    assert kept.unused["not in the sample"] == 6
    with pytest.raises(ConfigError, match="max_test_samples: "):
        take_sample(rows, 1, 0)


def test_the_text_columns_of_the_model_are_taken_if_the_file_has_them(read):
    assert read(["bad"], "title,text", title=["A"]).texts == ["A t0"]
    assert read(["bad"], "headline,text").texts == ["t0"]


def test_a_folder_gives_its_test_split(tmp_path):
    for name in ("train", "test"):
        pd.DataFrame({"text": [name], "label": ["bad"]}).to_parquet(tmp_path / f"{name}.parquet")
    assert read_labelled_rows(FinetuneConfig(dataset_name=str(tmp_path))).texts == ["test"]
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(MissingInputError, match=r"has no split 'test'; found \['train'\]"):
        read_labelled_rows(FinetuneConfig(dataset_name=str(tmp_path)))


def test_a_folder_with_only_a_test_split_is_read(tmp_path):
    pd.DataFrame({"text": ["a"], "label": ["bad"]}).to_parquet(tmp_path / "test.parquet")
    assert read_labelled_rows(FinetuneConfig(dataset_name=str(tmp_path))).texts == ["a"]


def test_files_that_are_not_judged_on_are_listed(tmp_path):
    rows = pd.DataFrame({"text": ["a", "b"], "label": ["bad", "good"]})
    for name in ("train", "test", "test_2"):
        (rows[:0] if name == "test_2" else rows).to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "test_3.csv").touch()
    (tmp_path / "notes.md").touch()
    found = number_rows(read_labelled_rows(FinetuneConfig(dataset_name=str(tmp_path))), ("bad", "good"))
    assert found.source["files"] == (str(tmp_path / "test.csv"),)
    assert found.source["unused_files"] == {
        "notes.md": "not a data file",
        str(tmp_path / "train.csv"): "another split",
        str(tmp_path / "test_2.csv"): "has no rows",
        str(tmp_path / "test_3.csv"): "has no rows",
    }


def test_a_file_has_the_class_names_of_the_card_next_to_it(tmp_path):
    label = "{name: label, dtype: {class_label: {names: [good, bad]}}}"
    (tmp_path / "README.md").write_text(f"---\ndataset_info: {{features: [{label}]}}\n---\n")
    (tmp_path / "test.csv").write_text("text,label\na,0\nb,1\n")
    for name in ("test.csv", "."):
        rows = read_labelled_rows(FinetuneConfig(dataset_name=str(tmp_path / name)))
        assert rows.values == ["good", "bad"]
        assert rows.notes == ("test.csv: class names of label: as in README.md",)


def test_a_text_column_that_only_later_files_have_is_not_passed_over(tmp_path):
    rows = pd.DataFrame({"overall": [1, 5], "reviewText": ["bad", "good"]})
    rows.to_parquet(tmp_path / "a.parquet")
    rows.assign(summary="so").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(
        InputError, match=r"b\.parquet: has .* summary, reviewText, overall, and .*a\.parquet in"
    ):
        read_labelled_rows(FinetuneConfig(dataset_name=str(tmp_path)))


def test_the_path_of_a_folder_names_no_split(tmp_path):
    folder = tmp_path / "test data" / "reviews"
    folder.mkdir(parents=True)
    pd.DataFrame({"text": ["a"], "label": ["bad"]}).to_parquet(folder / "a.parquet")
    assert read_labelled_rows(FinetuneConfig(dataset_name=str(folder))).texts == ["a"]


@pytest.mark.parametrize("names", [["text", "label", "label"], ["text", "text", "label"]])
def test_two_columns_of_one_name_are_refused(tmp_path, names):
    pq.write_table(pa.table([["a"], ["bad"], ["good"]], names=names), tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatchError, match=f"several columns {names[1]}; rename all but one"):
        read_labelled_rows(FinetuneConfig(dataset_name=str(tmp_path / "a.parquet")))


def test_a_file_without_rows_is_an_error(read):
    with pytest.raises(InputError, match="has no rows"):
        read([])


def test_an_option_that_the_test_reviews_cannot_follow_is_an_error(tmp_path):
    """Also if the files of another split, which are not read, could."""
    pd.DataFrame({"text": ["fine"], "label": [1]}).to_parquet(tmp_path / "test.parquet")
    (tmp_path / "train.csv").write_text("text;label\nfine;1\n")
    config = FinetuneConfig(dataset_name=str(tmp_path), delimiter=";")
    with pytest.raises(ConfigError, match=r"delimiter: only for CSV files, found .*test\.parquet; leave"):
        read_labelled_rows(config)
