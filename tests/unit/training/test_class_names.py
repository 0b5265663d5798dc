import pytest

from sentiment.errors import ConfigError
from sentiment.training.class_names import choose_labels

STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")


@pytest.mark.parametrize(
    "stated", [("NEGATIVE", "POSITIVE"), ("positive", "negative"), STARS, ("joy", " fear ")]
)
def test_names_of_the_config_are_kept_in_their_order_and_spelling(stated):
    assert choose_labels(stated, "config") == tuple(name.strip() for name in stated)


@pytest.mark.parametrize(
    "stated",
    [("LABEL_0", "LABEL_1"), ("negative", "label_1"), ("LABEL 0", "LABEL-1"), ("0", "1"), ("0.0", "1.0")],
)
def test_names_that_mean_nothing_are_asked_for(stated):
    with pytest.raises(ConfigError, match='no name .*--labels_from "0=NAME,1=NAME'):
        choose_labels(stated, "config")


def test_stars_are_names():
    assert choose_labels(("1", "2", "3", "4", "5"), "config") == ("1", "2", "3", "4", "5")


@pytest.mark.parametrize(
    "given",
    ["LABEL_0=bad,LABEL_1=good", "label_1=good, label_0=bad", "0=bad,1=good", " 1 = good , 0 = bad ,"],
)
def test_given_names_follow_the_classes(given):
    assert choose_labels(("LABEL_0", "LABEL_1"), given) == ("bad", "good")


def test_given_names_win_over_those_of_the_config():
    assert choose_labels(("NEGATIVE", "POSITIVE"), "POSITIVE=good,NEGATIVE=bad") == ("bad", "good")


def test_a_number_that_is_a_name_means_the_name():
    given = "1=one,2=two,3=three,4=four,5=five"
    assert choose_labels(("5", "4", "3", "2", "1"), given) == ("five", "four", "three", "two", "one")


@pytest.mark.parametrize("stated", ["LABEL_0", "positive", "toxic"])
def test_one_output_needs_two_names(stated):
    with pytest.raises(ConfigError, match='name both: --labels_from "0=NAME,1=NAME"'):
        choose_labels((stated,), "config")
    assert choose_labels((stated,), "0=negative,1=positive") == ("negative", "positive")
    with pytest.raises(ConfigError, match=r"each of 2 classes \(0, 1\), found"):
        choose_labels((stated,), f"{stated}=positive")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("0=bad", "each of 2 classes .0, 1, or LABEL_0, LABEL_1., found 0"),
        ("0=bad,1=good,2=ugly", "each of 2 classes"),
        ("0=bad,LABEL_1=good", "each of 2 classes"),
        ("0=bad,2=good", "each of 2 classes"),
        ("bad,good", "expected `config`, or CLASS=NAME"),
        ("0=bad,0=good", "each class once"),
        ("=bad,1=good", "CLASS=NAME"),
        (",", "found none"),
        ("0=bad,1=", "blank or unprintable"),
        ("0=bad,1=a\nb", "blank or unprintable"),
        ("0=bad,1=BAD", "found 'bad' and 'BAD'"),
        ("0=good,1=good!", "found 'good' and 'good!'"),
    ],
)
def test_names_that_do_not_fit_are_refused(given, problem):
    with pytest.raises(ConfigError, match=f"labels_from: .*{problem}"):
        choose_labels(("LABEL_0", "LABEL_1"), given)


@pytest.mark.parametrize("given", ["neg=a,neu=a,pos=b", "neg"])
def test_the_advice_has_all_classes_of_the_model(given):
    with pytest.raises(ConfigError, match='"0=NAME,1=NAME,2=NAME"'):
        choose_labels(("neg", "neu", "pos"), given)


@pytest.mark.parametrize(
    "stated", [("good", "good"), ("good", "Good "), ("good", " "), ("very_good", "very good."), ("4", "4.0")]
)
def test_blank_and_repeated_names_of_the_config_are_refused(stated):
    with pytest.raises(ConfigError, match="config.json .id2label.: .*--labels_from"):
        choose_labels(stated, "config")
