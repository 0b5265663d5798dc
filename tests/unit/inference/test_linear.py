"""The linear stage: features, independence of other texts, and the choice between the stages."""

import itertools
import math
import re
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sentiment.inference.linear import (
    _WORD,
    MAX_CHARS,
    MIN_TOKENS,
    N_BUCKETS,
    LinearStage,
    OpinionPool,
    extract_features,
    weigh,
)
from sentiment.training.cascade import train_linear
from tests.factories import make_reviews

TEXTS = ["Good phone, GOOD screen!", "it's bad... very bad?", "", "!!!", "émile\u2019s naïve café"]
TEXTS += [
    "It isn\u2019t a good one, nor is this here bad",
    "Not good! Good, never mind not even that good a one",
]


def count_slowly(text):
    """The n-grams of a text as the docstrings define them, one by one."""
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)*|[!?]", text.lower().replace("\u2019", "'"))
    grams = []
    negated = 0
    for word in words:
        is_negation = word in ("not", "never", "nothing") or word.endswith("n't")
        grams.append(f"~ {word}" if negated and not is_negation and word not in "!?" else f" {word}")
        negated = 4 if is_negation else 0 if word in "!?" else max(0, negated - 1)
    grams += [f" {first} {second}" for first, second in itertools.pairwise(words)]
    return Counter(zlib.crc32(gram.encode()) % N_BUCKETS for gram in grams)


def test_features_are_the_hashed_ngrams_of_each_text():
    features = extract_features(TEXTS)
    for i, text in enumerate(TEXTS):
        mine = features.texts == i
        found = dict(zip(features.buckets[mine].tolist(), features.counts[mine].tolist(), strict=True))
        assert found == {bucket: pytest.approx(1 + math.log(n)) for bucket, n in count_slowly(text).items()}
    assert features.n == len(TEXTS)
    assert extract_features([]).n == 0


def test_a_texts_vector_has_length_one():
    features = extract_features(TEXTS)
    values = weigh(features, np.linspace(1, 3, N_BUCKETS))
    squares = np.bincount(features.texts, values**2, features.n)
    assert squares.tolist() == [
        pytest.approx(float(any(map(str.isalnum, text)) or "!" in text)) for text in TEXTS
    ]


@pytest.fixture(scope="module")
def stage():
    return train_linear(make_reviews(400), seed=0)


def test_it_learns_what_the_words_mean(stage):
    low, high = stage.second_class_probabilities(
        ["the screen is awful and broken", "the screen is great, i love it"]
    )
    assert low < 0.2
    assert high > 0.8


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("abc '!", max_size=30), min_size=1, max_size=8), st.randoms())
def test_a_probability_does_not_depend_on_the_company_bit_for_bit(stage, texts, random):
    texts = [*texts, "a good phone", "the battery is bad"]
    order = random.sample(range(len(texts)), len(texts))
    together = stage.second_class_probabilities([texts[i] for i in order])
    alone = np.concatenate([stage.second_class_probabilities([texts[i]]) for i in order])
    assert np.array_equal(together, alone)


def test_more_texts_than_are_scored_at_once_keep_their_order(stage, monkeypatch):
    texts = make_reviews(25)["text"].tolist()
    expected = stage.second_class_probabilities(texts)
    monkeypatch.setattr("sentiment.inference.linear._PART_TEXTS", 7)
    assert np.array_equal(stage.second_class_probabilities(texts), expected)


def test_a_text_or_word_without_end_is_cut(stage):
    start = "great " * (MAX_CHARS // 6 + 1)
    known, longer = stage.second_class_probabilities([start[:MAX_CHARS], start + "awful " * 100_000])
    assert known == longer
    extract_features(["a" * 50_000 + "'b" * 50_000])
    assert max(len(word) for word in _WORD.findall("a" * 500 + "'b" * 500)) <= 3 * 40 + 2


def test_both_apostrophes_are_one(stage):
    straight, curly = stage.second_class_probabilities(["I don't love it", "I don\u2019t love it"])
    assert straight == curly


@pytest.mark.parametrize(
    ("text", "is_negated"),
    [
        ("good", False),
        ("not a good one", True),
        ("it isn't really a very good one", True),
        ("no more of this, it is really good", False),
        ("not! good", False),
    ],
)
def test_a_negated_word_is_another_word(text, is_negated):
    good = zlib.crc32(b" good") % N_BUCKETS
    assert (good not in extract_features([text]).buckets) == is_negated


def test_unknown_words_make_it_less_sure(stage):
    known = "the screen is great and i love it"
    unknown = " ".join(f"word{i}" for i in range(40))
    sure, unsure = stage.second_class_probabilities([known, f"{known} {unknown}"])
    assert 0.5 < unsure < sure


def decide(stage, texts, threshold, n_tokens=100):
    stage = LinearStage(stage.idf, stage.weight, stage.bias, threshold)
    return stage.decide(texts, np.full(len(texts), n_tokens))


def test_it_decides_what_it_is_sure_of(stage):
    texts = ["the screen is great, i love it", "unheard of", "awful awful broken"]
    probabilities = stage.second_class_probabilities(texts)
    is_early, found = decide(stage, texts, 0.8)
    assert is_early.tolist() == (np.maximum(probabilities, 1 - probabilities) >= 0.8).tolist()
    assert is_early.tolist() == [True, False, True]
    assert np.array_equal(found, probabilities)


@pytest.mark.parametrize(
    "text",
    [
        "not good at all",
        "great, until it broke",
        "I wanted to love it",
        "could not be happier",
        "hardly perfect",
    ],
)
def test_short_negation_and_contrast_go_to_the_encoder(stage, text):
    assert len(text.split()) * 2 < MIN_TOKENS
    is_early, found = decide(stage, [text], 0.5, n_tokens=MIN_TOKENS - 1)
    assert not is_early.any()
    assert np.isnan(found).all(), "the encoder is not weighed against it"
    assert decide(stage, [text], 0.5, n_tokens=MIN_TOKENS)[0].all()


def test_an_untold_threshold_decides_nothing(stage):
    assert not stage.decide(["great " * 50], np.array([100]))[0].any()


def test_a_saved_stage_is_the_same(stage, tmp_path):
    stage = replace(stage, threshold=0.9, pool=OpinionPool(0.75, 0.5, -0.1))
    stage.save(tmp_path / "linear.safetensors")
    loaded = LinearStage.load(tmp_path / "linear.safetensors")
    texts = make_reviews(20)["text"].tolist()
    assert np.array_equal(loaded.second_class_probabilities(texts), stage.second_class_probabilities(texts))
    assert (loaded.bias, loaded.threshold, loaded.pool) == (stage.bias, stage.threshold, stage.pool)
    assert not [
        word for word in (b"great", b"battery") if word in (tmp_path / "linear.safetensors").read_bytes()
    ]


def test_a_stage_of_an_earlier_version_has_no_pool(stage, tmp_path):
    arrays = {"idf": stage.idf, "weight": stage.weight, "decision": np.array([0.1, 0.95])}
    save_file(arrays, tmp_path / "linear.safetensors")
    loaded = LinearStage.load(tmp_path / "linear.safetensors")
    assert (loaded.bias, loaded.threshold, loaded.pool) == (0.1, 0.95, OpinionPool())


def test_a_pool_adds_weighted_log_odds():
    # Odds of 1:4 and 9:1 give 9:4; with half the weight of the second, 3:4.
    encoder, linear = np.array([0.2, 0.2, 0.2]), np.array([0.9, 0.9, np.nan])
    assert OpinionPool(1, 1).apply(encoder, linear) == pytest.approx([9 / 13, 9 / 13, 0.2])
    assert OpinionPool(1, 0.5).apply(encoder, linear) == pytest.approx([3 / 7, 3 / 7, 0.2])
    # If nine in ten reviews are of the second class, both stages count that.
    assert OpinionPool(1, 1, -math.log(9)).apply(encoder, linear) == pytest.approx([0.2, 0.2, 0.2])
    assert OpinionPool().apply(encoder, linear) == pytest.approx(encoder)


def test_a_pool_of_certain_stages_is_a_probability():
    pooled = OpinionPool(1, 1).apply(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0]))
    assert pooled == pytest.approx([0, 1, 0.5, 0.5])
    assert np.isnan(OpinionPool(1, 1).apply(np.array([np.nan]), np.array([0.5]))).all()


def test_the_encoders_probability_is_found_again_in_the_pooled_one():
    encoder, linear = np.linspace(0.01, 0.99, 9), np.array([0.7, 0.2, np.nan] * 3)
    pool = OpinionPool(0.6, 0.5, -0.3)
    assert pool.undo(pool.apply(encoder, linear), linear) == pytest.approx(encoder)
