"""Which reviews share a model step: pure functions of lengths and texts."""

from collections.abc import Sequence

import numpy as np


def order_by_length(lengths: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Positions by length, equal lengths by text.

    The order, and with it the company in which a review is scored, depends on the rows alone and not
    on how they arrived.
    """
    return np.array(sorted(range(len(texts)), key=lambda i: (lengths[i], texts[i])), dtype=np.int64)


def plan_minibatches(ordered_lengths: np.ndarray, budget_tokens: int) -> list[slice]:
    """Cut ascending lengths into consecutive slices of at most `budget_tokens` padded tokens each.

    A slice of n rows pads to n times its longest row. Raises ValueError if a single row is longer than
    the budget, or if the lengths do not ascend.
    """
    if len(ordered_lengths) == 0:
        return []
    if ordered_lengths[-1] > budget_tokens:
        raise ValueError(f"a row of {ordered_lengths[-1]} tokens exceeds {budget_tokens=}")
    if np.any(np.diff(ordered_lengths) < 0):
        raise ValueError("lengths must ascend")
    slices = []
    start = 0
    for stop in range(1, len(ordered_lengths) + 1):
        is_last = stop == len(ordered_lengths)
        if is_last or (stop + 1 - start) * ordered_lengths[stop] > budget_tokens:
            slices.append(slice(start, stop))
            start = stop
    return slices


def pad_rows(ids: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Right-pad rows to the longest: int64 ids and attention mask, both of shape (rows, tokens)."""
    width = max(len(row) for row in ids)
    padded = np.full((len(ids), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(ids), width), dtype=np.int64)
    for i, row in enumerate(ids):
        padded[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return padded, mask
