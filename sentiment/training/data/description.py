"""Describe texts by a few numbers, so that duplicates are found without holding the texts in memory."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from datasketch import MinHash

from ...evaluation.details import CATEGORY, DATE, STARS, TITLE
from ...inference.rejects import find_reject_reasons

# Two texts are near duplicates from this share of common shingles, runs of so many words.
NEAR_SHARE = 0.8
SHINGLE_WORDS = 3
# With so many bands of so many hashes, 99.6 % of the pairs at NEAR_SHARE have a band in common.
N_BANDS, BAND_HASHES = 14, 5
# Only so many words at the beginning of a text are compared.
_MAX_WORDS = 1_000
# The letters before it are Latin, with accents, and phonetic.
_FIRST_OTHER_LETTER = "\u0370"
_WORD = re.compile(r"\w+")

SCHEMA = pa.schema(
    {
        "text": pa.large_string(),
        "label": pa.int32(),
        "group": pa.int64(),
        "reason": pa.string(),
        "digest": pa.int64(),
        "spaced_digest": pa.int64(),
        "words_digest": pa.int64(),
        "is_other_script": pa.bool_(),
    }
)
# Further columns, of those details that the data set has.
_DETAIL_TYPES = {
    CATEGORY: pa.string(),
    STARS: pa.string(),
    DATE: pa.timestamp("s", "UTC"),
    TITLE: pa.string(),
}


def make_schema(details: Collection[str]) -> pa.Schema:
    """Return `SCHEMA` with a column for each of these details."""
    further = [pa.field(name, kind) for name, kind in _DETAIL_TYPES.items() if name in details]
    return pa.schema([*SCHEMA, *further])


def describe_texts(texts: Sequence[Any]) -> dict[str, list[Any]]:
    """Return, for each value, the columns of `SCHEMA` that its text decides, and `bands`.

    `reason` is why no model would score the value (null: none); `text` is null then. `digest` is that of the
    text, `spaced_digest` that of its parts with single spaces between them, `words_digest` that of its words
    without case and punctuation. `is_other_script` is true if most letters are not Latin. `bands` are
    `N_BANDS` hashes of its shingles, uint32: two texts with a common one are candidates for near duplicates.
    """
    reasons = find_reject_reasons(texts)
    clean = [text if reason is None else "" for text, reason in zip(texts, reasons, strict=True)]
    words = [split_words(text) for text in clean]
    return {
        "text": [text if reason is None else None for text, reason in zip(texts, reasons, strict=True)],
        "reason": reasons,
        "digest": [_digest(text) for text in clean],
        "spaced_digest": [_digest(" ".join(text.split())) for text in clean],
        "words_digest": [_digest(" ".join(found)) for found in words],
        "bands": _make_bands(words),
        "is_other_script": [_is_other_script(text) for text in clean],
    }


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case; the text itself if it has none, such as one of emoji."""
    # An accent may be part of its letter, or a character of its own.
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold()) or [text]


def make_shingles(words: Sequence[str]) -> set[str]:
    """Return the runs of `SHINGLE_WORDS` among the first words; a shorter text is one shingle."""
    first = words[:_MAX_WORDS]
    return {" ".join(first[i : i + SHINGLE_WORDS]) for i in range(max(1, len(first) - SHINGLE_WORDS + 1))}


def are_near(text: str, other: str) -> bool:
    """Return True if the texts have at least `NEAR_SHARE` of their shingles in common."""
    mine, theirs = make_shingles(split_words(text)), make_shingles(split_words(other))
    return len(mine & theirs) >= NEAR_SHARE * len(mine | theirs)


def _make_bands(texts: Sequence[Sequence[str]]) -> list[list[int]]:
    shingles = ([shingle.encode() for shingle in make_shingles(words)] for words in texts)
    signatures = MinHash.generator(
        shingles, num_perm=N_BANDS * BAND_HASHES, seed=1, hashfunc=xxhash.xxh32_intdigest
    )
    size = BAND_HASHES * 8
    rows = (signature.hashvalues.astype(np.uint64).tobytes() for signature in signatures)
    return [[xxhash.xxh32_intdigest(row[i * size : (i + 1) * size]) for i in range(N_BANDS)] for row in rows]


def _digest(text: str) -> int:
    return int(np.uint64(xxhash.xxh64_intdigest(text.encode())).view(np.int64))


def _is_other_script(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(letter >= _FIRST_OTHER_LETTER for letter in letters) > len(letters)
