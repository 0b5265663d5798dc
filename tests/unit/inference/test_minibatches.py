import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.inference.minibatches import order_by_length, pad_rows, plan_minibatches, round_up

lengths = st.lists(st.integers(1, 64), max_size=200)


def cost(rows, is_packed):
    return rows.sum() if is_packed else len(rows) * rows.max()


@given(lengths, st.integers(64, 1000), st.booleans())
def test_no_minibatch_is_over_its_budget_and_every_row_is_in_one(values, budget, is_packed):
    ordered = np.array(sorted(values, reverse=True), dtype=np.int64)
    parts = plan_minibatches(ordered, budget, is_packed)
    for part in parts:
        rows = ordered[part]
        assert len(rows) > 0
        assert cost(rows, is_packed) <= budget
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(ordered)))


@given(lengths, st.integers(64, 1000), st.booleans())
def test_a_minibatch_is_full(values, budget, is_packed):
    ordered = np.array(sorted(values, reverse=True), dtype=np.int64)
    for part in plan_minibatches(ordered, budget, is_packed)[:-1]:
        assert cost(ordered[part.start : part.stop + 1], is_packed) > budget


@given(lengths, st.integers(64, 1000))
def test_each_width_has_one_number_of_rows_but_for_the_last(values, budget):
    ordered = np.array(sorted(values, reverse=True), dtype=np.int64)
    for part in plan_minibatches(ordered, budget)[:-1]:
        assert part.stop - part.start == budget // ordered[part.start]


def test_a_row_longer_than_the_budget_is_an_error():
    with pytest.raises(ValueError, match="exceeds"):
        plan_minibatches(np.array([9, 3]), 8)


def test_lengths_that_do_not_descend_are_an_error():
    with pytest.raises(ValueError, match="descend"):
        plan_minibatches(np.array([4, 2, 3]), 100)


@given(st.lists(st.text("ab", min_size=1, max_size=6), max_size=50), st.randoms())
def test_the_order_depends_on_the_rows_and_not_on_their_arrival(texts, random):
    shuffled = random.sample(texts, len(texts))
    ordered = [
        [rows[i] for i in order_by_length(np.array([len(r) for r in rows], dtype=np.int64), rows)]
        for rows in (texts, shuffled)
    ]
    assert ordered[0] == ordered[1]
    assert [len(text) for text in ordered[0]] == sorted((len(text) for text in texts), reverse=True)


def test_a_width_is_rounded_up_to_a_step():
    ids, mask = pad_rows([np.array([5, 6, 7]), np.array([8])], pad_id=1, step_tokens=4)
    assert ids.tolist() == [[5, 6, 7, 1], [8, 1, 1, 1]]
    assert mask.sum(axis=1).tolist() == [3, 1]
    assert round_up(np.array([1, 4, 5]), 4).tolist() == [4, 4, 8]
    assert round_up(np.array([383, 384, 385, 448, 449]), 32).tolist() == [384, 384, 448, 448, 512]
    assert round_up(np.array([1, 385]), 1).tolist() == [1, 385]


@given(st.lists(st.integers(1, 64), min_size=1, max_size=24))
def test_short_rows_make_up_few_numbers_of_tokens(values):
    rows = [np.full(n, 7) for n in values]
    ids, mask = pad_rows(rows, pad_id=1, step_tokens=32, adds_rows=True)
    assert ids.size in {32, 64, 96, *range(128, 1537, 128)}
    assert ids.size - len(rows) * ids.shape[1] < 128
    assert mask.sum(axis=1).tolist() == [*values, *[1] * (len(ids) - len(rows))]


def test_wide_rows_and_few_tokens_are_given_no_company():
    assert pad_rows([np.full(90, 7)] * 5, pad_id=1, step_tokens=32, adds_rows=True)[0].shape == (5, 96)
    assert pad_rows([np.full(9, 7)] * 3, pad_id=1, step_tokens=32, adds_rows=True)[0].shape == (3, 32)
    assert pad_rows([np.full(9, 7)] * 5, pad_id=1, step_tokens=32, adds_rows=True)[0].shape == (8, 32)
    assert pad_rows([np.full(9, 7)] * 5, pad_id=1, step_tokens=32)[0].shape == (5, 32)


def test_padding_fills_to_the_longest_row_and_masks_what_it_filled():
    ids, mask = pad_rows([np.array([5, 6, 7]), np.array([8])], pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
