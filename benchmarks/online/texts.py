"""Draw what is asked: whole reviews of real lengths, and short ones of a sentence."""

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
    """Distinct texts with their tokens, from which runs of any size draw the same lengths."""

    texts: list[str]
    lengths: list[int]

    def draw(self, rows: int, n_warm: int, seed: int) -> tuple[list[str], list[str]]:
        """Return texts to warm up with, and `rows` others whose lengths are spread as the pool's."""
        measured = corpus.draw_stratified(self.texts, self.lengths, rows, seed)
        taken = set(measured)
        others = [text for text in corpus.draw_texts(self.texts, len(self.texts), seed) if text not in taken]
        return others[:n_warm], measured


def load_pools(encoder: Path) -> dict[str, Pool]:
    """Return the two kinds of texts, each in a pool of its own."""
    reviews = corpus.load_texts()
    sentences = list(dict.fromkeys(filter(None, map(_find_sentence, reviews))))
    return {REAL: _make_pool(reviews, encoder), SHORT: _make_pool(sentences, encoder)}


def _find_sentence(review: str) -> str | None:
    """Return the first of its sentences that is neither an exclamation nor a paragraph."""
    for sentence in _SENTENCE_END.split(review):
        if _SHORTEST_CHARS <= len(sentence.strip()) <= _LONGEST_CHARS:
            return sentence.strip()
    return None


def _make_pool(texts: Sequence[str], encoder: Path) -> Pool:
    drawn = corpus.draw_texts(texts, _POOL_TEXTS, seed=1)
    return Pool(drawn, corpus.count_tokens(drawn, encoder))
