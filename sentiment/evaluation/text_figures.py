"""Measure texts by numbers per row: length, upper case, accents, letters of other scripts."""

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

CHARS = "n_chars"
UPPER_SHARE = "upper_share"
ACCENT_SHARE = "accent_share"
NON_LATIN_SHARE = "non_latin_share"
TEXT_FIGURES = (CHARS, UPPER_SHARE, ACCENT_SHARE, NON_LATIN_SHARE)

# Classes of characters.
_OTHER, _LOWER, _UPPER, _ACCENTED_LOWER, _ACCENTED_UPPER, _NON_LATIN = range(6)
# Letters beyond this plane, which are rare, count as no letters: that keeps the table small.
_BASIC_PLANE = 0x10000


def describe_texts(texts: "pd.Series[Any] | Sequence[Any]") -> pd.DataFrame:
    """Return TEXT_FIGURES of n texts as float32 columns, with the index of the texts.

    `n_chars` counts code points. The shares are of the letters: in upper case, Latin with an accent (outside
    ASCII), and of other scripts. A text without letters has shares of 0; a value that is no text has nulls.
    """
    values = pd.Series(texts, dtype=object)
    is_text = np.fromiter((isinstance(value, str) for value in values), dtype=bool, count=len(values))
    figures = np.full((len(values), len(TEXT_FIGURES)), np.nan, dtype=np.float32)
    figures[is_text] = _measure(values[is_text].tolist())
    return pd.DataFrame(figures, columns=list(TEXT_FIGURES), index=values.index)


def _measure(texts: list[str]) -> np.ndarray:
    """Return TEXT_FIGURES of texts, float32 (n, 4)."""
    figures = np.zeros((len(texts), len(TEXT_FIGURES)), dtype=np.float32)
    is_ascii = np.fromiter((text.isascii() for text in texts), dtype=bool, count=len(texts))
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    # Most texts are ASCII, which takes a quarter of the memory.
    for kind, encoding, width in ((True, "ascii", np.uint8), (False, "utf-32-le", "<u4")):
        rows = np.flatnonzero((is_ascii == kind) & (lengths > 0))
        if len(rows):
            # A lone surrogate has no encoding; here it is a character that is no letter.
            joined = "".join(texts[i] for i in rows).encode(encoding, "surrogatepass")
            figures[rows] = _count(np.frombuffer(joined, dtype=width), lengths[rows])
    return figures


def _count(characters: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return TEXT_FIGURES of texts of at least one character that stand one after the other."""
    table = _classify_characters()
    classes = table.take(characters, mode="clip")
    starts = np.cumsum(lengths) - lengths

    def count(wanted: int) -> np.ndarray:
        return np.asarray(np.add.reduceat(classes == wanted, starts, dtype=np.int64))

    lower, upper, non_latin = count(_LOWER), count(_UPPER), count(_NON_LATIN)
    accented_upper = count(_ACCENTED_UPPER)
    accented = count(_ACCENTED_LOWER) + accented_upper
    letters = np.maximum(1, lower + upper + accented + non_latin)
    return np.stack(
        [lengths, (upper + accented_upper) / letters, accented / letters, non_latin / letters], axis=1
    )


@functools.cache
def _classify_characters() -> np.ndarray:
    """Return the class of each code point, uint8; the last one, no character, stands for the rest."""
    return np.array([_classify(chr(code)) for code in range(_BASIC_PLANE)], dtype=np.uint8)


def _classify(character: str) -> int:
    if not character.isalpha():
        return _OTHER
    if character.isascii():
        return _UPPER if character.isupper() else _LOWER
    if not unicodedata.name(character, "").startswith("LATIN "):
        return _NON_LATIN
    return _ACCENTED_UPPER if character.isupper() else _ACCENTED_LOWER
