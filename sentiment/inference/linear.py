"""The linear stage of the cascade: hashed word n-grams, in numpy alone.

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
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*|[!?]")
_CHUNK_TEXTS = 1_000


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
        parts = [self._score(texts[i : i + _CHUNK_TEXTS]) for i in range(0, len(texts), _CHUNK_TEXTS)]
        return np.concatenate(parts) if parts else np.empty(0)

    def decide(self, texts: Sequence[str], n_tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the texts are decided here (bool), and the probability of positive of each of these.

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
    """Distinct word 1- and 2-grams of each text; words are lower-cased, `!` and `?` are words."""
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


def _hash_ngrams(text: str) -> list[int]:
    words = _WORD.findall(text.lower())
    encoded = [_encode(word) for word in words]
    pairs = [zlib.crc32(second, first) for (_, first), (second, _) in itertools.pairwise(encoded)]
    return [bucket & (N_BUCKETS - 1) for bucket in (*(one for _, one in encoded), *pairs)]


@functools.lru_cache(maxsize=50_000)
def _encode(word: str) -> tuple[bytes, int]:
    """A word as bytes that can follow another, and its hash."""
    encoded = b" " + word.encode()
    return encoded, zlib.crc32(encoded)
