"""Test that the test reviews keep the columns that the report cuts slices by."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.config import FinetuneConfig
from sentiment.training.data.reading import load_labelled_reviews
from tests.factories import make_reviews

DAYS = pd.date_range("2024-01-15", periods=3, freq="31D")


def load(name, **options):
    return load_labelled_reviews(FinetuneConfig(dataset_name=str(name), **options))


def make_detailed(n):
    """Return reviews whose details follow from the number at the end of the text."""
    reviews = make_reviews(n)
    i = reviews.index
    return reviews.assign(
        Product_Category=[None if k % 4 == 0 else f"c{k % 4}" for k in i],
        rating=i % 5 + 1,
        review_date=DAYS[i % 3],
    )


def expect(frame):
    """Return the details that the texts of a frame should have."""
    i = frame["text"].str.split().str[-1].astype(int)
    return pd.DataFrame(
        {
            "category": ["(none)" if k % 4 == 0 else f"c{k % 4}" for k in i],
            "stars": (i % 5 + 1).astype(str),
            "date": DAYS[i % 3].strftime("%Y-%m-%d"),
        }
    )


def show(frame):
    days = frame["date"].dt.strftime("%Y-%m-%d")
    return frame[["category", "stars"]].assign(date=days)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_test_split_that_is_cut_keeps_its_details(tmp_path, suffix):
    path, reviews = tmp_path / f"reviews.{suffix}", make_detailed(300)
    {
        "parquet": lambda: reviews.to_parquet(path),
        "csv": lambda: reviews.to_csv(path, index=False),
        "jsonl": lambda: reviews.to_json(path, orient="records", lines=True),
    }[suffix]()
    splits = load(path).splits
    assert list(splits.test) == ["text", "category", "stars", "date", "label"]
    assert show(splits.test).equals(expect(splits.test))


def test_details_are_not_in_the_training_rows_and_change_no_choice(tmp_path):
    make_detailed(300).to_parquet(tmp_path / "with.parquet")
    make_reviews(300).to_parquet(tmp_path / "without.parquet")
    found, bare = load(tmp_path / "with.parquet"), load(tmp_path / "without.parquet")
    assert found.splits.train.column_names == list(found.splits.validation) == ["text", "label"]
    assert list(bare.splits.test) == ["text", "label"]
    assert found.digest == bare.digest
    assert found.splits.test[["text", "label"]].equals(bare.splits.test)


def test_files_and_splits_may_lack_columns_and_have_other_types(tmp_path):
    make_reviews(200).to_parquet(tmp_path / "train.parquet")
    test = make_detailed(240)[200:]
    test[:20].to_parquet(tmp_path / "test1.parquet")
    test[20:30].assign(rating=lambda rows: rows["rating"].astype(float)).drop(
        columns="Product_Category"
    ).to_csv(tmp_path / "test2.csv", index=False)
    test[30:].rename(columns={"rating": "stars", "review_date": "timestamp"}).to_json(
        tmp_path / "test3.jsonl", orient="records", lines=True
    )
    found = load(tmp_path).splits.test
    expected = expect(found)
    expected.loc[20:29, "category"] = None
    assert show(found).equals(expected)


def test_details_that_only_training_rows_have_give_no_slice(tmp_path):
    make_detailed(200).to_parquet(tmp_path / "train.parquet")
    make_reviews(240)[200:].to_parquet(tmp_path / "test.parquet")
    assert load(tmp_path).splits.test["stars"].isna().all()


def test_labels_and_titles_may_be_details_too(tmp_path):
    stars = [1, 2, 4, 5]
    reviews = make_reviews(300).rename(columns={"label": "rating"})
    reviews["rating"] = [stars[i % 2 * 2 + i // 2 % 2] for i in reviews.index]
    reviews["title"] = [None, "Zanzibar"] * 150
    reviews.to_parquet(tmp_path / "a.parquet")
    options = {"text_col": "title,text", "label_col": "rating", "label_scheme": "polarity"}
    test = load(tmp_path / "a.parquet", **options).splits.test
    assert set(zip(test["stars"], test["label"], strict=True)) == {("1", 0), ("2", 0), ("4", 1), ("5", 1)}
    assert (test["title"].notna() == test["text"].str.startswith("Zanzibar")).all()
    assert set(test["title"].dropna()) == {"yes"}


def test_dates_that_python_cannot_hold_are_null(tmp_path):
    """A table from Spark may have them; without slices nothing read the column."""
    year_12000 = 316_550_000_000 * 1_000_000
    dates = pa.array([1_700_000_000_000_000, year_12000] * 100, pa.timestamp("us"))
    table = pa.Table.from_pandas(make_reviews(200), preserve_index=False)
    pq.write_table(table.append_column("date", dates), tmp_path / "a.parquet")
    test = load(tmp_path / "a.parquet").splits.test
    assert test["date"].isna().tolist() == (test["label"] == 1).tolist()


def test_columns_of_lists_and_structs_are_no_details(tmp_path):
    """Their times may be ones that Python cannot hold."""
    late, unknown = pa.timestamp("s"), pa.timestamp("s", "Mars/Base")
    columns = {
        "category": pa.array([[0]] * 200, pa.list_(unknown)),
        "date": pa.array([{"at": 2**60}] * 200, pa.struct({"at": late})),
        "data": pa.array([[2**60]] * 200, pa.list_(late)),  # might be names of splits
        "stars": pa.array([5] * 200),
    }
    table = pa.Table.from_pandas(make_reviews(200), preserve_index=False)
    for name, values in columns.items():
        table = table.append_column(name, values)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    assert list(load(tmp_path / "a.arrow").splits.test) == ["text", "stars", "label"]


@pytest.mark.slow
def test_many_processes_find_the_details_that_one_does(tmp_path, monkeypatch):
    make_detailed(300).to_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr("sentiment.training.data.preparation._PARALLEL_BYTES", 0)
    test = load(tmp_path / "a.parquet").splits.test
    assert show(test).equals(expect(test))


def test_an_entry_of_another_rule_for_details_is_not_read(tmp_path, monkeypatch):
    make_detailed(100).to_parquet(tmp_path / "a.parquet")
    load(tmp_path / "a.parquet")
    (tmp_path / "rule.py").write_text("")
    monkeypatch.setattr("sentiment.evaluation.details.__file__", str(tmp_path / "rule.py"))
    monkeypatch.setattr("sentiment.training.data.preparation._write", None)
    with pytest.raises(TypeError):
        load(tmp_path / "a.parquet")
