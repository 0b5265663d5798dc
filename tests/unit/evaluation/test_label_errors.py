import numpy as np
import pandas as pd
import pytest

from sentiment.evaluation import label_errors
from sentiment.evaluation.label_errors import check_test_labels, check_training_labels, find_label_errors
from sentiment.evaluation.linear import extract_ngrams, fit_linear, predict_ngrams

from .rows import THREE, make_judged

WORDS = {"calm": "quiet still gentle", "happy": "great love perfect", "sad": "awful broken poor"}


def make_train(n, wrong=(), seed=0):
    """Return reviews whose words tell the class, and give the class after it to the rows `wrong`."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        label = i % 3
        words = [*random.choice(WORDS[THREE[label]].split(), 3), *random.choice(list("abcdefgh"), 4)]
        rows.append({"review_id": f"r{i}", "text": " ".join(words), "label": (label + (i in wrong)) % 3})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def planted():
    return check_training_labels(THREE, make_train(150, {30, 61, 95}), seed=0)


def test_planted_errors_are_found_with_their_true_class_and_no_others(planted):
    assert {(e.row, e.review_id, e.given, e.suggested) for e in planted.errors} == {
        (30, "r30", "happy", "calm"),
        (61, "r61", "sad", "happy"),
        (95, "r95", "calm", "sad"),
    }
    assert planted.rows == 150


def test_the_surest_error_comes_first(planted):
    confidences = [e.confidence for e in planted.errors]
    assert confidences == sorted(confidences, reverse=True)
    assert min(confidences) > 1 - label_errors.MAX_PROBABILITY


def test_leaving_errors_out_is_measured_on_all_rows(planted):
    assert planted.comparison.rows == 150
    assert planted.accuracy_with <= planted.accuracy_without == 147 / 150


def test_positions_are_those_of_the_whole_table_if_it_is_sampled(monkeypatch):
    monkeypatch.setattr(label_errors, "MAX_ROWS", 140)
    train = make_train(150, {30, 61, 95}).drop(columns="review_id")
    train.index = range(1000, 1150)
    found = check_training_labels(THREE, train, seed=0)
    assert found.rows == 140
    assert {e.row for e in found.errors} <= {30, 61, 95}
    assert {e.review_id for e in found.errors} == {str(e.row) for e in found.errors} != set()


def test_texts_without_a_common_word_are_not_checked():
    train = pd.DataFrame({"text": [f"w{i}a w{i}b" for i in range(60)], "label": [i % 3 for i in range(60)]})
    assert check_training_labels(THREE, train, seed=0) is None


def test_a_class_of_few_rows_is_not_checked():
    train = pd.concat([make_train(36), pd.DataFrame({"text": ["odd"] * 3, "label": [3] * 3})])
    assert check_training_labels((*THREE, "odd"), train, seed=0).rows == 36


def test_encodings_are_used():
    train = make_train(150, {30, 61, 95}).assign(text="the same text for all")
    encodings = np.eye(3)[[i % 3 for i in range(150)]] + np.random.default_rng(0).normal(0, 0.1, (150, 3))
    found = check_training_labels(THREE, train, seed=0, encodings=encodings)
    assert {e.row for e in found.errors} == {30, 61, 95}


def test_test_labels_are_checked_with_the_scores_of_the_model():
    truth = np.arange(300) % 3
    given = truth.copy()
    given[[6, 10]] = (given[[6, 10]] + 1) % 3
    judged = make_judged(given, truth, score=0.95, Review_ID=[f"r{i}" for i in range(300)])
    found = check_test_labels(judged)
    assert {e.review_id for e in found.errors} == {"r6", "r10"}
    assert (found.accuracy_with, found.accuracy_without) == (pytest.approx(298 / 300), 1.0)


@pytest.mark.parametrize(("score", "found"), [(0.93, [5]), (0.89, [])])
def test_the_model_must_be_sure_that_a_label_is_wrong(score, found):
    predicted = np.arange(60) % 2
    scores = np.where(np.arange(60) == 5, score, 0.8)
    given = np.where(np.arange(60) == 5, 0, predicted)
    judged = make_judged(given, predicted, ("no", "yes"), scores)
    assert [error.row for error in check_test_labels(judged).errors] == found


def test_reviews_of_one_class_have_no_errors():
    assert find_label_errors(THREE, np.zeros(50, dtype=int), np.full((50, 3), 1 / 3), range(50)) == ()


def test_no_row_is_predicted_by_a_model_that_was_trained_on_it():
    texts = [f"word{i} word{i}" for i in range(40)]
    features = extract_ngrams([*texts, *texts, *texts]).weights
    labels = np.arange(120) % 2
    found = predict_ngrams(features[:40], labels[:40], 2, seed=0)
    assert abs((found.argmax(axis=1) == labels[:40]).mean() - 0.5) < 0.3
    trained = fit_linear(features[:40], labels[:40], 2).predict(features[:40])
    assert (trained.argmax(axis=1) == labels[:40]).all()


def test_rows_that_are_left_out_are_predicted_all_the_same():
    train = make_train(90)
    features, labels = extract_ngrams(train["text"].tolist()).weights, train["label"].to_numpy()
    found = predict_ngrams(features, labels, 3, 0, labels == 2)
    assert np.isfinite(found).all()
    assert (found[:, 2] == 0).all()
    assert found.sum(axis=1) == pytest.approx(1)
