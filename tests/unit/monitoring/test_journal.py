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


def test_a_running_night_keeps_its_start(tmp_path):
    journal = begin(begin({}, NIGHTS[0], 4), NIGHTS[0], 7)
    assert [belongs(journal, NIGHTS[0], number) for number in (3, 4, 6, 99)] == [False, True, True, True]
    write_journal(tmp_path, journal)
    assert load_journal(tmp_path) == journal


def test_a_killed_night_is_named_and_ends_where_the_next_begins():
    journal = begin({}, NIGHTS[0], 1)
    assert list_killed(journal, NIGHTS[1]) == [NIGHTS[0]]
    journal = begin(journal, NIGHTS[1], 3)
    assert [belongs(journal, NIGHTS[0], number) for number in (1, 2, 3)] == [True, True, False]
    assert list_killed(journal, NIGHTS[1]) == []


@given(st.lists(st.tuples(st.sampled_from(NIGHTS), st.integers(0, 3), st.booleans()), max_size=12))
def test_every_batch_belongs_to_the_night_that_published_it(runs):
    journal, number, owner = {}, 1, {}
    for night, batches, is_killed in runs:
        journal = begin(journal, night, number)
        for _ in range(batches):
            owner[number] = night
            number += 1
        if not is_killed:
            journal = end(journal, night, number)
    for batch, night in owner.items():
        assert [other for other in NIGHTS if belongs(journal, other, batch)] == [night]


@pytest.mark.parametrize(
    "content", ["", "{}", '{"version": 9, "nights": {}}', '{"version": 1, "nights": [1]}']
)
def test_a_damaged_journal_is_an_error(content, tmp_path):
    (tmp_path / JOURNAL).write_text(content)
    with pytest.raises(StoreError, match="which batches belong"):
        load_journal(tmp_path)
