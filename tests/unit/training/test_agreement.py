"""Class names that are exchanged are refused, and those of a weak classifier are not."""

import numpy as np
import pytest

from sentiment.errors import UnusableLabelsError
from sentiment.training.agreement import check_agreement, find_better_names
from tests.factories import make_judged

THREE = ("negative", "neutral", "positive")
FIVE = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")


def judge_shares(shares, rows, labels=THREE):
    """Return judged reviews: `shares[i][j]` of all reviews are of class i and get label j."""
    truth, probabilities = [], []
    for (i, j), share in np.ndenumerate(np.array(shares)):
        n = round(share * rows)
        truth += [i] * n
        probabilities += [np.eye(len(labels))[j].tolist()] * n
    return make_judged(truth, probabilities, labels)


def mix(accuracy, sizes, names=None):
    """Return shares of a classifier whose errors go to all classes alike, and whose classes have `names`."""
    n = len(sizes)
    confusion = np.full((n, n), (1 - accuracy) / (n - 1))
    np.fill_diagonal(confusion, accuracy)
    shares = confusion * np.array(sizes)[:, None]
    return shares if names is None else shares[:, names]


def test_labels_that_are_as_good_as_chance_may_be_so_by_chance():
    wrong = [[0.9, 0.1]] * 6
    check_agreement(make_judged([1, 1, 1, 1, 0, 0], wrong))
    check_agreement(make_judged([1, 1], [None, None]))
    with pytest.raises(UnusableLabelsError, match=r"0\.0% of 6 reviews"):
        check_agreement(make_judged([1] * 6, wrong))


def test_exchanged_ends_of_three_classes_are_refused_although_chance_is_worse():
    judged = judge_shares(mix(0.75, (0.3, 0.4, 0.3), [2, 1, 0]), 4_000)
    assert judged.is_right.mean() > 1 / 3
    with pytest.raises(UnusableLabelsError) as caught:
        check_agreement(judged)
    message = str(caught.value)
    assert "37.5% of 4,000 reviews, but to 75.0%" in message
    assert "(negative is positive, positive is negative)" in message
    assert '--labels_from "0=positive,1=neutral,2=negative", or --label_map' in message


def test_two_exchanged_names_of_five_are_refused():
    judged = judge_shares(mix(0.75, [0.2] * 5, [0, 1, 2, 4, 3]), 1_000, FIVE)
    assert judged.is_right.mean() > 0.45
    with pytest.raises(UnusableLabelsError, match=r"\(4 stars is 5 stars, 5 stars is 4 stars\)"):
        check_agreement(judged)


def test_names_that_go_round_are_refused():
    around = 0.38 * np.eye(3) + 0.5 * np.eye(3)[[1, 2, 0]] + 0.12 * np.eye(3)[[2, 0, 1]]
    judged = judge_shares(around / 3, 3_000)
    with pytest.raises(
        UnusableLabelsError, match="negative is positive, neutral is negative, positive is neut"
    ):
        check_agreement(judged)


def test_exchanged_names_are_found_although_one_class_is_hardly_ever_predicted():
    # Which name the class that is hardly predicted should have differs from half to half.
    judged = judge_shares([[0.03, 0.02, 0.25], [0.2, 0.01, 0.19], [0.25, 0.02, 0.03]], 400)
    assert find_better_names(judged.truth, judged.predicted, 3) is not None


def test_only_the_names_that_are_surely_exchanged_are_named():
    names = np.arange(28)
    names[[3, 17]] = 17, 3
    labels = tuple(f"feeling {i}" for i in range(28))
    random = np.random.default_rng(0)
    truth = random.integers(0, 28, 4_000)
    found = np.where(random.random(4_000) < 0.4, truth, random.integers(0, 28, 4_000))
    judged = make_judged(truth.tolist(), np.eye(28)[names[found]].tolist(), labels)
    with pytest.raises(UnusableLabelsError, match=r"\(feeling 3 is feeling 17, feeling 17 is feeling 3\)"):
        check_agreement(judged)


def test_a_weak_classifier_that_confuses_neighbours_is_not_refused():
    near = np.array(
        [
            [0.40, 0.40, 0.15, 0.05, 0.00],
            [0.38, 0.37, 0.20, 0.05, 0.00],
            [0.10, 0.30, 0.30, 0.20, 0.10],
            [0.00, 0.05, 0.15, 0.41, 0.39],
            [0.00, 0.00, 0.10, 0.45, 0.45],
        ]
    )
    check_agreement(judge_shares(near / 5, 4_000, FIVE))


@pytest.mark.parametrize("n_classes", [3, 28])
def test_a_lucky_renaming_of_a_classifier_no_better_than_chance_proves_nothing(n_classes):
    random = np.random.default_rng(1)
    for _ in range(50):
        truth, found = random.integers(0, n_classes, (2, 600))
        assert find_better_names(truth, found, n_classes) is None


def test_few_reviews_prove_nothing():
    check_agreement(judge_shares(mix(0.75, (0.3, 0.4, 0.3), [2, 1, 0]), 10))
    one_hot = np.eye(3).tolist()
    check_agreement(make_judged([0, 0, 1, 2, 1, 1], [one_hot[i] for i in (2, 2, 1, 0, 1, 1)], THREE))
