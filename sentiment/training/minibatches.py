"""Choose the rows of each training step: reviews of similar length, in an order that the seed decides."""

from collections.abc import Iterator

import numpy as np
import torch

# Rows are sorted by length inside windows of at most this many mini-batches.
_WINDOW_BATCHES = 50
# The cuts decide the padding, which decides the cuts: after so many rounds they hardly change.
_ROUNDS = 4


class MiniBatches(torch.utils.data.Sampler[list[int]]):
    """Yield this process's rows of each mini-batch; epochs differ in order, not in the number of steps.

    A mini-batch has `rows` rows or, if `tokens` is given, about so many tokens. Its rows are dealt to the
    processes, so that all get similar lengths, and the steps are the same for each number of processes.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        rows: int,
        tokens: int | None,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._lengths = lengths
        self._rows = rows
        self._tokens = tokens
        self._seed = seed
        self._rank = rank
        self._processes = processes
        self._epoch = 0
        self._n_batches = len(self._plan(0))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._plan(self._epoch):
            # Each process needs a row: the last mini-batch may repeat some.
            full = np.resize(batch, max(len(batch), self._processes))
            yield full[self._rank :: self._processes].tolist()

    def _plan(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng((self._seed, epoch))
        return plan_minibatches(self._lengths, self._rows, self._tokens, random)


def plan_minibatches(
    lengths: np.ndarray, rows: int, tokens: int | None, random: np.random.Generator
) -> list[np.ndarray]:
    """Return the rows of each mini-batch, in random order; the number of mini-batches is always the same.

    The rows are shuffled, sorted by length in windows, and cut; a padded mini-batch then has little padding.
    """
    n_rows = len(lengths)
    count = -(-n_rows // rows) if tokens is None else min(max(1, round(lengths.sum() / tokens)), n_rows)
    order = np.arange(count + 1)
    starts = np.minimum(order * rows, n_rows) if tokens is None else order * n_rows // count
    shuffled = random.permutation(n_rows)
    batches: list[np.ndarray] = []
    for part in np.array_split(order[:-1], -(-count // max(1, min(count // 4, _WINDOW_BATCHES)))):
        window = shuffled[starts[part[0]] : starts[part[-1] + 1]]
        window = window[np.argsort(lengths[window], kind="stable")]
        cuts = range(rows, len(window), rows) if tokens is None else _cut_evenly(lengths[window], len(part))
        batches += np.split(window, cuts)
    return [batches[i] for i in random.permutation(len(batches))]


def _cut_evenly(lengths: np.ndarray, count: int) -> np.ndarray:
    """Return the `count - 1` positions that cut rising lengths into parts of about as many padded tokens."""
    n_rows, order = len(lengths), np.arange(1, count)
    costs, cuts = lengths, order
    for _ in range(_ROUNDS):
        ends = np.cumsum(costs)
        cuts = np.maximum(np.searchsorted(ends, ends[-1] * order / count), order)
        # No part is empty.
        cuts = np.minimum(np.maximum.accumulate(cuts - order) + order, n_rows - count + order)
        stops = np.append(cuts, n_rows)
        # A row costs as much as the longest row of its part.
        costs = np.repeat(lengths[stops - 1], np.diff(stops, prepend=0))
    return cuts
