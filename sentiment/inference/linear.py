"""Score by the linear stage of the cascade: hashed word n-grams, in numpy only.

N-grams are known by their hash. So the model carries no words of anybody's reviews, and needs no table of
them in every worker.
"""

import functools
import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

LINEAR_FILE = "linear.safetensors"
N_BUCKETS = 2**20
MIN_TOKENS = 32
"""Shorter reviews always go to the encoder: one word misleads there, and they cost it least."""
MAX_CHARS = 20_000
"""What is read of a text: far more than the encoder reads, and a bound on the work that one text can make."""
_WORD = re.compile(r"[^\W_]{1,40}(?:'[^\W_]{1,40}){0,2}|[!?]")
"""Bounded, so that the cache of words is: what is longer is read as several words."""
NEGATED_WORDS = 4
"""How many words after a negation are other words than elsewhere: `not a good one` has no `good`."""
_NEGATIONS = frozenset(
    ("not", "no", "never", "nothing", "none", "hardly", "without", "cannot", "cant", "dont", "isnt", "wasnt")
)
_CHUNK_TEXTS = 1_000
_CHUNK_CHARS = 2_000_000


@dataclass(frozen=True)
class Features:
    """Distinct n-grams of n texts: for each, which text it is in, its bucket, and 1 + ln(its count)."""

    n: int
    texts: np.ndarray
    buckets: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class LinearStage:
    """A calibrated logistic regression on TF-IDF of word 1- and 2-grams, and when to believe it.

    `idf` and `weight` are float32 of `N_BUCKETS`. An n-gram that training never saw has the largest idf and
    no weight: it makes the text's vector longer and its logit smaller, so that a review about
    other things than those trained on is decided less often. `threshold` is the probability of the likelier
    label from which a review is decided here.
    """

    idf: np.ndarray
    weight: np.ndarray
    bias: float
    threshold: float

    @classmethod
    def load(cls, path: Path) -> "LinearStage":
        """Read what `save` wrote."""
        arrays = load_file(path)
        bias, threshold = arrays["decision"].tolist()
        return cls(arrays["idf"], arrays["weight"], bias, threshold)

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        decision = np.array([self.bias, self.threshold])
        save_file({"idf": self.idf, "weight": self.weight, "decision": decision}, path)

    def positive_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probability of positive, float64 (n,); a text's does not depend on the others."""
        parts = [self._score(texts[chunk]) for chunk in _plan_chunks(texts)]
        return np.concatenate(parts) if parts else np.empty(0)

    def decide(self, texts: Sequence[str], n_tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the texts that are decided here (bool), and the probability of positive of each of these.

        `n_tokens` are the texts' tokens for the encoder. The probability is NaN where nothing is decided.
        """
        probabilities = np.full(len(texts), np.nan)
        rows = np.flatnonzero(n_tokens >= MIN_TOKENS)
        found = self.positive_probabilities([texts[int(i)] for i in rows])
        is_sure = np.maximum(found, 1 - found) >= self.threshold
        probabilities[rows[is_sure]] = found[is_sure]
        return ~np.isnan(probabilities), probabilities

    def _score(self, texts: Sequence[str]) -> np.ndarray:
        features = extract_features(texts)
        values = weigh(features, self.idf)
        logits = np.bincount(features.texts, values * self.weight[features.buckets], features.n) + self.bias
        probabilities: np.ndarray = 1 / (1 + np.exp(-logits))
        return probabilities


def extract_features(texts: Sequence[str]) -> Features:
    """Distinct word 1- and 2-grams of each text; words are lower-cased, `!` and `?` are words.

    Of a longer text the first `MAX_CHARS` characters are read. The `NEGATED_WORDS` words after an English
    negation, up to a `!` or `?`, are other 1-grams than without it (Das and Chen 2001; Pang et al. 2002).
    """
    hashed = [_hash_ngrams(text) for text in texts]
    numbers = np.repeat(np.arange(len(texts), dtype=np.int64), [len(buckets) for buckets in hashed])
    buckets = np.concatenate([np.asarray(b, dtype=np.int64) for b in hashed]) if hashed else numbers
    keys, counts = np.unique(numbers * N_BUCKETS + buckets, return_counts=True)
    return Features(len(texts), keys // N_BUCKETS, keys % N_BUCKETS, 1 + np.log(counts))


def weigh(features: Features, idf: np.ndarray) -> np.ndarray:
    """TF-IDF of each feature, each text's vector of length 1, float64."""
    values = features.counts * idf[features.buckets]
    # Summed in the order of a text's own buckets: bit for bit the same in any company.
    norms = np.sqrt(np.bincount(features.texts, values**2, features.n))
    weighed: np.ndarray = values / norms[features.texts]
    return weighed


def _plan_chunks(texts: Sequence[str]) -> list[slice]:
    """Consecutive slices of few enough texts, and characters that are read, to fit into memory."""
    chunks = []
    start = n_chars = 0
    for i, text in enumerate(texts):
        n_chars += min(len(text), MAX_CHARS)
        if i > start and (n_chars > _CHUNK_CHARS or i - start == _CHUNK_TEXTS):
            chunks.append(slice(start, i))
            start, n_chars = i, min(len(text), MAX_CHARS)
    return [*chunks, slice(start, len(texts))] if texts else []


def _hash_ngrams(text: str) -> list[int]:
    words = [_encode(word) for word in _WORD.findall(text[:MAX_CHARS].lower().replace("\u2019", "'"))]
    singles = []
    negated_words = 0
    for _, plain, negated, scope_words in words:
        if scope_words is not None:
            negated_words = scope_words
            singles.append(plain)
        elif negated_words:
            negated_words -= 1
            singles.append(negated)
        else:
            singles.append(plain)
    pairs = [zlib.crc32(second[0], first[1]) for first, second in itertools.pairwise(words)]
    return [bucket & (N_BUCKETS - 1) for bucket in (*singles, *pairs)]


@functools.lru_cache(maxsize=50_000)
def _encode(word: str) -> tuple[bytes, int, int, int | None]:
    """Return a word as bytes that can follow another, its hashes, plain and negated, and how many it negates.

    The last is None if it leaves a negation as it is.
    """
    encoded = b" " + word.encode()
    is_negation = word in _NEGATIONS or word.endswith("n't")
    scope_words = NEGATED_WORDS if is_negation else 0 if word in "!?" else None
    return encoded, zlib.crc32(encoded), zlib.crc32(b"~" + encoded), scope_words
