"""Choose the reviews that share a model step: pure functions of lengths and texts."""

from collections.abc import Sequence

import numpy as np

_WIDE_TOKENS = 384
"""Rows above it are alone in a mini-batch, so that each width is a shape, and few are met."""
_FINE_STEPS = 4
"""With steps of 32 tokens, rows of 32 or 64 make up 32, 64, 96, 128, 256, 384, … of them. Each other number
that they might make up was another 4 MB of a worker with a model of DistilBERT's size, 74 MB in all."""


def order_by_length(lengths: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Return positions by length, the longest first, equal lengths by text.

    The order, and with it the company in which a review is scored, depends on the rows alone and not
    on how they arrived.
    """
    return np.array(sorted(range(len(texts)), key=lambda i: (-lengths[i], texts[i])), dtype=np.int64)


def plan_minibatches(ordered_lengths: np.ndarray, budget_tokens: int, is_packed: bool = False) -> list[slice]:
    """Cut descending lengths into consecutive slices of at most `budget_tokens` tokens each.

    A slice of n rows costs n times its longest row (the padding is work too), or the sum of its rows where
    the engine packs them. Its longest row is its first, so that where rows are padded each width has one
    number of rows, but for the last slice: an engine meets few shapes. Raises ValueError if a single row is
    longer than the budget, or if the lengths do not descend.
    """
    if len(ordered_lengths) == 0:
        return []
    if ordered_lengths[0] > budget_tokens:
        raise ValueError(f"a row of {ordered_lengths[0]} tokens exceeds {budget_tokens=}")
    if np.any(np.diff(ordered_lengths) > 0):
        raise ValueError("lengths must descend")
    slices = []
    start = 0
    sum_tokens = 0
    for row, length in enumerate(ordered_lengths.tolist()):
        sum_tokens += length
        cost = sum_tokens if is_packed else (row + 1 - start) * int(ordered_lengths[start])
        if cost > budget_tokens:
            slices.append(slice(start, row))
            start, sum_tokens = row, length
    return [*slices, slice(start, len(ordered_lengths))]


def round_up(lengths: np.ndarray, step_tokens: int) -> np.ndarray:
    """Raise each length to a multiple of `step_tokens`, or of two steps if it is above `_WIDE_TOKENS`.

    A step of 1 leaves them as they are.
    """
    steps = np.where((lengths > _WIDE_TOKENS) & (step_tokens > 1), 2 * step_tokens, step_tokens)
    return -(-lengths // steps) * steps


def pad_rows(
    rows: Sequence[np.ndarray], pad_id: int, step_tokens: int = 1, adds_rows: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Right-pad rows to the longest, rounded up: int64 ids and attention mask of shape (rows, tokens).

    `adds_rows`: rows of padding may follow the given ones, so that few shapes are met (`_count_rows`).
    """
    width = int(round_up(np.array([len(row) for row in rows]), step_tokens).max())
    n_rows = _count_rows(len(rows), width, step_tokens) if adds_rows else len(rows)
    padded = np.full((n_rows, width), pad_id, dtype=np.int64)
    mask = np.zeros((n_rows, width), dtype=np.int64)
    mask[len(rows) :, 0] = 1  # attention needs something to attend to
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return padded, mask


def _count_rows(n_rows: int, width: int, step_tokens: int) -> int:
    """So many rows, or a few more, so that short ones make up few different numbers of tokens.

    The last mini-batch of each Arrow batch has any number of rows, and short ones. Beyond `_FINE_STEPS`
    steps in all they are rounded up to as many rows as such a number of steps holds.
    """
    coarse = _FINE_STEPS * step_tokens
    if n_rows * width <= coarse:
        return n_rows
    multiple = max(1, coarse // width)
    return -(-n_rows // multiple) * multiple
