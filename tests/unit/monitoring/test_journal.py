"""Each batch belongs to at most one night."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import StoreError
from sentiment.monitoring.journal import (
    JOURNAL,
    begin,
    belongs,
    end,
    list_killed,
    load_journal,
    write_journal,
)

NIGHTS = [datetime.date(2026, 3, day) for day in (1, 2, 3)]


def name_batches(last):
    return {number: f"b{number}" for number in range(last + 1)}


def test_a_batch_that_gets_the_number_of_a_dropped_one_belongs_to_its_own_night_only(tmp_path):
    journal = end(begin({}, NIGHTS[0], {1: "a"}), NIGHTS[0], {1: "a", 2: "b"})
    # Batch 2 was dropped, and a run by hand published another 2 before the next night.
    journal = begin(journal, NIGHTS[1], {1: "a", 2: "c"})
    journal = end(journal, NIGHTS[1], {1: "a", 2: "c", 3: "d"})
    write_journal(tmp_path, journal)
    journal = load_journal(tmp_path)
    assert [belongs(journal, NIGHTS[0], 2, name) for name in "bc"] == [True, False]
    assert [belongs(journal, NIGHTS[1], n, name) for n, name in ((2, "c"), (3, "d"))] == [False, True]


def test_a_journal_of_an_earlier_version_has_numbers_only(tmp_path):
    (tmp_path / JOURNAL).write_text('{"version": 1, "nights": {"2026-03-01": [[1, 3]]}}')
    assert belongs(load_journal(tmp_path), NIGHTS[0], 2, "any")


def test_a_running_night_keeps_its_start(tmp_path):
    journal = begin(begin({}, NIGHTS[0], name_batches(3)), NIGHTS[0], name_batches(6))
    assert [belongs(journal, NIGHTS[0], n, f"b{n}") for n in (3, 4, 6, 99)] == [False, True, True, True]
    write_journal(tmp_path, journal)
    assert load_journal(tmp_path) == journal


def test_a_killed_night_is_named_and_ends_where_the_next_begins():
    journal = begin({}, NIGHTS[0], name_batches(0))
    assert list_killed(journal, NIGHTS[1]) == [NIGHTS[0]]
    journal = begin(journal, NIGHTS[1], name_batches(2))
    assert [belongs(journal, NIGHTS[0], n, f"b{n}") for n in (1, 2, 3)] == [True, True, False]
    assert list_killed(journal, NIGHTS[1]) == []


@given(st.lists(st.tuples(st.sampled_from(NIGHTS), st.integers(0, 3), st.booleans()), max_size=12))
def test_every_batch_belongs_to_the_night_that_published_it(runs):
    journal, number, owner = {}, 1, {}
    for night, batches, is_killed in runs:
        journal = begin(journal, night, name_batches(number - 1))
        for _ in range(batches):
            owner[number] = night
            number += 1
        if not is_killed:
            journal = end(journal, night, name_batches(number - 1))
    for batch, night in owner.items():
        assert [other for other in NIGHTS if belongs(journal, other, batch, f"b{batch}")] == [night]


@pytest.mark.parametrize(
    "content", ["", "{}", '{"version": 9, "nights": {}}', '{"version": 1, "nights": [1]}']
)
def test_a_damaged_journal_is_an_error(content, tmp_path):
    (tmp_path / JOURNAL).write_text(content)
    with pytest.raises(StoreError, match="which batches belong"):
        load_journal(tmp_path)
