"""The label values of reviews mean the same to adopting and to promotion."""

from collections import Counter

import pandas as pd
import pytest

from sentiment.config import AdoptConfig, FinetuneConfig
from sentiment.errors import InputError, UnusableLabelsError
from sentiment.training.data.labelled_rows import number_rows, read_labelled_rows
from sentiment.training.data.labels import AUTO, clean_label
from sentiment.training.data.model_labels import number_for_model, pick_scheme
from sentiment.training.gate_texts import load_gate_texts
from tests.factories import make_reviews

POLARITY = ("negative", "positive")
THREE_WAY = ("Negative", "Neutral", "Positive")
STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
RATINGS = [1, 2, 3, 4, 5]


def find_in_adopting(file, labels, scheme, label_map):
    config = AdoptConfig(
        model="any", reviews=file, label_col="label", label_scheme=scheme, label_map=label_map
    )
    found = load_gate_texts(config, labels, lambda *_: None)
    reviews = pd.concat([found.reviews, found.test])
    return dict(zip(reviews["text"], reviews["label"], strict=True))


def find_in_promotion(file, labels, scheme, label_map):
    rows = read_labelled_rows(FinetuneConfig(dataset_name=file, text_col="text"))
    found = number_rows(rows, labels, scheme, label_map)
    return dict(zip(found.texts, found.truth.tolist(), strict=True))


@pytest.fixture(params=[find_in_adopting, find_in_promotion])
def find_classes(request, tmp_path):
    """Return the class ids that a job gives to label values which repeat in a file of reviews."""

    def find(values, labels, scheme=AUTO, label_map=None):
        reviews = make_reviews(300)
        reviews["label"] = [values[i % len(values)] for i in range(len(reviews))]
        file = tmp_path / "reviews.parquet"
        reviews.to_parquet(file)
        by_text = request.param(str(file), labels, scheme, label_map)
        value_of = dict(zip(reviews["text"], reviews["label"], strict=True))
        pairs = {(value_of[text], int(number)) for text, number in by_text.items()}
        assert len(pairs) == len(dict(pairs))
        return [dict(pairs).get(value) for value in values]

    return find


@pytest.mark.parametrize("scheme", ["auto", "stars", "names"])
def test_ratings_mean_the_stars_of_the_model(find_classes, scheme):
    assert find_classes(RATINGS, STARS, scheme) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("scheme", ["auto", "three_way"])
def test_ratings_mean_three_classes_to_a_model_of_three(find_classes, scheme):
    assert find_classes(RATINGS, THREE_WAY, scheme) == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    ("values", "labels", "options", "expected"),
    [
        (["neg", "pos"], ("POSITIVE", "NEGATIVE"), {}, [1, 0]),
        ([1, 2], POLARITY, {}, [0, 1]),
        (RATINGS, POLARITY, {"scheme": "polarity"}, [0, 0, None, 1, 1]),
        (RATINGS, STARS, {"label_map": "1=5;2=4;3=3 Stars;4=2 stars;5=1"}, [4, 3, 2, 1, 0]),
        (["5 stars", "1 star", "2 stars", "3", "4"], ("1", "2", "3", "4", "5"), {}, [4, 0, 1, 2, 3]),
        ([1, 2, 3], STARS[:3], {}, [0, 1, 2]),
        (["Very good!", "bad"], ("bad", "very_good"), {}, [1, 0]),
        (["good", "N/A", "bad"], ("n/a", "bad", "good"), {}, [2, 0, 1]),
        ([0, 1, 2], ("joy", "fear"), {"label_map": "0=fear;1=Joy;2="}, [1, 0, None]),
        ([0, 1, 2], ("joy", "fear"), {"label_map": "0=fear;1=joy;2=JOY"}, [1, 0, 0]),
    ],
)
def test_values_mean_labels_of_the_model(find_classes, values, labels, options, expected):
    assert find_classes(values, labels, **options) == expected


@pytest.mark.parametrize(
    ("values", "labels", "options", "problem"),
    [
        ([0, 1], ("joy", "fear"), {}, r"values 0, 1, which are no labels .*\(joy, fear\)"),
        (["joy", "rage"], ("joy", "fear"), {}, "label_scheme names it has the values rage"),
        ([0, 1], POLARITY, {"label_map": "0=negative;1=good"}, "label_map it has .* good"),
        (RATINGS, POLARITY, {}, "polarity .*; the labels of the model are negative, pos"),
        (["a", "b"], STARS, {}, "stars has no class for the values a, b; .* are 1 star, 2 s"),
        ([1, 2], STARS, {}, "0 of class 2|no review of 3 stars"),
        ([0, 1], THREE_WAY, {}, "0 Negative|no review of Negative"),
        ([0, 1], ("good", "Good!"), {}, "'good' and 'Good!', which no label value can"),
        (["good", "n/a", "bad"], ("bad", "good"), {}, "n/a, which may be a class or mean that there is no"),
    ],
)
def test_values_that_mean_no_label_are_refused(find_classes, values, labels, options, problem):
    with pytest.raises(InputError, match=problem):
        find_classes(values, labels, **options)


def test_text_chosen_for_a_label_is_not_quoted():
    counts = {"test": Counter([clean_label("a secret review"), clean_label("another")])}
    with pytest.raises(UnusableLabelsError, match="label column 'text': .* 2 distinct values") as caught:
        number_for_model(counts, "text", ("joy", "fear"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "values"),
    [("auto", "12345"), ("three_way", "12345"), ("three_way", "012"), ("stars", "ab"), ("polarity", "ab")],
)
def test_the_advice_names_the_labels_of_the_model(scheme, values):
    with pytest.raises(UnusableLabelsError, match="--label_map 'VALUE=neg;VALUE=neu;VALUE=pos;VALUE='"):
        number_for_model({"test": Counter(values)}, "label", ("neg", "neu", "pos"), scheme)


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (("POSITIVE", "NEGATIVE"), "auto"),
        (THREE_WAY, "three_way"),
        (STARS, "stars"),
        (("1", "2", "3", "4", "5"), "stars"),
        (STARS[:3], "names"),
        (("joy", "fear"), "names"),
    ],
)
def test_the_scheme_suits_the_labels(labels, scheme):
    assert pick_scheme(labels) == scheme
