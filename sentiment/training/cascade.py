"""Train and calibrate the linear stage, weigh it against the encoder, and choose when it decides."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import chi2
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from ..evaluation.linear import fit_linear
from ..inference.linear import (
    MIN_TOKENS,
    N_BUCKETS,
    LinearStage,
    OpinionPool,
    extract_features,
    find_log_odds,
    weigh,
)

MAX_TRAIN_ROWS = 100_000
# Largest loss of accuracy at the lower confidence bound. The measured accuracy must not fall at all.
MAX_LOSS = 0.002
# If n reviews show no loss, a loss of 3 / n is still possible (rule of three, Hanley and Lippman-Hand 1983).
# A bootstrap over too few reviews cannot show such a loss.
MIN_VALIDATION_ROWS = 1_500
CONFIDENCE = 0.95
# Lower thresholds are not tried, because they may lose accuracy on kinds of reviews that validation lacks.
THRESHOLDS = tuple(np.round(np.arange(0.93, 0.996, 0.005), 3).tolist())
_BOOTSTRAPS = 2_000
# Both stages are combined only if a likelihood-ratio test is significant at this level.
_SIGNIFICANCE = 0.01
_MAX_WEIGHT = 2.0
# Inverse regularisation of the weights: hardly any, but they stay finite if the classes can be separated.
_WEAK = 100.0
_FOLDS = 5
# An n-gram in fewer texts gets no weight, to avoid overfitting.
_MIN_TEXTS = 3
_INVERSE_REGULARISATION = 30.0


@dataclass(frozen=True)
class CascadePoint:
    """Hold the results of both stages together at one threshold.

    `share_early` and `share_early_tokens` are the shares of reviews and of tokens that the linear stage
    decides; `difference_low` is the lower confidence bound of the accuracy minus that without early
    decisions.
    """

    threshold: float
    share_early: float
    share_early_tokens: float
    accuracy: float
    difference_low: float


@dataclass(frozen=True)
class CascadeChoice:
    """Hold the chosen threshold, None if none passed, and the results on `rows` validation reviews.

    `accuracy_pooled` is that of both stages without early decisions, `accuracy_pair` that of the model.
    """

    threshold: float | None
    pool: OpinionPool
    rows: int
    accuracy_encoder: float
    accuracy_pooled: float
    accuracy_pair: float
    accuracy_linear: float
    share_early: float
    share_early_tokens: float
    curve: tuple[CascadePoint, ...]

    @property
    def is_used(self) -> bool:
        """True if the linear stage decides reviews, or counts in those that the encoder reads."""
        return self.threshold is not None or self.pool != OpinionPool()

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers by name, for MLflow."""
        numbers = asdict(self) | {f"weight_{stage}": weight for stage, weight in asdict(self.pool).items()}
        return {f"cascade_{k}": float(v) for k, v in numbers.items() if isinstance(v, int | float)}


def train_linear(train: pd.DataFrame, seed: int) -> LinearStage | None:
    """Train on `text` and `label` of at most `MAX_TRAIN_ROWS` rows; with the threshold 2 nothing is decided.

    None if no n-gram is in `_MIN_TEXTS` texts.
    Weights and bias include a calibration by Platt's sigmoid on held-out folds (Platt, "Probabilistic Outputs
    for Support Vector Machines", 1999).
    """
    if len(train) > MAX_TRAIN_ROWS:
        train = train.sample(MAX_TRAIN_ROWS, random_state=seed)
    labels = train["label"].to_numpy()
    features = extract_features(train["text"].tolist())
    n_texts = np.bincount(features.buckets, minlength=N_BUCKETS)
    n_texts[n_texts < _MIN_TEXTS] = 0
    idf = (np.log((1 + len(train)) / (1 + n_texts)) + 1).astype(np.float32)
    known = np.flatnonzero(n_texts)
    if not len(known):
        return None
    positions = (features.texts, features.buckets)
    matrix = csr_matrix((weigh(features, idf), positions), shape=(features.n, N_BUCKETS))[:, known]
    slope, offset = _calibrate(matrix, labels, seed)
    coefficients, intercept = _fit(matrix, labels)
    weight = np.zeros(N_BUCKETS, dtype=np.float32)
    weight[known] = slope * coefficients
    return LinearStage(idf, weight, bias=slope * intercept + offset, threshold=2.0)


def _fit(matrix: csr_matrix, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return weights, which include the scale of each column, and intercept."""
    fitted = fit_linear(matrix, labels, 2, _INVERSE_REGULARISATION)
    return fitted.scale * fitted.classifier.coef_[0], float(fitted.classifier.intercept_[0])


def _calibrate(matrix: csr_matrix, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Fit slope and offset of Platt's sigmoid on the logits of held-out folds."""
    logits = np.empty(len(labels))
    for fitted, held in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(matrix, labels):
        weights, intercept = _fit(matrix[fitted], labels[fitted])
        logits[held] = matrix[held] @ weights + intercept
    platt = LogisticRegression(C=np.inf).fit(logits[:, None], labels)
    return float(platt.coef_[0, 0]), float(platt.intercept_[0])


def choose_cascade(
    linear: np.ndarray, encoder: np.ndarray, truth: np.ndarray, n_tokens: np.ndarray, seed: int
) -> CascadeChoice:
    """Weigh both stages, and choose the threshold that saves the encoder most tokens without a loss.

    `linear` and `encoder` are calibrated probabilities of the second class, `truth` class ids. A threshold
    passes if the accuracy is at least that without early decisions, and a one-sided bootstrap over reviews
    (95 %) shows a loss of at most `MAX_LOSS`. With fewer than `MIN_VALIDATION_ROWS` reviews none passes.
    """
    is_read = n_tokens >= MIN_TOKENS
    pool = fit_pool(linear[is_read], encoder[is_read], truth[is_read])
    pooled = pool.apply(encoder, np.where(is_read, linear, np.nan))
    curve = [_try_threshold(t, linear, pooled, truth, n_tokens, seed) for t in THRESHOLDS]
    accuracy = _measure_accuracy(pooled, truth)
    passed = [
        point
        for point in curve
        if point.accuracy >= accuracy
        and point.difference_low >= -MAX_LOSS
        and point.share_early > 0
        and len(truth) >= MIN_VALIDATION_ROWS
    ]
    chosen = max(passed, key=lambda point: point.share_early_tokens, default=None)
    return CascadeChoice(
        threshold=chosen.threshold if chosen else None,
        pool=pool,
        rows=len(truth),
        accuracy_encoder=_measure_accuracy(encoder, truth),
        accuracy_pooled=accuracy,
        accuracy_pair=chosen.accuracy if chosen else accuracy,
        accuracy_linear=_measure_accuracy(linear, truth),
        share_early=chosen.share_early if chosen else 0.0,
        share_early_tokens=chosen.share_early_tokens if chosen else 0.0,
        curve=tuple(curve),
    )


def fit_pool(linear: np.ndarray, encoder: np.ndarray, truth: np.ndarray) -> OpinionPool:
    """Fit weights and bias by least log loss on calibrated probabilities of the second class.

    The result is the encoder only unless a likelihood-ratio test shows that this is better than a weight and
    a bias for the encoder only, and the accuracy does not fall. It is the encoder too with fewer than
    `MIN_VALIDATION_ROWS` reviews, with reviews of one class, and if a weight is not in (0, `_MAX_WEIGHT`]:
    calibrated stages have no such weights.
    """
    if len(truth) < MIN_VALIDATION_ROWS or len(np.unique(truth)) < 2:
        return OpinionPool()
    log_odds = np.stack([find_log_odds(encoder), find_log_odds(linear)], axis=1)
    without, fitted = (LogisticRegression(C=_WEAK).fit(log_odds[:, :n], truth) for n in (1, 2))
    gain = 2 * (_sum_loss(without, log_odds[:, :1], truth) - _sum_loss(fitted, log_odds, truth))
    weights = fitted.coef_[0].tolist()
    pool = OpinionPool(weights[0], weights[1], float(fitted.intercept_[0]))
    is_better = gain > chi2.ppf(1 - _SIGNIFICANCE, 1)
    are_plausible = min(weights) > 0 and max(weights) <= _MAX_WEIGHT
    gained = _measure_accuracy(pool.apply(encoder, linear), truth) - _measure_accuracy(encoder, truth)
    return pool if is_better and are_plausible and gained >= 0 else OpinionPool()


def _sum_loss(fitted: LogisticRegression, log_odds: np.ndarray, truth: np.ndarray) -> float:
    return float(log_loss(truth, fitted.predict_proba(log_odds), normalize=False))


def _measure_accuracy(second: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean((second >= 0.5) == truth))


def _try_threshold(
    threshold: float,
    linear: np.ndarray,
    pooled: np.ndarray,
    truth: np.ndarray,
    n_tokens: np.ndarray,
    seed: int,
) -> CascadePoint:
    is_early = (np.maximum(linear, 1 - linear) >= threshold) & (n_tokens >= MIN_TOKENS)
    is_right = (np.where(is_early, linear, pooled) >= 0.5) == truth
    difference = is_right.astype(int) - ((pooled >= 0.5) == truth).astype(int)
    return CascadePoint(
        threshold=threshold,
        share_early=float(is_early.mean()),
        share_early_tokens=float(n_tokens[is_early].sum() / max(1, n_tokens.sum())),
        accuracy=float(is_right.mean()),
        difference_low=_lower_bound(difference, seed),
    )


def _lower_bound(differences: np.ndarray, seed: int) -> float:
    """Return the 5 % quantile of the mean of values in -1, 0, 1 over bootstrap samples."""
    n = len(differences)
    # The counts of -1, 0 and 1 in a bootstrap sample follow a multinomial distribution.
    shares = [float(np.mean(differences == value)) for value in (-1, 0, 1)]
    counts: Any = np.random.default_rng(seed).multinomial(n, shares, size=_BOOTSTRAPS)
    return float(np.quantile((counts[:, 2] - counts[:, 0]) / n, 1 - CONFIDENCE))
