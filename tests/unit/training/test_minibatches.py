"""Mini-batches: each row once per epoch, similar lengths together, the same steps for any processes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentiment.training.minibatches import MiniBatches, plan_minibatches

LENGTHS = np.random.default_rng(0).integers(3, 120, 1000)
lengths_of_rows = st.lists(st.integers(1, 300), min_size=1, max_size=200).map(np.array)


def list_batches(epoch=0, rows=16, tokens=None, seed=1, rank=0, processes=1, lengths=LENGTHS):
    minibatches = MiniBatches(lengths, rows, tokens, seed, rank, processes)
    minibatches.set_epoch(epoch)
    return list(minibatches)


def count_padded(batches):
    return [max(LENGTHS[batch]) * len(batch) for batch in batches]


@given(lengths_of_rows, st.integers(1, 40), st.none() | st.integers(1, 2000), st.integers(0, 5))
def test_each_row_is_in_one_batch_and_no_batch_is_empty(lengths, rows, tokens, seed):
    batches = plan_minibatches(lengths, rows, tokens, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert min(map(len, batches)) >= 1


@given(lengths_of_rows, st.integers(1, 40), st.none() | st.integers(1, 2000))
def test_epochs_have_as_many_steps(lengths, rows, tokens):
    minibatches = MiniBatches(lengths, rows, tokens, seed=3)
    for epoch in (0, 1, 7):
        minibatches.set_epoch(epoch)
        assert len(list(minibatches)) == len(minibatches)


def test_the_order_depends_on_seed_and_epoch_only():
    assert list_batches() == list_batches()
    assert list_batches() != list_batches(epoch=1)
    assert list_batches() != list_batches(seed=2)


def test_batches_have_the_number_of_rows():
    sizes = [len(batch) for batch in list_batches()]
    assert set(sizes) == {16, 1000 % 16}
    assert sizes.count(16) == 1000 // 16


def test_rows_of_similar_length_are_together():
    shuffled = np.random.default_rng(0).permutation(1000).tolist()
    random = count_padded([shuffled[i : i + 16] for i in range(0, 1000, 16)])
    assert sum(count_padded(list_batches())) < 1.1 * LENGTHS.sum()
    assert sum(random) > 1.5 * LENGTHS.sum()


def test_batches_have_about_as_many_tokens():
    tokens = count_padded(list_batches(tokens=1000))
    assert abs(np.mean(tokens) - 1000) < 150
    assert max(tokens) < 1300


def test_processes_share_the_same_batches():
    both = zip(list_batches(rank=0, processes=2), list_batches(rank=1, processes=2), strict=True)
    assert [sorted(a + b) for a, b in both] == [sorted(batch) for batch in list_batches()]


def test_processes_get_similar_lengths():
    first, second = (list_batches(rank=rank, processes=2) for rank in (0, 1))
    assert abs(sum(count_padded(first)) - sum(count_padded(second))) < 0.03 * LENGTHS.sum()


def test_each_process_gets_a_row_of_a_batch_that_is_too_small():
    lengths = np.array([5, 6, 7])
    found = [list_batches(rows=2, rank=rank, processes=4, lengths=lengths) for rank in range(4)]
    assert {len(batch) for batches in found for batch in batches} == {1}
