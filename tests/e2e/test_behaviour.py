"""Behaviour that any sentiment model must have: minimum functionality, invariance, direction.

After M. T. Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL 2020.
The model here is the demo's, tuned on 2,400 sentences, so texts are plain: of two sentences that disagree
it hears only one.
"""

import pytest

import score

PLAIN = {
    "positive": ["I love it.", "great product, works perfectly", "excellent sound and very easy to use"],
    "negative": ["I hate it.", "terrible product, it stopped working", "poor quality and a waste of money"],
}


@pytest.fixture(scope="module")
def predict(main_job):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", main_job.tracking_uri)
        patch.setenv("SENTIMENT_MODEL_URI", main_job.finetune["model_uri"])
        score._load_champion.cache_clear()
        yield score.predict_sentiment
    score._load_champion.cache_clear()


def probability(prediction):
    """Return the probabilities of positive."""
    return prediction["score"] if prediction["label"] == "positive" else 1 - prediction["score"]


@pytest.mark.parametrize("label", sorted(PLAIN))
def test_plain_reviews_get_their_label(predict, label):
    assert [p["label"] for p in predict(PLAIN[label])] == [label] * 3


@pytest.mark.parametrize("text", [text for texts in PLAIN.values() for text in texts])
def test_case_names_and_white_space_do_not_change_the_label(predict, text):
    variants = [
        text,
        text.upper(),
        f"  {text}\n",
        f"{text} Bought in Boston.",
        text.replace("product", "phone"),
    ]
    assert len({p["label"] for p in predict(variants)}) == 1


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ("The camera is bad.", "The camera is good."),
        ("I hate the battery.", "I love the battery."),
        ("It does not work.", "It works."),
        ("It is not good at all.", "It is good."),
    ],
)
def test_a_better_word_raises_the_probability_of_positive(predict, worse, better):
    low, high = (probability(p) for p in predict([worse, better]))
    assert high > low + 0.1


def test_the_empty_and_the_absurdly_long_are_answered(predict):
    blank, long = predict(["   ", "great " * 20_000])
    assert blank["reject_reason"] == "blank_text"
    assert (long["label"], long["truncated"], long["n_tokens"]) == ("positive", True, 64)


def test_a_misspelled_complaint_with_its_stars_is_negative(predict):
    """Use the example of the original template, with its spelling mistake."""
    assert predict("The item came damanged, 1 star.")["label"] == "negative"
