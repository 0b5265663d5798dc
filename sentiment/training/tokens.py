"""Tokenise and pad training data as the packaged model does, so that it trains on what it scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf

from ..inference.minibatches import pad_rows
from ..inference.tokenization import Tokenizer

INPUT_IDS, LABELS = "input_ids", "labels"
# Arrow needs four bytes per token; Python lists of millions of rows would not fit into memory.
_FEATURES = Features({INPUT_IDS: ListOf(Value("int32")), LABELS: Value("int64")})


def tokenize(
    rows: Dataset, tokenizer: Tokenizer, num_proc: int | None = None, cache_file: Path | None = None
) -> Dataset:
    """Replace the columns `text` and `label` by `input_ids` (int32, special tokens included) and `labels`.

    `num_proc` processes share the work. The result goes to `cache_file`, which is overwritten; without one it
    stays in memory if `rows` do.
    """

    def encode(batch: Mapping[str, Any]) -> dict[str, Any]:
        return {INPUT_IDS: tokenizer.encode(batch["text"]).ids, LABELS: batch["label"]}

    return rows.map(
        encode,
        batched=True,
        remove_columns=rows.column_names,
        features=_FEATURES,
        num_proc=num_proc,
        cache_file_name=None if cache_file is None else str(cache_file),
        load_from_cache_file=False,
    )


def pad_batch(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Make the tensors of a training step from rows of `tokenize`, padded as the engines pad them."""
    ids, mask = pad_rows([np.asarray(row[INPUT_IDS]) for row in rows], pad_id)
    return {
        INPUT_IDS: torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        LABELS: torch.tensor([row[LABELS] for row in rows]),
    }
