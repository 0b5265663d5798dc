"""The threshold of the cascade, and both stages in a predictor."""

import shutil
from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest

from sentiment import schema
from sentiment.evaluation.figures import draw_cascade_curve
from sentiment.evaluation.judged import judge_reviews
from sentiment.inference.linear import LINEAR_FILE, MIN_TOKENS, OpinionPool
from sentiment.inference.predictor import Predictor
from sentiment.training import cascade
from sentiment.training.cascade import (
    MIN_VALIDATION_ROWS,
    THRESHOLDS,
    choose_cascade,
    fit_pool,
    train_linear,
)
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
    choice = choose_cascade(*make_validation(5000, 0.02, 0.10), seed=0)
    assert choice.threshold == THRESHOLDS[0]
    assert choice.share_early == choice.share_early_tokens == 1.0
    assert choice.accuracy_pair == choice.accuracy_linear > choice.accuracy_encoder


def test_a_linear_stage_that_is_worse_decides_nothing():
    choice = choose_cascade(*make_validation(5000, 0.15, 0.05), seed=0)
    assert choice.threshold is None
    assert (choice.share_early, choice.accuracy_pair) == (0.0, choice.accuracy_encoder)


def test_an_equal_one_passes_only_where_chance_is_small():
    """Check that the bootstrap's bound depends on how often the models disagree; the measured loss is 0."""
    linear, encoder, truth, n_tokens = make_validation(2000, 0, 0)
    assert choose_cascade(linear, encoder, truth, n_tokens, seed=0).threshold == THRESHOLDS[0]
    disagreeing = encoder.copy()
    disagreeing[:200] = 1 - disagreeing[:200]
    linear[200:400] = 1 - linear[200:400]
    assert choose_cascade(linear, disagreeing, truth, n_tokens, seed=0).threshold is None


def test_few_reviews_prove_nothing():
    assert choose_cascade(*make_validation(MIN_VALIDATION_ROWS - 1, 0, 0.3), seed=0).threshold is None


@pytest.mark.parametrize("seed", range(5))
def test_a_small_validation_set_that_happens_to_agree_proves_nothing(seed):
    """On 300 reviews, a cascade that loses 0.5 points often shows no loss."""
    linear, encoder, truth, n_tokens = make_validation(300, 0, 0)
    lost = np.random.default_rng(seed).random(300) < 0.005
    linear[lost] = 1 - linear[lost]
    assert choose_cascade(linear, encoder, truth, n_tokens, seed).threshold is None


def test_the_threshold_that_spares_most_tokens_wins():
    linear, encoder, truth, n_tokens = make_validation(4000, 0, 0.1, confidence=0.97)
    linear[:1000] = np.where(truth[:1000], 0.96, 0.04)
    linear[1000:1500] = np.where(truth[1000:1500], 0.06, 0.94)  # wrong, with a lower probability
    n_tokens[:1000] = MIN_TOKENS
    choice = choose_cascade(linear, encoder, truth, n_tokens, seed=0)
    assert choice.threshold == 0.945
    assert choice.share_early == pytest.approx(3500 / 4000)
    assert choice.share_early_tokens == pytest.approx(282 / 332)
    metrics = choice.as_metrics()
    assert metrics["cascade_threshold"] == 0.945
    assert not [name for name in metrics if "curve" in name]


def make_independent(n, encoder_signal, linear_signal, share=0.5, seed=0):
    """Calibrated probabilities of two models that know different things of n reviews, and the truth."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < share).astype(int)

    def answer(signal):
        # Of two normal distributions at a distance, the log odds of a value are the distance times it.
        log_odds = signal * (rng.normal(size=n) + (truth - 0.5) * signal) + np.log(share / (1 - share))
        return 1 / (1 + np.exp(-log_odds))

    return answer(linear_signal), answer(encoder_signal), truth


def test_stages_that_know_different_things_are_pooled():
    """Check that log odds of independent stages add up, as Bayes' rule says."""
    linear, encoder, truth = make_independent(5000, 2.5, 2)
    pool = fit_pool(linear, encoder, truth)
    assert astuple(pool) == pytest.approx((1, 1, 0), abs=0.15)
    choice = choose_cascade(linear, encoder, truth, np.full(5000, 100), seed=0)
    assert choice.pool == pool
    assert choice.accuracy_pooled > choice.accuracy_encoder + 0.02
    assert choice.accuracy_pair >= choice.accuracy_pooled, "an early decision costs no accuracy"
    assert choice.as_metrics()["cascade_weight_linear"] == pool.linear


def test_the_bias_takes_off_what_both_stages_know_of_the_classes():
    """Without it, fewer reviews of the rare class were found than by the encoder."""
    linear, encoder, truth = make_independent(5000, 2.5, 2, share=0.9)
    pool = fit_pool(linear, encoder, truth)
    assert pool.bias == pytest.approx(-np.log(9), abs=0.5)
    pooled = pool.apply(encoder, linear)
    assert pooled.mean() == pytest.approx(truth.mean(), abs=0.005)
    rare = truth == 0
    assert (pooled[rare] < 0.5).mean() > (encoder[rare] < 0.5).mean() + 0.05


def test_a_linear_stage_that_adds_nothing_is_not_pooled():
    linear, encoder, truth = make_independent(5000, 2.5, 1)
    assert fit_pool(encoder, encoder, truth) == OpinionPool(), "it knows the same"
    assert fit_pool(1 - linear, encoder, truth) == OpinionPool(), "it is wrong"


@pytest.mark.parametrize("power", [0.7, 1.4])
def test_noise_is_not_pooled_whatever_the_calibration(power):
    """The encoder is calibrated on all reviews, so on long ones its log odds may be off."""
    n_pooled = 0
    for seed in range(20):
        linear, encoder, truth = make_independent(2000, 2.5, 1, seed=seed)
        odds = (encoder / (1 - encoder)) ** power
        n_pooled += fit_pool(np.roll(linear, 1), odds / (1 + odds), truth) != OpinionPool()
    assert n_pooled <= 2


def find_probabilities(log_odds):
    return 1 / (1 + np.exp(-np.asarray(log_odds)))


def test_reviews_that_only_both_stages_separate_have_no_weights():
    truth = np.arange(2000) % 2
    by_encoder = np.random.default_rng(0).normal(size=2000)
    linear = find_probabilities(0.3 * (2 * truth - 1) - by_encoder)
    assert fit_pool(linear, find_probabilities(by_encoder), truth) == OpinionPool()


def test_a_pool_that_is_likelier_but_less_accurate_is_not_taken():
    # Log odds of encoder and linear stage, share of the second class, reviews: the linear stage is right
    # where it is sure, and wrong where it is not.
    kinds = [(0.3, 3, 0.95, 400), (-0.3, -3, 0.05, 400), (-0.3, 3, 0.95, 400), (0.3, -3, 0.05, 400)]
    kinds += [(2, 0, 0.88, 500), (-2, 0, 0.12, 500), (-0.3, 1, 0.42, 3000), (0.3, -1, 0.58, 3000)]
    by_encoder, by_linear, shares, sizes = zip(*kinds, strict=True)
    truth = np.concatenate([np.arange(n) < round(share * n) for share, n in zip(shares, sizes, strict=True)])
    encoder, linear = (find_probabilities(np.repeat(odds, sizes)) for odds in (by_encoder, by_linear))
    assert fit_pool(linear, encoder, truth.astype(int)) == OpinionPool()


def test_the_pool_is_fitted_on_reviews_that_both_stages_read():
    linear, encoder, truth = make_independent(5000, 2.5, 2)
    n_tokens = np.where(np.arange(5000) < 2500, 100, MIN_TOKENS - 1)
    linear[2500:] = 1 - linear[2500:]
    choice = choose_cascade(linear, encoder, truth, n_tokens, seed=0)
    assert choice.pool == fit_pool(linear[:2500], encoder[:2500], truth[:2500]) != OpinionPool()
    assert choice.accuracy_pooled > choice.accuracy_encoder + 0.01


@pytest.mark.parametrize("n_long", [0, 1, 20, MIN_VALIDATION_ROWS - 1])
def test_few_long_reviews_prove_no_pool(n_long):
    n_tokens = np.where(np.arange(5000) < n_long, MIN_TOKENS, MIN_TOKENS - 1)
    choice = choose_cascade(*make_independent(5000, 2.5, 2), n_tokens, seed=0)
    assert (choice.pool, choice.accuracy_pooled) == (OpinionPool(), choice.accuracy_encoder)


def test_reviews_of_one_class_prove_no_pool():
    linear, encoder, _ = make_independent(2000, 2.5, 2)
    choice = choose_cascade(linear, encoder, np.ones(2000, dtype=int), np.full(2000, 100), seed=0)
    assert choice.pool == OpinionPool()


def test_a_pool_without_a_threshold_is_kept_and_decides_nothing_early(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "encoder")
    (tmp_path / "encoder" / LINEAR_FILE).unlink()
    monkeypatch.setattr(cascade, "fit_pool", lambda *_: OpinionPool(0.9, 0.7, 0.1))
    texts = ["the screen is awful and broken " * 8, "i love the battery and it is great " * 8] * 2
    reviews = pd.DataFrame({"text": texts, "label": [0, 1, 0, 1]})
    encoder = judge_reviews(
        Predictor(tmp_path / "encoder", probabilities=True), reviews, lambda done, total: None
    )
    stage = train_linear(make_reviews(400), seed=0)
    choice, _ = _fit_cascade(tmp_path / "encoder", stage, encoder, texts, seed=0)
    assert (choice.threshold, choice.is_used) == (None, True)
    [online] = Predictor(tmp_path / "encoder").predict(texts[:1])[schema.STAGE]
    batch = Predictor(tmp_path / "encoder").predict(texts)[schema.STAGE]
    assert {online, *batch} == {schema.BOTH}


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
    choice = choose_cascade(*make_validation(2000, 0, 0.1), seed=0)
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


def test_the_encoder_and_the_linear_stage_decide_long_reviews_together(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "encoder")
    stage = replace(train_linear(make_reviews(400), seed=0), pool=OpinionPool(0.9, 0.7, 0.2))
    stage.save(tmp_path / "encoder" / LINEAR_FILE)
    texts = ["good", "the screen is awful and broken " * 8, "", "i love the battery and it is great " * 8]
    pooled = Predictor(tmp_path / "encoder", probabilities=True).predict(texts)
    alone = Predictor(tmp_path / "encoder", cascade="off", probabilities=True).predict(texts)
    assert pooled[schema.STAGE].tolist() == [schema.ENCODER, schema.BOTH, None, schema.BOTH]
    assert pooled[schema.PROBABILITIES][0] == pytest.approx(alone[schema.PROBABILITIES][0])
    linear = stage.second_class_probabilities(texts)
    for i in (1, 3):
        by_encoder, by_linear = alone[schema.PROBABILITIES][i][1], linear[i]
        odds = (by_encoder / (1 - by_encoder)) ** 0.9 * (by_linear / (1 - by_linear)) ** 0.7 * np.exp(0.2)
        assert pooled[schema.PROBABILITIES][i] == pytest.approx([1 / (1 + odds), odds / (1 + odds)])
        assert pooled[schema.LABEL][i] == ("positive" if odds > 1 else "negative")


def test_validation_sees_the_probabilities_that_the_model_gives(folder, tmp_path, monkeypatch):
    """Check that unsure scores and the report rest on what users get from the same texts."""
    # The weights that fit here are those of an encoder that was not trained.
    monkeypatch.setattr(cascade, "fit_pool", lambda *_: OpinionPool(0.9, 0.7))
    shutil.copytree(folder, tmp_path / "encoder")
    (tmp_path / "encoder" / LINEAR_FILE).unlink()
    reviews = make_reviews(MIN_VALIDATION_ROWS)
    reviews["text"] = [text + " and so on" * (i % 12) for i, text in enumerate(reviews["text"])]
    encoder = judge_reviews(
        Predictor(tmp_path / "encoder", probabilities=True), reviews, lambda done, total: None
    )
    stage = train_linear(make_reviews(400), seed=0)
    stage = replace(stage, weight=stage.weight / 2)  # it is not sure of all long reviews
    choice, judged = _fit_cascade(tmp_path / "encoder", stage, encoder, reviews["text"].tolist(), seed=0)
    assert choice.is_used
    found = Predictor(tmp_path / "encoder", probabilities=True).predict(reviews["text"].tolist())
    assert set(found[schema.STAGE]) == set(schema.STAGES)
    assert np.array(found[schema.PROBABILITIES].tolist()) == pytest.approx(judged.probabilities, abs=1e-4)


def test_an_unknown_word_for_the_cascade_is_an_error(folder):
    with pytest.raises(ValueError, match="off, auto"):
        Predictor(folder, cascade="on")
