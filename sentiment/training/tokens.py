"""Tokenise and pad training data as the packaged model does, so that it trains on what it scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf

from ..inference import tokenization
from ..inference.minibatches import pad_rows
from ..inference.tokenization import Tokenizer
from .data import cache

INPUT_IDS, LABELS = "input_ids", "labels"
_CACHE_FILE = "tokens.arrow"
# Arrow needs four bytes per token; Python lists of millions of rows would not fit into memory.
_IDS = ListOf(Value("int32"))


def tokenize_once(rows: Dataset, tokenizer: Tokenizer, release: Callable[[], None] = lambda: None) -> str:
    """Tokenise rows into the cache of prepared data, or find them there; return the path of the file.

    `release` gives back the memory of the rows that were read; it is called after each thousand.
    """
    root = cache.prepared_cache()
    code = [Path(__file__), Path(tokenization.__file__)]
    key = cache.make_key(code, ["tokens", rows._fingerprint, tokenizer.describe()])
    if cache.find_entry(key, root) is None:
        with cache.write_entry(key, root) as folder:
            tokenize(rows, tokenizer, folder / _CACHE_FILE, release)
    return str(root / key / _CACHE_FILE)


def tokenize(
    rows: Dataset,
    tokenizer: Tokenizer,
    cache_file: Path | None = None,
    release: Callable[[], None] = lambda: None,
) -> Dataset:
    """Replace the columns `text` and `label` by `input_ids` (int32, special tokens included) and `labels`.

    A label is a class id or the probabilities of all classes.
    The result goes to `cache_file`, which is overwritten; without one it stays in memory if `rows` do. The
    tokenizer uses all cores.
    """

    def encode(batch: Mapping[str, Any]) -> dict[str, Any]:
        tokens = {INPUT_IDS: tokenizer.encode(batch["text"]).ids, LABELS: batch["label"]}
        release()
        return tokens

    return rows.map(
        encode,
        batched=True,
        remove_columns=rows.column_names,
        features=Features({INPUT_IDS: _IDS, LABELS: rows.features["label"]}),
        cache_file_name=None if cache_file is None else str(cache_file),
        load_from_cache_file=False,
        # Without one `datasets` hashes the function and all that it refers to, and warns that it cannot.
        new_fingerprint=f"{rows._fingerprint[:32]}-tokens",
    )


def pad_batch(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Make the tensors of a training step from rows of `tokenize`, padded as the engines pad them."""
    ids, mask = pad_rows([np.asarray(row[INPUT_IDS]) for row in rows], pad_id)
    return {
        INPUT_IDS: torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        LABELS: torch.tensor([row[LABELS] for row in rows]),
    }
