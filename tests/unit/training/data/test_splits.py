import numpy as np
import pytest

from sentiment.errors import UnusableLabelsError
from sentiment.schema import POLARITY_LABELS
from sentiment.training.data.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    Candidates,
    check_classes,
    cut_splits,
    sample_rows,
    without_leaks,
)


def make_candidates(n, label=None, start=0, groups=None, words=None):
    rows = np.arange(start, start + n)
    labels = rows % 2 if label is None else np.full(n, label)
    return Candidates(rows, labels, rows if words is None else np.asarray(words), groups)


FOUND = {
    TRAIN: make_candidates(400),
    VALIDATION: make_candidates(40, start=400),
    TEST: make_candidates(60, start=500),
}


@pytest.mark.parametrize("given", [(TRAIN,), (TRAIN, TEST), (TRAIN, VALIDATION), tuple(FOUND)])
def test_missing_splits_are_cut_from_train_in_every_combination(given):
    splits = cut_splits({name: FOUND[name] for name in given}, POLARITY_LABELS, seed=1)
    for name in (VALIDATION, TEST):
        if name in given:
            assert splits[name] is FOUND[name]
        else:
            assert 30 <= len(splits[name]) <= 40
            assert splits[name].labels.mean() == pytest.approx(0.5, abs=0.02)
    cut = np.concatenate([splits[n].rows for n in (TRAIN, VALIDATION, TEST) if n not in given[1:]])
    assert sorted(cut) == list(range(400))


def test_the_same_seed_cuts_the_same_rows():
    first, second, other = (
        cut_splits({TRAIN: FOUND[TRAIN]}, POLARITY_LABELS, seed)[TEST].rows for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_sentences_of_one_review_stay_on_one_side():
    splits = cut_splits({TRAIN: make_candidates(400, groups=np.arange(400) // 8)}, POLARITY_LABELS, seed=3)
    groups = [set(split.groups) for split in splits.values()]
    assert sum(len(group) for group in groups) == len(set.union(*groups)) == 50
    assert len(splits[TEST]) >= 20


def test_a_text_that_occurs_often_stays_on_one_side():
    words = np.arange(400) % 40
    splits = cut_splits({TRAIN: make_candidates(400, words=words)}, POLARITY_LABELS, seed=3)
    assert [len(split) for split in splits.values()] == [320, 40, 40]
    assert without_leaks(splits)[1] == 0


def test_one_class_is_an_error_that_counts():
    with pytest.raises(UnusableLabelsError, match="0 negative and 50 positive"):
        cut_splits({TRAIN: make_candidates(50, label=1)}, POLARITY_LABELS, seed=1)


def test_a_class_that_may_be_review_text_is_counted_by_number():
    with pytest.raises(UnusableLabelsError, match="25 a and 25 b and 0 of class 2"):
        check_classes(make_candidates(50), TRAIN, ("a", "b", "I hate it"), 1)


def test_a_leak_is_removed_from_train_and_validation_and_counted():
    texts = {TRAIN: "abcczx", VALIDATION: "cedf", TEST: "ad"}
    found = {name: make_candidates(len(text), words=[ord(c) for c in text]) for name, text in texts.items()}
    kept, leaked = without_leaks(found)
    left = {name: "".join(map(chr, split.words)) for name, split in kept.items()}
    assert left == {TRAIN: "bzx", VALIDATION: "cef", TEST: "ad"}
    assert leaked == 4


def test_a_sample_keeps_the_label_mix_and_the_order_and_a_large_limit_keeps_all():
    labels = np.array([0, 0, 1] * 100)
    sample = sample_rows(np.arange(300), labels, 90, seed=1)
    assert labels[sample].mean() == pytest.approx(1 / 3, abs=0.01)
    assert (np.diff(sample) > 0).all()
    assert len(sample_rows(np.arange(300), labels, 300, seed=1)) == 300
    assert len(sample_rows(np.arange(300), labels, None, seed=1)) == 300
