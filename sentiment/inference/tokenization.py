"""Tokenise and truncate texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as _Tokenizer

TOKENIZER_FILE = "tokenizer.json"
# `head` keeps the first tokens of a long review, `head_tail` a quarter of them and the last tokens.
HEAD = "head"
HEAD_TAIL = "head_tail"
# As in Sun et al., "How to Fine-Tune BERT for Text Classification?", 2019 (128 of 510 tokens).
_HEAD_SHARE = 0.25
# A text that has tokens: a single letter may be a stop word, which some tokenizers remove.
_PROBE = "The battery is good and I love it 1 !"
# Number of texts passed to the library at once. Its objects take a hundred times the memory of the token ids.
_CALL_TEXTS = 64


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, unpadded.

    `ids[i]` is an int32 array with special tokens, at most the maximum length of the model. `lengths` are
    the sizes of these arrays. `truncated[i]` is True if text i had more tokens. Each array has
    `n_special_tokens`.
    """

    ids: list[np.ndarray]
    lengths: np.ndarray
    truncated: np.ndarray
    n_special_tokens: int


class Tokenizer:
    """Tokenise texts as the tokenizer.json in a model folder defines.

    `max_length` defaults to the truncation length in the file. Raises ValueError if there is neither.
    """

    def __init__(self, folder: Path, truncation: str = HEAD, max_length: int | None = None) -> None:
        self._tokenizer = _Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        stated = max_length or (self._tokenizer.truncation or {}).get("max_length")
        if stated is None:
            raise ValueError(f"{folder / TOKENIZER_FILE}: has no truncation length; package the model again")
        self.max_length: int = stated
        self._truncation = truncation
        # `_cut` truncates: the library cannot keep both ends of a text, and would keep the removed tokens
        # too.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        make_exact(self._tokenizer)
        specials = self._tokenizer.encode(_PROBE).special_tokens_mask
        if 0 not in specials:
            raise ValueError(
                f"{folder / TOKENIZER_FILE}: has no token for {_PROBE!r}, expected some; its normalizer may "
                "remove all letters; package the model again with the tokenizer of its encoder"
            )
        self._n_leading = specials.index(0)
        self._n_trailing = specials[::-1].index(0)

    def describe(self) -> str:
        """Return a string that identifies the tokens that this tokenizer makes, for keys of caches."""
        return f"{self._tokenizer.to_str()} {self.max_length} {self._truncation}"

    def encode(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenise texts, in order; they must be valid Unicode."""
        ids: list[np.ndarray] = []
        truncated = np.zeros(len(texts), dtype=bool)
        for i, row in enumerate(self._encode_whole(texts)):
            truncated[i] = len(row) > self.max_length
            ids.append(self._cut(row) if truncated[i] else row)
        return TokenizedTexts(
            ids=ids,
            lengths=np.array([len(row) for row in ids], dtype=np.int64),
            truncated=truncated,
            n_special_tokens=self._n_leading + self._n_trailing,
        )

    def _encode_whole(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        for start in range(0, len(texts), _CALL_TEXTS):
            for encoding in self._tokenizer.encode_batch_fast(list(texts[start : start + _CALL_TEXTS])):
                yield np.asarray(encoding.ids, dtype=np.int32)

    def _cut(self, row: np.ndarray) -> np.ndarray:
        """Cut a longer row to `max_length` tokens, special tokens included."""
        n_body = self.max_length - self._n_leading - self._n_trailing
        n_head = n_body if self._truncation == HEAD else int(n_body * _HEAD_SHARE)
        n_tail = n_body - n_head + self._n_trailing
        return np.concatenate([row[: self._n_leading + n_head], row[len(row) - n_tail :]])


def save_truncating_tokenizer(source: Path, folder: Path, max_length: int) -> None:
    """Write `source`'s tokenizer.json into `folder` with truncation at `max_length` tokens."""
    tokenizer = _Tokenizer.from_file(str(source / TOKENIZER_FILE))
    tokenizer.no_padding()
    make_exact(tokenizer)
    tokenizer.enable_truncation(max_length)
    tokenizer.save(str(folder / TOKENIZER_FILE))


def make_exact(tokenizer: _Tokenizer) -> bool:
    """Switch off the dropout of BPE, which gives a text other tokens in each call; return True if it was off.

    It is for training only, and the predictions of a model must not depend on chance.
    """
    model: Any = tokenizer.model
    if not getattr(model, "dropout", None):
        return True
    model.dropout = None
    return False
