import pandas as pd
import pytest

from sentiment.errors import UnusableLabelsError
from sentiment.training.data.splits import Splits, cut_splits, sample_rows, without_leaks
from tests.factories import make_reviews

FRAMES = {"train": make_reviews(400), "validation": make_reviews(40), "test": make_reviews(60)}


@pytest.mark.parametrize("given", [("train",), ("train", "test"), ("train", "validation"), tuple(FRAMES)])
def test_missing_splits_are_cut_from_train_in_every_combination(given):
    splits = cut_splits({name: FRAMES[name] for name in given}, seed=1)
    for name in ("validation", "test"):
        found = getattr(splits, name)
        if name in given:
            assert found is FRAMES[name]
        else:
            assert 30 <= len(found) <= 40
            assert found["label"].mean() == pytest.approx(0.5, abs=0.02)
    cut = [getattr(splits, n)["review_id"] for n in ("train", "validation", "test") if n not in given[1:]]
    assert pd.concat(cut).is_unique
    assert len(pd.concat(cut)) == 400


def test_the_same_seed_cuts_the_same_rows():
    first, second, other = (cut_splits({"train": FRAMES["train"]}, seed) for seed in (1, 1, 2))
    assert first.test.equals(second.test)
    assert not first.test.equals(other.test)


def test_sentences_of_one_review_stay_on_one_side():
    reviews = make_reviews(400).assign(group=lambda frame: frame.index // 8)
    splits = cut_splits({"train": reviews}, seed=3)
    groups = [set(frame["group"]) for frame in (splits.train, splits.validation, splits.test)]
    assert sum(len(group) for group in groups) == len(set.union(*groups)) == 50
    assert len(splits.test) >= 20


def test_one_class_is_an_error_that_counts():
    with pytest.raises(UnusableLabelsError, match="0 negative and 50 positive"):
        cut_splits({"train": make_reviews(50, label=1)}, seed=1)


def test_a_test_set_of_one_class_is_an_error():
    with pytest.raises(UnusableLabelsError, match="'test'"):
        cut_splits({"train": make_reviews(50), "test": make_reviews(5, label=0)}, seed=1)


def test_a_train_set_that_is_the_test_set_is_an_error():
    reviews = make_reviews(50)
    with pytest.raises(UnusableLabelsError, match="'train' has 0 negative and 0 positive"):
        without_leaks(Splits(reviews, make_reviews(80).iloc[50:], reviews))


def test_a_leak_is_removed_from_train_and_counted():
    def rows(texts):
        return pd.DataFrame({"text": list(texts), "label": [0, 1] * (len(texts) // 2)})

    splits = without_leaks(Splits(rows("abcczx"), rows("cedf"), rows("ad")))
    assert splits.train["text"].tolist() == ["b", "z", "x"]
    assert splits.validation["text"].tolist() == ["c", "e", "f"]
    assert splits.test["text"].tolist() == ["a", "d"]
    assert splits.leaked_rows == 4


def test_a_sample_keeps_the_label_mix_and_a_large_limit_keeps_all():
    reviews = make_reviews(300, label=[0, 0, 1] * 100)
    assert sample_rows(reviews, 90, seed=1)["label"].mean() == pytest.approx(1 / 3, abs=0.01)
    assert sample_rows(reviews, 300, seed=1) is reviews
    assert sample_rows(reviews, None, seed=1) is reviews
