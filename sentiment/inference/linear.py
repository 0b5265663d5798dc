"""Score texts by the linear stage of the cascade, a logistic regression on hashed word n-grams.

The model stores hashes of n-grams, so it contains no words of reviews, and workers need no vocabulary.
"""

import functools
import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

LINEAR_FILE = "linear.safetensors"
N_BUCKETS = 2**20
# Shorter reviews always go to the encoder, which is fast on them; here a single word could mislead.
MIN_TOKENS = 32
# Only the first characters of a text are read: far more than the encoder reads, but a bound on the work.
MAX_CHARS = 20_000
# A longer word is read as several words, which bounds the memory of the word cache.
_WORD = re.compile(r"[^\W_]{1,40}(?:'[^\W_]{1,40}){0,2}|[!?]")
# The words after a negation get another hash: `not a good one` does not contain `good`.
NEGATED_WORDS = 4
_NEGATIONS = frozenset(
    ("not", "no", "never", "nothing", "none", "hardly", "without", "cannot", "cant", "dont", "isnt", "wasnt")
)
# The logarithm of 0 is not finite.
_SMALLEST = 1e-15
# The exponential of a larger one may not be finite.
_MAX_LOG_ODDS = 700.0
# Texts scored at once: with `MAX_CHARS` it bounds the memory for their features.
_PART_TEXTS = 100


@dataclass(frozen=True)
class Features:
    """Hold the distinct n-grams of `n` texts.

    For each n-gram, `texts` has the position of its text, `buckets` its bucket, and `counts` 1 + ln of the
    number of times that the text has it.
    """

    n: int
    texts: np.ndarray
    buckets: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class OpinionPool:
    """Combine the probabilities of both stages: a weighted sum of their log odds, and a bias.

    This is a logarithmic opinion pool (Genest and Zidek, "Combining Probability Distributions", 1986) whose
    weights need not add up to 1. The log odds of both stages contain the shares of the classes; the bias can
    take them off once. With the default values the encoder decides.
    """

    encoder: float = 1.0
    linear: float = 0.0
    bias: float = 0.0

    def apply(self, encoder: np.ndarray, linear: np.ndarray) -> np.ndarray:
        """Return the pooled probabilities of the second class, float64 (n,), from those of both stages.

        Where that of the linear stage is NaN, the result is that of the encoder.
        """
        log_odds = self.encoder * find_log_odds(encoder) + self.linear * find_log_odds(linear) + self.bias
        pooled = 1 / (1 + np.exp(-np.clip(log_odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)))
        return np.where(np.isnan(linear), encoder, pooled)

    def undo(self, pooled: np.ndarray, linear: np.ndarray) -> np.ndarray:
        """Return the probabilities of the encoder from the result of `apply`."""
        inverse = OpinionPool(1 / self.encoder, -self.linear / self.encoder, -self.bias / self.encoder)
        return inverse.apply(pooled, linear)


def find_log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the log odds of probabilities, float64 of the same shape; NaN stays NaN."""
    first, second = (np.maximum(values, _SMALLEST) for values in (1 - probabilities, probabilities))
    odds: np.ndarray = np.log(second) - np.log(first)
    return odds


def with_first_class(second: np.ndarray) -> np.ndarray:
    """Return the probabilities of both classes, (n, 2), from those of the second class, (n,)."""
    return np.stack([1 - second, second], axis=1)


@dataclass(frozen=True)
class LinearStage:
    """Hold a calibrated logistic regression on the TF-IDF of word 1- and 2-grams.

    `idf` and `weight` are float32 arrays of `N_BUCKETS`. This stage decides a review if the probability of
    the likelier label is at least `threshold`; elsewhere `pool` combines it with the encoder. An n-gram that
    is new to the model has the largest idf and no weight, which moves the log odds towards `bias`: on new
    subjects this stage decides fewer reviews, and counts for less in the others.
    """

    idf: np.ndarray
    weight: np.ndarray
    bias: float
    threshold: float
    pool: OpinionPool = OpinionPool()

    @classmethod
    def load(cls, path: Path) -> "LinearStage":
        """Read a file that `save` wrote."""
        arrays = load_file(path)
        bias, threshold, *weights = arrays["decision"].tolist()
        return cls(arrays["idf"], arrays["weight"], bias, threshold, OpinionPool(*weights))

    def save(self, path: Path) -> None:
        """Write the stage to a safetensors file."""
        decision = np.array([self.bias, self.threshold, *astuple(self.pool)])
        save_file({"idf": self.idf, "weight": self.weight, "decision": decision}, path)

    def second_class_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Return the calibrated probability of the second class, float64 (n,), for each text."""
        starts = range(0, len(texts), _PART_TEXTS)
        parts = [self._score(texts[start : start + _PART_TEXTS]) for start in starts]
        return np.concatenate(parts) if parts else np.empty(0)

    def decide(self, texts: Sequence[str], n_tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which texts this stage decides, bool (n,), and its probabilities of the second class.

        The probability, float64 (n,), is NaN for a text of fewer than `MIN_TOKENS` tokens, which only the
        encoder reads. `n_tokens` are the numbers of tokens that the encoder would read, (n,).
        """
        probabilities = np.full(len(texts), np.nan)
        rows = np.flatnonzero(n_tokens >= MIN_TOKENS)
        probabilities[rows] = self.second_class_probabilities([texts[int(i)] for i in rows])
        return np.maximum(probabilities, 1 - probabilities) >= self.threshold, probabilities

    def _score(self, texts: Sequence[str]) -> np.ndarray:
        features = extract_features(texts)
        values = weigh(features, self.idf)
        logits = np.bincount(features.texts, values * self.weight[features.buckets], features.n) + self.bias
        probabilities: np.ndarray = 1 / (1 + np.exp(-logits))
        return probabilities


def extract_features(texts: Sequence[str]) -> Features:
    """Return the distinct word 1- and 2-grams of each text; words are lower-cased, `!` and `?` are words.

    Only the first `MAX_CHARS` characters are read. The `NEGATED_WORDS` words after an English negation, up to
    a `!` or `?`, are different 1-grams than without it (Das and Chen 2001; Pang et al. 2002).
    """
    hashed = [_hash_ngrams(text) for text in texts]
    numbers = np.repeat(np.arange(len(texts), dtype=np.int64), [len(buckets) for buckets in hashed])
    buckets = np.concatenate([np.asarray(b, dtype=np.int64) for b in hashed]) if hashed else numbers
    keys, counts = np.unique(numbers * N_BUCKETS + buckets, return_counts=True)
    return Features(len(texts), keys // N_BUCKETS, keys % N_BUCKETS, 1 + np.log(counts))


def weigh(features: Features, idf: np.ndarray) -> np.ndarray:
    """Return the TF-IDF of each feature, float64; the vector of each text has length 1."""
    values = features.counts * idf[features.buckets]
    # `bincount` adds in the order of the features, so the other texts cannot change the rounding of a sum.
    norms = np.sqrt(np.bincount(features.texts, values**2, features.n))
    weighed: np.ndarray = values / norms[features.texts]
    return weighed


def _hash_ngrams(text: str) -> list[int]:
    """Return the buckets of the words and pairs of words of a text, with repetitions."""
    words = [_encode(word) for word in _WORD.findall(text[:MAX_CHARS].lower().replace("\u2019", "'"))]
    singles = []
    negated_words = 0
    for _, plain, negated, scope_words in words:
        if scope_words is None and negated_words:
            negated_words -= 1
            singles.append(negated)
        else:
            negated_words = scope_words or 0
            singles.append(plain)
    pairs = [zlib.crc32(second[0], first[1]) for first, second in itertools.pairwise(words)]
    return [bucket & (N_BUCKETS - 1) for bucket in (*singles, *pairs)]


@functools.lru_cache(maxsize=50_000)
def _encode(word: str) -> tuple[bytes, int, int, int | None]:
    """Return the bytes of a word, its plain and its negated hash, and the number of words that it negates.

    The number is None for an ordinary word, which neither begins nor ends a negation.
    """
    encoded = b" " + word.encode()
    is_negation = word in _NEGATIONS or word.endswith("n't")
    scope_words = NEGATED_WORDS if is_negation else 0 if word in "!?" else None
    return encoded, zlib.crc32(encoded), zlib.crc32(b"~" + encoded), scope_words
