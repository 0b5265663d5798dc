import pytest

from sentiment import schema


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (["1 star", "2 stars", "3 stars"], (1, 2, 3)),
        (["1", "2", "10"], (1, 2, 10)),
        (["5", "4", "3", "2", "1"], None),
        (["0", "1"], None),
        (["1 star", "1", "2"], None),
        (["1", "2", "none"], None),
    ],
)
def test_three_or_more_rising_numbers_are_ordinal(labels, values):
    assert schema.find_label_values(labels) == values
    assert (schema.EXPECTED in schema.list_prediction_types(labels)) == (values is not None)


def test_a_message_shows_some_columns_and_counts_the_others():
    names = [f"c{i}" for i in range(3000)]
    assert schema.show_columns([*names, "a whole review"]) == (
        f"{', '.join(names[:40])} and 2,960 more and 1 that do not look like column names"
    )
