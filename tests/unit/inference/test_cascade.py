"""The threshold of the cascade, and both stages in a predictor."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sentiment import schema
from sentiment.evaluation.figures import draw_cascade_curve
from sentiment.inference.linear import LINEAR_FILE, MIN_TOKENS
from sentiment.inference.predictor import Predictor
from sentiment.training.cascade import MIN_VALIDATION_ROWS, THRESHOLDS, choose_threshold, train_linear
from sentiment.training.optimization import _fit_cascade
from tests.factories import make_judged, make_reviews, make_tiny_encoder


def make_validation(n, linear_errors, encoder_errors, confidence=0.95):
    """Probabilities of two models that are wrong in the given shares of n reviews, and the truth."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, n)

    def answer(errors):
        is_wrong = rng.random(n) < errors
        return np.where((truth == 1) ^ is_wrong, confidence, 1 - confidence)

    return answer(linear_errors), answer(encoder_errors), truth, np.full(n, 100)


def test_a_linear_stage_that_is_better_decides_all_it_is_sure_of():
    choice = choose_threshold(*make_validation(5000, 0.02, 0.10), seed=0)
    assert choice.threshold == THRESHOLDS[0]
    assert choice.share_early == choice.share_early_tokens == 1.0
    assert choice.accuracy_pair == choice.accuracy_linear > choice.accuracy_encoder


def test_a_linear_stage_that_is_worse_decides_nothing():
    choice = choose_threshold(*make_validation(5000, 0.15, 0.05), seed=0)
    assert choice.threshold is None
    assert (choice.share_early, choice.accuracy_pair) == (0.0, choice.accuracy_encoder)


def test_an_equal_one_passes_only_where_chance_is_small():
    """Check that the bootstrap's bound depends on how often the models disagree; the measured loss is 0."""
    linear, encoder, truth, n_tokens = make_validation(2000, 0, 0)
    assert choose_threshold(linear, encoder, truth, n_tokens, seed=0).threshold == THRESHOLDS[0]
    disagreeing = encoder.copy()
    disagreeing[:200] = 1 - disagreeing[:200]
    linear[200:400] = 1 - linear[200:400]
    assert choose_threshold(linear, disagreeing, truth, n_tokens, seed=0).threshold is None


def test_few_reviews_prove_nothing():
    assert choose_threshold(*make_validation(MIN_VALIDATION_ROWS - 1, 0, 0.3), seed=0).threshold is None


@pytest.mark.parametrize("seed", range(5))
def test_a_small_validation_set_that_happens_to_agree_proves_nothing(seed):
    """On 300 reviews, a cascade that loses 0.5 points often shows no loss."""
    linear, encoder, truth, n_tokens = make_validation(300, 0, 0)
    lost = np.random.default_rng(seed).random(300) < 0.005
    linear[lost] = 1 - linear[lost]
    assert choose_threshold(linear, encoder, truth, n_tokens, seed).threshold is None


def test_the_threshold_that_spares_most_tokens_wins():
    linear, encoder, truth, n_tokens = make_validation(4000, 0, 0.1, confidence=0.97)
    linear[:1000] = np.where(truth[:1000], 0.96, 0.04)
    linear[1000:1500] = np.where(truth[1000:1500], 0.06, 0.94)  # wrong, with a lower probability
    n_tokens[:1000] = MIN_TOKENS
    choice = choose_threshold(linear, encoder, truth, n_tokens, seed=0)
    assert choice.threshold == 0.945
    assert choice.share_early == pytest.approx(3500 / 4000)
    assert choice.share_early_tokens == pytest.approx(282 / 332)
    metrics = choice.as_metrics()
    assert metrics["cascade_threshold"] == 0.945
    assert not [name for name in metrics if "curve" in name]


def test_rejected_reviews_choose_no_threshold(tmp_path):
    truth = [i % 2 for i in range(2_000)]
    scored = [[0.9 - 0.8 * label, 0.1 + 0.8 * label] for label in truth[:500]]
    encoder = make_judged(truth, [*scored, *[None] * 1_500])
    stage = train_linear(make_reviews(400), seed=0)
    texts = ["a great thing" if label else "an awful thing" for label in truth]
    choice, judged = _fit_cascade(tmp_path, stage, encoder, texts, seed=0)
    assert (choice.rows, choice.threshold, choice.accuracy_encoder) == (500, None, 1.0)
    assert judged is encoder


def test_texts_without_a_common_word_train_no_linear_stage():
    rows = pd.DataFrame({"text": [f"w{i}a w{i}b" for i in range(60)], "label": [i % 2 for i in range(60)]})
    assert train_linear(rows, seed=0) is None


def test_the_picture_shows_the_curve_and_the_choice():
    choice = choose_threshold(*make_validation(2000, 0, 0.1), seed=0)
    axes, shares = draw_cascade_curve(choice).axes
    assert len(axes.get_lines()) == 3
    assert len(shares.get_lines()[0].get_xdata()) == len(choice.curve)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a tiny, untuned encoder with a linear stage whose threshold is 0.8."""
    folder = make_tiny_encoder(tmp_path_factory.mktemp("encoder"), max_length=64)
    replace(train_linear(make_reviews(400), seed=0), threshold=0.8).save(folder / LINEAR_FILE)
    return folder


def test_the_pair_asks_the_encoder_for_the_rest_alone(folder, monkeypatch):
    long = "the screen works and the battery is very good " * 5
    texts = [
        "good",
        long + "great great great",
        "   ",
        long + "awful awful broken bad hate",
        "the phone " * 30,
    ]
    predictor = Predictor(folder)
    seen = []
    classify = predictor._engine.classify
    monkeypatch.setattr(predictor._engine, "classify", lambda rows: seen.extend(rows) or classify(rows))
    pair = predictor.predict(texts)
    alone = Predictor(folder, cascade="off").predict(texts)
    early = pair[schema.STAGE] == schema.LINEAR
    assert pair[schema.STAGE].tolist()[0] == schema.ENCODER  # too short to be decided early
    assert pair[schema.STAGE].tolist()[2] is None
    assert early.sum() >= 1
    assert len(seen) == (pair[schema.STAGE] == schema.ENCODER).sum()
    assert set(alone[schema.STAGE].dropna()) == {schema.ENCODER}
    rest = [schema.LABEL, schema.N_TOKENS, schema.TRUNCATED, schema.REJECT_REASON]
    pd.testing.assert_frame_equal(pair[~early][rest], alone[~early][rest])
    pd.testing.assert_frame_equal(pair[rest[1:]], alone[rest[1:]])
    assert (pair.loc[early, schema.SCORE] >= 0.8).all()


def test_an_unknown_word_for_the_cascade_is_an_error(folder):
    with pytest.raises(ValueError, match="off, auto"):
        Predictor(folder, cascade="on")
