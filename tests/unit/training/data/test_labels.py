import datetime
import unicodedata
from collections import Counter

import pytest

from sentiment.errors import AmbiguousInputError, ConfigError, UnusableLabelsError
from sentiment.training.data.labels import clean_label, number_labels, parse_label_map


def number(values, column="label", **options):
    return number_labels({"train": Counter(clean_label(value) for value in values)}, column, **options)


def ids(values, column="label", **options):
    numbering = number(values, column, **options)
    return [None if clean_label(v) is None else numbering.ids[clean_label(v)] for v in values]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([0, 1, 1], [0, 1, 1]),
        ([1, 2, 2], [0, 1, 1]),
        ([-1, 1], [0, 1]),
        (["1", "2", None], [0, 1, None]),
        ([1.0, 0.0, float("nan")], [1, 0, None]),
        ([True, False], [1, 0]),
        (["True", "false"], [1, 0]),
        (["Yes", "no."], [1, 0]),
        (["negative", "Positive", " POS ", "neg", ""], [0, 1, 1, 0, None]),
        (["good", "BAD!"], [1, 0]),
        ([1, 1], [1, 1]),  # one class: refused later, from the split
    ],
)
def test_auto_understands_two_classes(raw, expected):
    assert ids(raw) == expected


@pytest.mark.parametrize("raw", [[1, 2, 3, 4, 5], [1.0, 5.0], ["3", "4.0", "5"]])
def test_auto_stops_at_stars_with_both_commands(raw):
    with pytest.raises(AmbiguousInputError, match="--label_scheme polarity.*--label_scheme stars"):
        number(raw)


@pytest.mark.parametrize(
    "column",
    [
        "rating",
        "stars",
        "overall",
        "star_rating",
        "Stars",
        "reviews.rating",
        "starRating",
        "Star Rating",
        "Score",
        "starrating",
        "OVERALLRATINGS",
        "review_scores",
        "grade",
        "rate",
        "Note",
    ],
)
def test_auto_stops_at_a_star_column_with_only_ones_and_twos(column):
    with pytest.raises(AmbiguousInputError, match="--label_scheme"):
        number([1, 2, 2], column)
    assert ids([0, 1], column) == [0, 1]


@pytest.mark.parametrize("column", ["label", "degraded", "notes", "startled", "moderate"])
def test_other_columns_may_have_ones_and_twos(column):
    assert ids([1, 2, 2], column) == [0, 1, 1]


def test_a_column_without_labels_is_named():
    with pytest.raises(UnusableLabelsError, match="has no label, since all its values are null or blank"):
        number([None, "  "])


def test_auto_stops_at_a_neutral_class():
    with pytest.raises(AmbiguousInputError, match="three_way"):
        number(["negative", "neutral", "positive"])


@pytest.mark.parametrize("raw", [[0, 1, 2], [0.5, 1.0], [-1, 0, 1], ["cat", "dog"]])
def test_other_values_are_refused_with_the_way_out(raw):
    with pytest.raises(UnusableLabelsError, match="--label_map"):
        number(raw)


@pytest.mark.parametrize("raw", [[1, 2, 3, 4, 5], ["1.0", "2.0", "3", "4", "5"]])
def test_schemes_for_stars(raw):
    assert ids(raw, scheme="polarity") == [0, 0, None, 1, 1]
    assert ids(raw, scheme="three_way") == [0, 0, 1, 2, 2]
    assert ids(raw, scheme="stars") == [0, 1, 2, 3, 4]
    assert number(raw, scheme="stars").names == ("1", "2", "3", "4", "5")


@pytest.mark.parametrize("spelling", ["{} star", "{} stars", "{}.0 out of 5 stars", "{}/5", "{},0"])
def test_stars_may_be_spelled_out(spelling):
    raw = [spelling.format(star) for star in range(1, 6)]
    assert ids(raw, scheme="polarity") == [0, 0, None, 1, 1]
    assert ids(raw, scheme="three_way") == [0, 0, 1, 2, 2]
    assert number(raw, scheme="stars").names == ("1", "2", "3", "4", "5")
    with pytest.raises(AmbiguousInputError, match="--label_scheme polarity.*--label_scheme stars"):
        number(raw)


def test_polarity_of_ones_and_twos_means_stars():
    assert ids([1, 2], scheme="polarity") == [0, 0]


def test_polarity_of_two_classes_means_these():
    assert ids(["neg", "pos"], scheme="polarity") == [0, 1]
    assert ids([0, 1], scheme="polarity") == [0, 1]


def test_three_way_of_names_and_of_signs():
    assert ids(["Negative", "neutral", "positive"], scheme="three_way") == [0, 1, 2]
    assert ids([-1, 0, 1], scheme="three_way") == [0, 1, 2]


def test_names_keep_the_order_of_the_data_set():
    assert number(["b", "a", "c"], scheme="names", class_names=("c", "a", "b")).names == ("c", "a", "b")
    assert number(["b", "a"], scheme="names").names == ("a", "b")


def test_names_of_signs_stay_apart():
    assert number(["--", "-", "+", "++"], scheme="names").names == ("+", "++", "-", "--")
    assert clean_label(" Very_good - indeed! ") == "very good indeed"


def test_names_that_are_numbers_rise():
    assert number([10, 9, 1, 2], scheme="names").names == ("1", "2", "9", "10")
    assert number([0.5, -1, 0], scheme="names").names == ("-1", "0", "0.5")


def test_a_name_that_the_data_set_does_not_state_is_a_class_too():
    assert number(["b", "a", "c"], scheme="names", class_names=("c", "a")).names == ("c", "a", "b")


def test_a_scheme_names_what_it_does_not_know():
    with pytest.raises(UnusableLabelsError, match=r"has no class for the values 4.5; pass --label_map"):
        number([1, 4.5], scheme="stars")


def test_a_map_decides_and_leaves_out():
    found = number([1, 2, 3, 4, 5], label_map="1,2=negative;3=;4,5=positive")
    assert found.names == ("negative", "positive")
    assert found.describe() == {
        "1": "negative",
        "2": "negative",
        "3": "left out",
        "4": "positive",
        "5": "positive",
    }


def test_a_map_must_have_every_value():
    with pytest.raises(UnusableLabelsError, match="no class for the values 3"):
        number([1, 3], label_map="1=negative;5=positive")


@pytest.mark.parametrize("text", ["1,2", "1=a;1=b", "=a", "1,,2=a"])
def test_a_map_that_is_none_is_a_config_error(text):
    with pytest.raises(ConfigError, match="label_map"):
        parse_label_map(text)


@pytest.mark.parametrize("name", ["bad\x07", "go\0od", "a\u200bb", "a\nb"])
def test_an_unprintable_name_in_a_map_is_a_config_error(name):
    with pytest.raises(ConfigError, match="printable characters, found '.*\\\\"):
        parse_label_map(f"1={name};2=other")


def test_minus_one_in_a_whole_split_means_no_label():
    counts = {"train": Counter({"0": 5, "1": 5}), "test": Counter({"-1": 3})}
    assert number_labels(counts, "label").ids == {"0": 0, "1": 1, "-1": None}


def test_minus_one_that_train_has_too_is_refused():
    """A test split of one class must not make -1, 0 and 1 of train two classes."""
    counts = {"train": Counter({"-1": 5, "0": 5, "1": 5}), "test": Counter({"-1": 3})}
    with pytest.raises(UnusableLabelsError, match="found the values -1, 0, 1"):
        number_labels(counts, "label")


def test_minus_one_among_two_classes_is_refused():
    counts = {"train": Counter({"0": 5, "1": 5, "-1": 2})}
    with pytest.raises(UnusableLabelsError):
        number_labels(counts, "label")


def test_all_splits_have_one_numbering():
    counts = {"train": Counter({"1": 5, "2": 5}), "test": Counter({"1": 3})}
    assert number_labels(counts, "label").ids == {"1": 0, "2": 1}


def test_text_chosen_for_a_label_is_refused_without_quoting_it():
    with pytest.raises(UnusableLabelsError, match="label column 'text'") as caught:
        number(["a secret review", "another"], "text")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [["positive"], {"a": 1}, datetime.date(2020, 1, 1), b"1"])
def test_a_value_that_is_neither_number_nor_text_is_refused(value):
    with pytest.raises(UnusableLabelsError, match="found a"):
        clean_label(value)


def test_ratings_are_in_the_order_of_their_numbers():
    found = number(range(1, 11), scheme="names")
    assert found.names == ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
    assert found.ids["10"] == 9


@pytest.mark.parametrize("word", ["NULL", "NaN", "N/A", "<NA>", "None", "NA", "NaT"])
def test_a_word_that_may_mean_no_label_is_no_class_by_itself(word):
    with pytest.raises(AmbiguousInputError, match="may be a class or mean .*--label_map"):
        number(["good", "bad", word], scheme="names")
    assert number(["good", "bad", word], label_map=f"good=good;bad=bad;{word}=").names == ("good", "bad")
    assert len(number(["good", "bad", word], scheme="names", class_names=("good", word)).names) == 3


def test_a_number_that_may_be_of_a_class_with_a_number_for_its_name_is_ambiguous():
    """In a text file 0 to 4 may be the numbers of the classes 1 to 5."""
    stars = ("1", "2", "3", "4", "5")
    with pytest.raises(AmbiguousInputError, match="has 0, which is no stated name .*--label_map"):
        number(range(5), scheme="names", class_names=stars)
    assert number(stars, scheme="names", class_names=stars).names == stars
    assert number([*stars, "7"], scheme="names", class_names=stars).names == (*stars, "7")


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [("1_2", "1 2"), ("1_0", "1 0"), ("1e0", "1"), ("\uff11", "1"), ("-1", "-1"), ("inf", "inf")],
)
def test_an_underscore_is_no_part_of_a_number(raw, cleaned):
    """Python reads 1_2 as 12."""
    assert clean_label(raw) == cleaned


def test_an_accent_that_is_a_character_of_its_own_makes_no_class():
    words = ["n\u00e9gatif", unicodedata.normalize("NFD", "n\u00e9gatif")]
    assert words[0] != words[1]
    assert clean_label(words[0]) == clean_label(words[1])


def test_a_number_of_hundreds_of_digits_is_refused():
    with pytest.raises(UnusableLabelsError, match="found a int"):
        clean_label(10**400)


def test_a_list_of_labels_names_the_way_out():
    """Doccano writes the label of a review so."""
    with pytest.raises(UnusableLabelsError, match="found a list; write one value per row"):
        clean_label(["positive"])


def test_a_label_of_signs_only_is_no_missing_label():
    assert number(["!", "ok", "..."], scheme="names").names == ("!", "...", "ok")
