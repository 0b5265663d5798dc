"""Draw the texts of the requests: whole reviews, and single sentences."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..measuring import corpus

REAL = "real"
SHORT = "short"
_POOL_TEXTS = 4_000
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SHORTEST_CHARS, _LONGEST_CHARS = 20, 120


@dataclass(frozen=True)
class Pool:
    """Hold distinct texts and their tokens; samples of any size have the same distribution of lengths."""

    texts: list[str]
    lengths: list[int]

    def draw(self, rows: int, n_warm: int, seed: int) -> tuple[list[str], list[str]]:
        """Return texts for the warm-up, and `rows` others with the distribution of lengths of the pool."""
        measured = corpus.draw_stratified(self.texts, self.lengths, rows, seed)
        taken = set(measured)
        others = [text for text in corpus.draw_texts(self.texts, len(self.texts), seed) if text not in taken]
        return others[:n_warm], measured


def load_pools(encoder: Path) -> dict[str, Pool]:
    """Return a pool for each of the two kinds of texts."""
    reviews = corpus.load_texts()
    sentences = list(dict.fromkeys(filter(None, map(_find_sentence, reviews))))
    return {REAL: _make_pool(reviews, encoder), SHORT: _make_pool(sentences, encoder)}


def _find_sentence(review: str) -> str | None:
    """Return the first sentence of the review that is neither an exclamation nor a paragraph."""
    for sentence in _SENTENCE_END.split(review):
        if _SHORTEST_CHARS <= len(sentence.strip()) <= _LONGEST_CHARS:
            return sentence.strip()
    return None


def _make_pool(texts: Sequence[str], encoder: Path) -> Pool:
    drawn = corpus.draw_texts(texts, _POOL_TEXTS, seed=1)
    return Pool(drawn, corpus.count_tokens(drawn, encoder))
