"""The one place that touches the `tokenizers` library."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as _Tokenizer

TOKENIZER_FILE = "tokenizer.json"
HEAD = "head"
HEAD_TAIL = "head_tail"
TRUNCATIONS = (HEAD, HEAD_TAIL)
"""What is kept of a review that has too many tokens: its beginning, or a quarter of it and its end."""
_HEAD_SHARE = 0.25
"""Of a `head_tail` cut; the figure that Sun et al., "How to Fine-Tune BERT for Text Classification?",
2019, use (128 of 510)."""
_CHUNK_TEXTS = 64
"""Texts tokenised at a time: the library's own objects take a hundred times the room of the ids (512 at a
time: 4 MB more)."""


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, unpadded.

    `ids[i]` is an int32 array with special tokens, cut at the model's maximum; `lengths` holds their
    sizes; `truncated[i]` says that text i had more tokens; `n_special_tokens` of each are special.
    """

    ids: list[np.ndarray]
    lengths: np.ndarray
    truncated: np.ndarray
    n_special_tokens: int


class Tokenizer:
    """Reads tokenizer.json, whose truncation length is the model's `max_length` unless that is given.

    Raises ValueError if neither states one: a text of any length must fit the model.
    """

    def __init__(self, folder: Path, truncation: str = HEAD, max_length: int | None = None) -> None:
        self._tokenizer = _Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        stated = max_length or (self._tokenizer.truncation or {}).get("max_length")
        if stated is None:
            raise ValueError(f"{folder / TOKENIZER_FILE} states no truncation length")
        self.max_length: int = stated
        self._truncation = truncation
        # Cut here: the library keeps either end of a text, and what it cuts off as objects of their own.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        specials = self._tokenizer.encode("a").special_tokens_mask
        self._n_leading = specials.index(0)
        self._n_trailing = specials[::-1].index(0)

    def encode(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenise all texts, in order; texts must be valid Unicode."""
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
        for start in range(0, len(texts), _CHUNK_TEXTS):
            for encoding in self._tokenizer.encode_batch_fast(list(texts[start : start + _CHUNK_TEXTS])):
                yield np.asarray(encoding.ids, dtype=np.int32)

    def _cut(self, row: np.ndarray) -> np.ndarray:
        """`max_length` tokens of a longer row, its special tokens among them."""
        n_body = self.max_length - self._n_leading - self._n_trailing
        n_head = n_body if self._truncation == HEAD else int(n_body * _HEAD_SHARE)
        n_tail = n_body - n_head + self._n_trailing
        return np.concatenate([row[: self._n_leading + n_head], row[len(row) - n_tail :]])


def cut_tokenizer(source: Path, folder: Path, max_length: int) -> None:
    """Write `source`'s tokenizer.json into `folder` with truncation at `max_length` tokens."""
    tokenizer = _Tokenizer.from_file(str(source / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    tokenizer.save(str(folder / TOKENIZER_FILE))
