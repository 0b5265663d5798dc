"""The one place that touches the `tokenizers` library."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as _Tokenizer

TOKENIZER_FILE = "tokenizer.json"


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
    """Reads tokenizer.json, whose truncation length is the model's `max_length`.

    Raises ValueError if the file states no truncation: a text of any length must fit the model.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = _Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        truncation = self._tokenizer.truncation
        if truncation is None:
            raise ValueError(f"{folder / TOKENIZER_FILE} states no truncation length")
        self.max_length: int = truncation["max_length"]
        self._tokenizer.no_padding()
        self._n_special_tokens: int = self._tokenizer.num_special_tokens_to_add(False)

    def encode(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenise all texts at once, in order; texts must be valid Unicode."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        ids = [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]
        return TokenizedTexts(
            ids=ids,
            lengths=np.array([len(row) for row in ids], dtype=np.int64),
            truncated=np.array([bool(encoding.overflowing) for encoding in encodings], dtype=bool),
            n_special_tokens=self._n_special_tokens,
        )


def cut_tokenizer(source: Path, folder: Path, max_length: int) -> None:
    """Write `source`'s tokenizer.json into `folder` with truncation at `max_length` tokens."""
    tokenizer = _Tokenizer.from_file(str(source / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    tokenizer.save(str(folder / TOKENIZER_FILE))
