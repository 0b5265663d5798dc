"""Predict classes out of fold by cheap linear models, to judge labels by a model that never saw them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags_array
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

FOLDS = 10
_INVERSE_REGULARISATION = 10.0
_MIN_TEXTS = 3
_CONTRAST_POWER = 0.5
_MAX_STEPS = 1_000
# Encodings have hundreds of columns that all are noisy, n-grams tens of thousands of which few count.
_ENCODING_INVERSE_REGULARISATION = 0.003
# Below it a probability has no finite logarithm.
_SMALLEST = 1e-9
# The solver's vectors are short: with two threads of BLAS on a busy machine it took seven times as long.
_THREADS = 1


@dataclass(frozen=True)
class LinearModel:
    """Hold a fitted classifier, and the scale of each column of its features; `k` counts all classes."""

    classifier: LogisticRegression
    scale: np.ndarray
    k: int

    def predict(self, features: csr_matrix) -> np.ndarray:
        """Return class probabilities, float64 (n, K); 0 for a class that was not in training."""
        found = np.zeros((features.shape[0], self.k))
        found[:, self.classifier.classes_] = self.classifier.predict_proba(features @ diags_array(self.scale))
        return found


@dataclass(frozen=True)
class Ngrams:
    """Hold weights (TF-IDF) of words and pairs of words, float32 (texts, n-grams), and what computes them."""

    weights: csr_matrix
    vectorizer: TfidfVectorizer


def extract_ngrams(texts: Sequence[str]) -> Ngrams | None:
    """Return the n-grams that several texts have; None if there are none."""
    rarest = min(_MIN_TEXTS, len(texts))
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=rarest, dtype=np.float32)
    try:
        return Ngrams(csr_matrix(vectorizer.fit_transform(texts)), vectorizer)
    except ValueError as error:  # scikit-learn has no class for it
        if "empty vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise


def fit_linear(
    features: csr_matrix, classes: np.ndarray, k: int, c: float = _INVERSE_REGULARISATION
) -> LinearModel:
    """Fit a logistic regression that favours n-grams in which a class differs from the others.

    `c` is the inverse of the regularisation. Each column is scaled by its largest log ratio of shares between
    a class and the others, after Wang and Manning, "Baselines and Bigrams", ACL 2012.
    """
    is_there = (features > 0).astype(np.float32)
    total = 1 + _sum_rows(is_there)
    contrast = np.zeros(features.shape[1], dtype=np.float32)
    for label in np.unique(classes):
        own = 1 + _sum_rows(is_there[classes == label])
        others = 1 + total - own
        ratio = np.log((own / own.sum()) / (others / others.sum()))
        contrast = np.maximum(contrast, np.abs(ratio))
    scale = contrast**_CONTRAST_POWER
    classifier = LogisticRegression(C=c, max_iter=_MAX_STEPS)
    with threadpool_limits(_THREADS):
        classifier.fit(features @ diags_array(scale), classes)
    return LinearModel(classifier, scale, k)


def predict_ngrams(
    features: csr_matrix, classes: np.ndarray, k: int, seed: int, is_left_out: np.ndarray | None = None
) -> np.ndarray:
    """Return (n, K) probabilities of `FOLDS` models on n-grams, each for the rows it was not trained on.

    No model is trained on rows that are left out, bool (n,); their probabilities are returned too.
    """
    found = np.empty((len(classes), k))
    for fitted, held in split_folds(classes, seed):
        rows = fitted if is_left_out is None else fitted[~is_left_out[fitted]]
        found[held] = fit_linear(features[rows], classes[rows], k).predict(features[held])
    return found


def predict_encodings(encodings: np.ndarray, classes: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return probabilities as `predict_ngrams`, from vectors (n, width) that an encoder gives the texts."""
    spread = encodings.std(axis=0)
    scaled = (encodings - encodings.mean(axis=0)) / np.where(spread == 0, 1, spread)
    return _predict(scaled, classes, k, _ENCODING_INVERSE_REGULARISATION, seed)


def stack(parts: Sequence[np.ndarray], classes: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Join out-of-fold probabilities of several models into one, again out of fold."""
    logarithms = np.concatenate([np.log(np.maximum(part, _SMALLEST)) for part in parts], axis=1)
    return _predict(logarithms, classes, k, 1.0, seed)


def _predict(columns: np.ndarray, classes: np.ndarray, k: int, c: float, seed: int) -> np.ndarray:
    found = np.zeros((len(classes), k))
    for fitted, held in split_folds(classes, seed):
        model = LogisticRegression(C=c, max_iter=500)
        with threadpool_limits(_THREADS):
            model.fit(columns[fitted], classes[fitted])
        found[np.ix_(held, model.classes_)] = model.predict_proba(columns[held])
    return found


def split_folds(classes: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the positions to train on and to predict, for each fold."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(classes)), classes))


def _sum_rows(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.sum(axis=0), dtype=np.float32).ravel()
