"""Choose which reviews form a mini-batch, from their lengths and texts only."""

from collections.abc import Sequence

import numpy as np

# Longer rows are rounded up to a multiple of two steps. Often such a row is a mini-batch, so each width is
# one more shape for which the engine keeps memory.
_WIDE_TOKENS = 384
# Small mini-batches get rows of padding, so that with steps of 32 tokens their sizes are only 32, 64, 96,
# 128, 256, 384, … tokens. The other sizes cost 4 MB each for a model of DistilBERT's size, 74 MB per worker
# in all.
_FINE_STEPS = 4


def order_by_length(lengths: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Return the positions of the rows, longest first, equal lengths in the order of their texts.

    Mini-batches are then the same in whatever order the rows come.
    """
    return np.array(sorted(range(len(texts)), key=lambda i: (-lengths[i], texts[i])), dtype=np.int64)


def plan_minibatches(ordered_lengths: np.ndarray, budget_tokens: int, is_packed: bool = False) -> list[slice]:
    """Cut descending lengths into consecutive slices of at most `budget_tokens` tokens each.

    A slice of n rows costs n times its longest row, padding included; for an engine that packs rows, it costs
    the sum of the rows. Raises ValueError if a row is longer than the budget, or the lengths do not descend.
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
    """Raise lengths to multiples of `step_tokens`, or of two steps above `_WIDE_TOKENS`; 1: no change."""
    steps = np.where((lengths > _WIDE_TOKENS) & (step_tokens > 1), 2 * step_tokens, step_tokens)
    return -(-lengths // steps) * steps


def pad_rows(
    rows: Sequence[np.ndarray], pad_id: int, step_tokens: int = 1, adds_rows: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Pad rows on the right to one length, and return int64 ids and attention mask of (rows, tokens).

    `adds_rows` permits rows of padding after the given rows (see `_FINE_STEPS`).
    """
    width = int(round_up(np.array([len(row) for row in rows]), step_tokens).max())
    n_rows = _count_rows(len(rows), width, step_tokens) if adds_rows else len(rows)
    padded = np.full((n_rows, width), pad_id, dtype=np.int64)
    mask = np.zeros((n_rows, width), dtype=np.int64)
    mask[len(rows) :, 0] = 1  # attention needs at least one token per row
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return padded, mask


def _count_rows(n_rows: int, width: int, step_tokens: int) -> int:
    """Return the number of rows, rows of padding included (see `_FINE_STEPS`)."""
    coarse = _FINE_STEPS * step_tokens
    if n_rows * width <= coarse:
        return n_rows
    multiple = max(1, coarse // width)
    return -(-n_rows // multiple) * multiple
