"""Test which rows are used, from files to splits, on small files whose every row is known."""

import json
import os
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.config import FinetuneConfig
from sentiment.errors import SchemaMismatchError, UnusableLabelsError
from sentiment.training.data import cache, preparation, prepared_rows
from sentiment.training.data.description import N_BANDS, are_near, describe_texts
from sentiment.training.data.prepared_rows import PreparedRows
from sentiment.training.data.reading import load_labelled_reviews
from sentiment.training.data.selection import _find_conflicts
from sentiment.training.data.splits import Candidates

WORDS = [
    "thing",
    "box",
    "lid",
    "cable",
    "cup",
    "lamp",
    "pen",
    "bag",
    "hat",
    "shoe",
    "desk",
    "rug",
    "jar",
    "fan",
    "clock",
    "toy",
]


def make_texts(n, seed, words=12):
    """Return n texts of random words, far from each other."""
    random = np.random.default_rng(seed)
    return [" ".join(f"{w}{random.integers(99)}" for w in random.choice(WORDS, words)) for _ in range(n)]


def write(path, texts, labels):
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def load(path, **options):
    return load_labelled_reviews(FinetuneConfig(dataset_name=str(path), **options))


@pytest.fixture
def folder(tmp_path):
    """Give a folder with 80 training, 20 validation and 20 test rows."""
    for seed, (name, n) in enumerate((("train", 80), ("validation", 20), ("test", 20))):
        write(tmp_path / f"{name}.jsonl", make_texts(n, seed), [0, 1] * (n // 2))
    return tmp_path


def append(folder, split, text, label):
    with (folder / f"{split}.jsonl").open("a") as file:
        file.write(json.dumps({"text": text, "label": label}) + "\n")


def read_texts(folder, split):
    return [json.loads(line)["text"] for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def first_text(folder, split):
    return read_texts(folder, split)[0]


def test_clean_files_are_used_whole(folder):
    reviews = load(folder)
    counts = reviews.report.counts
    assert (counts.train_rows, counts.validation_rows, counts.test_rows) == (80, 20, 20)
    assert counts.warnings == []
    assert reviews.splits.train[0] == {"text": first_text(folder, "train"), "label": 0}


def test_a_test_text_in_other_case_and_punctuation_is_a_leak(folder):
    append(folder, "train", first_text(folder, "test").upper() + "!!", 0)
    assert load(folder).report.counts.leaked_rows == 1


def test_a_test_text_with_accents_of_two_characters_is_a_leak(folder):
    text = " ".join(["d\u00e9j\u00e0", "caf\u00e9", "tr\u00e8s"] * 4)
    append(folder, "test", text, 0)
    append(folder, "train", unicodedata.normalize("NFD", text), 0)
    assert load(folder).report.counts.leaked_rows == 1


def test_a_near_duplicate_of_a_test_text_is_not_trained_on(folder):
    text = " ".join(make_texts(1, 9, words=40))
    append(folder, "test", text, 0)
    append(folder, "train", text + " edited", 0)
    reviews = load(folder)
    assert reviews.report.counts.near_rows == 1
    assert not any(row.endswith("edited") for row in reviews.splits.train["text"])


def test_texts_from_a_template_are_kept_with_a_warning(tmp_path):
    text = "this text is from a template of many words and one number at its end which is {}"
    write(tmp_path / "a.jsonl", [text.format(i) for i in range(200)], [0, 1] * 100)
    counts = load(tmp_path / "a.jsonl").report.counts
    assert (counts.near_rows, counts.used_rows) == (0, 200)
    assert "near duplicates" in counts.warnings[0]


def test_rows_that_are_there_in_two_forms_give_a_warning(tmp_path):
    texts = make_texts(80, 0)
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", texts, [0, 1] * 40)
        texts = [f"{text}." for text in texts]
    counts = load(tmp_path).report.counts
    assert "100% of the different texts of split 'train' occur more than once" in counts.warnings[0]
    assert sum((counts.train_rows, counts.validation_rows, counts.test_rows)) == 160


def test_short_reviews_that_many_people_write_give_no_warning(tmp_path):
    """They may be most rows of each file, but are few of the different texts."""
    for seed, name in enumerate("ab"):
        long = make_texts(80, seed)
        write(
            tmp_path / f"{name}.jsonl", [*long, *["Good", "good!", "very nice"] * 40], [0, 1] * 40 + [1] * 120
        )
    assert load(tmp_path).report.counts.warnings == []


def test_the_label_of_most_rows_with_a_text_wins(folder):
    for label in (1, 1, 0):
        append(folder, "train", "twice good and once bad", label)
    for text, label in (("nobody knows", 1), (" nobody\tknows\n", 0)):
        append(folder, "train", text, label)
    counts = load(folder).report.counts
    assert (counts.conflicting_rows, counts.train_rows) == (3, 82)


@given(st.lists(st.tuples(st.integers(-3, 5), st.integers(0, 3))))
def test_a_row_conflicts_unless_its_label_has_more_rows_than_any_other(rows):
    count = Counter(rows)

    def has_most(text, label):
        return all(count[text, label] > count[text, other] for other in range(4) if other != label)

    texts, labels = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    assert _find_conflicts(texts, labels).tolist() == [not has_most(*row) for row in rows]


def test_a_split_without_labels_is_named_and_one_is_cut(folder):
    for label in (None, -1):
        write(folder / "test.jsonl", make_texts(20, 5), [label] * 20)
        counts = load(folder).report.counts
        assert counts.unlabelled_split_rows == 20
        assert counts.test_rows == 8
        assert "split 'test' has 20 rows and no labels" in counts.warnings[0]


def test_a_split_without_label_column_is_the_same(folder):
    (folder / "test.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in make_texts(20, 5))
    )
    report = load(folder).report
    assert report.counts.unlabelled_split_rows == 20
    assert [file.notes for file in report.files] == [(), (), ("has no column label",)]


def test_a_label_column_in_other_case_is_no_missing_column(folder):
    (folder / "test.jsonl").write_text('{"text": "a", "Label": 1}\n')
    with pytest.raises(SchemaMismatchError, match=r"test\.jsonl: has no column label, but one that differs"):
        load(folder)


def test_train_without_label_column_names_the_file(folder):
    (folder / "train2.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(SchemaMismatchError, match=r"train2\.jsonl: has no column label"):
        load(folder)


def test_a_column_of_many_values_has_no_labels(tmp_path):
    write(tmp_path / "a.jsonl", make_texts(1100, 1), [f"id{i}" for i in range(1100)])
    with pytest.raises(UnusableLabelsError, match="more than 1,000 distinct values"):
        load(tmp_path / "a.jsonl")


def test_values_that_a_scheme_leaves_out_are_counted(tmp_path):
    write(tmp_path / "a.jsonl", make_texts(200, 1), [1, 2, 3, 4, 5] * 40)
    report = load(tmp_path / "a.jsonl", label_scheme="polarity").report
    assert report.counts.left_out_rows == 40
    assert report.labels["3"] == "left out"


@pytest.mark.parametrize("label_map", ["0=positive;1=positive", "0=;1=", "0=good;1=Good"])
def test_fewer_than_two_classes_are_refused(folder, label_map):
    with pytest.raises(UnusableLabelsError, match="at least two classes"):
        load(folder, label_map=label_map)


def test_three_classes_are_read(tmp_path):
    write(tmp_path / "a.jsonl", make_texts(300, 1), ["negative", "neutral", "positive"] * 100)
    reviews = load(tmp_path / "a.jsonl", label_scheme="three_way")
    assert reviews.label_names == ("negative", "neutral", "positive")
    assert set(reviews.splits.train["label"]) == {0, 1, 2}


def test_a_small_sample_of_a_rare_class_is_refused_before_training(tmp_path):
    write(tmp_path / "a.jsonl", make_texts(1000, 1), ([0] + [1] * 19) * 50)
    with pytest.raises(UnusableLabelsError, match="'train' has 1 negative .* at least 10"):
        load(tmp_path / "a.jsonl", max_train_samples=20)


def test_another_script_in_the_test_set_is_a_warning(folder):
    write(folder / "train.jsonl", make_texts(200, 7), [0, 1] * 100)
    write(folder / "test.jsonl", [f"плохая вещь {text}" for text in make_texts(200, 8, 1)], [0, 1] * 100)
    assert any("not in Latin letters" in warning for warning in load(folder).report.counts.warnings)


@pytest.mark.parametrize("release", [("reviewText", "summary", "overall"), ("text", "title", "rating")])
def test_the_amazon_releases_are_known_by_their_columns(tmp_path, release):
    text, title, stars = release
    rows = [
        {text: body, title: "A title", stars: float(1 + i % 5), "parent_asin": "B0"}
        for i, body in enumerate(make_texts(200, 1))
    ]
    (tmp_path / "a.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reviews = load(tmp_path / "a.json", label_scheme="polarity")
    assert reviews.text_col == f"{title},{text}"
    assert reviews.report.label_col == stars
    assert reviews.splits.test["text"].str.startswith("A title ").all()


def test_a_text_column_that_only_later_files_have_is_not_passed_over(tmp_path):
    rows = [{"overall": 1 + 4 * (i % 2), "reviewText": text} for i, text in enumerate(make_texts(80, 0))]
    for name, more in (("a", {}), ("b", {"summary": "Great"})):
        part = [{**row, **more} for row in (rows[:40] if name == "a" else rows[40:])]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    with pytest.raises(
        SchemaMismatchError, match="b.jsonl: has .* summary, reviewText, overall, and .*a.jsonl"
    ):
        load(tmp_path, label_scheme="polarity")
    reviews = load(tmp_path, label_scheme="polarity", text_col="reviewText")
    assert reviews.report.read_rows == 80


def test_a_second_run_reads_no_file(folder, monkeypatch):
    first = load(folder)
    monkeypatch.setattr("sentiment.training.data.preparation._write", None)
    second = load(folder, seed=3)
    assert second.report.files == first.report.files
    append(folder, "train", "new content", 1)
    with pytest.raises(TypeError):
        load(folder)


@pytest.mark.parametrize("name", ["facts.json", "bands", "test.arrow"])
@pytest.mark.parametrize("damage", [os.remove, lambda path: os.truncate(path, 100)], ids=["gone", "cut"])
def test_a_damaged_entry_of_the_cache_is_written_again(folder, name, damage, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SENTIMENT_DATA_CACHE", str(tmp_path_factory.mktemp("cache")))
    first = load(folder)
    ((entry, _),) = cache.list_entries(cache.prepared_cache())
    damage(entry / name)
    assert load(folder).digest == first.digest


@pytest.mark.slow
def test_many_processes_describe_as_one_does(folder, monkeypatch):
    alone = load(folder)
    monkeypatch.setattr("sentiment.training.data.preparation._PARALLEL_BYTES", 0)
    assert load(folder, text_col="text").digest == alone.digest


@pytest.mark.parametrize(
    ("text", "other", "near"),
    [
        ("a b c d e f g h i j k l", "A b, c d e f g h i j k l!", True),
        (" ".join(map(str, range(40))), " ".join(map(str, range(41))), True),
        (" ".join(map(str, range(40))), " ".join(map(str, range(20))), False),
        ("good", "bad", False),
    ],
)
def test_near_means_most_runs_of_three_words_in_common(text, other, near):
    assert are_near(text, other) is near
    mine, theirs = describe_texts([text, other])["bands"]
    assert near <= any(a == b for a, b in zip(mine, theirs, strict=True))


def test_a_text_of_only_emoji_is_described_by_itself():
    described = describe_texts(["👍👍", "👎", None])
    assert described["words_digest"][0] != described["words_digest"][1]
    assert described["reason"] == [None, None, "null_text"]


def test_texts_and_bands_come_in_the_order_of_the_rows_asked_for(folder, monkeypatch, tmp_path_factory):
    """Rows are taken in parts, and mapped pages are released between them."""
    monkeypatch.setenv("SENTIMENT_DATA_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(prepared_rows, "_BLOCK_ROWS", 3)
    monkeypatch.setattr(prepared_rows, "_PART_BLOCKS", 2)
    load(folder)
    (prepared,) = [preparation._load(entry) for entry, _ in cache.list_entries(cache.prepared_cache())]
    table = PreparedRows(prepared)
    texts = [text for split in prepared.splits for text in read_texts(folder, split)]
    rows = np.random.default_rng(0).permutation(len(texts))
    assert table.take_texts(rows) == [texts[row] for row in rows]
    assert table.take_texts(rows[:0]) == []
    bands = [table.take_band(band, rows) for band in range(N_BANDS)]
    assert np.stack(bands, axis=1).tolist() == describe_texts([texts[row] for row in rows])["bands"]
    split = Candidates(rows[:100], np.arange(100), rows[:100])
    frame = table.load_frame(split)
    assert frame["text"].tolist() == table.make_dataset(split)["text"][:] == table.take_texts(rows[:100])
    assert frame["label"].tolist() == list(range(100))
    in_order = [list(range(20))[part] for part in table._cut(np.arange(20))]
    assert in_order == [list(range(start, min(start + 6, 20))) for start in range(0, 20, 6)]


def test_texts_that_differ_in_spaces_are_other_data_with_the_same_labels(tmp_path):
    texts = make_texts(100, 1)
    write(tmp_path / "a.jsonl", texts, [0, 1] * 50)
    write(tmp_path / "b.jsonl", [text.replace(" ", "  ") for text in texts], [0, 1] * 50)
    assert load(tmp_path / "a.jsonl").digest != load(tmp_path / "b.jsonl").digest
