"""Train and calibrate the linear stage, and give it a threshold that validation allows."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags_array
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from ..inference.linear import MIN_TOKENS, N_BUCKETS, LinearStage, extract_features, weigh

MAX_TRAIN_ROWS = 100_000
MAX_LOSS = 0.002
"""Accuracy that the pair may lose at the lower end of what chance explains, if none is lost as measured."""
MIN_VALIDATION_ROWS = 1_500
"""No loss seen in n reviews leaves one of 3 / n possible (rule of three, Hanley and Lippman-Hand 1983): a
bootstrap of fewer, which then knows no loss at all, would take luck for proof."""
CONFIDENCE = 0.95
THRESHOLDS = tuple(np.round(np.arange(0.93, 0.996, 0.005), 3).tolist())
"""Not lower: validation does not show what is lost on reviews of another kind than those trained on."""
_BOOTSTRAPS = 2_000
_FOLDS = 5
_MIN_TEXTS = 3
"""An n-gram of fewer texts gets no weight: it would be learned by heart."""
_INVERSE_REGULARISATION = 30.0
_CONTRAST_POWER = 0.5


@dataclass(frozen=True)
class CascadePoint:
    """Hold the pair of stages at one threshold.

    Shares of reviews and of tokens decided early, accuracy, and the lower end of its difference to the
    encoder's accuracy.
    """

    threshold: float
    share_early: float
    share_early_tokens: float
    accuracy: float
    difference_low: float


@dataclass(frozen=True)
class CascadeChoice:
    """The chosen threshold, None if none passed, on `rows` of validation; `curve` has all that were tried."""

    threshold: float | None
    rows: int
    accuracy_encoder: float
    accuracy_pair: float
    accuracy_linear: float
    share_early: float
    share_early_tokens: float
    curve: tuple[CascadePoint, ...]

    def as_metrics(self) -> dict[str, float]:
        """Return the figures by name, for MLflow."""
        values = asdict(replace(self, curve=()))
        return {f"cascade_{k}": float(v) for k, v in values.items() if isinstance(v, int | float)}


def train_linear(train: pd.DataFrame, seed: int) -> LinearStage:
    """Train on `text` and `label`, at most `MAX_TRAIN_ROWS` rows; without a threshold it decides nothing.

    Probabilities are calibrated by Platt's sigmoid on predictions of folds that were not trained on (Platt,
    "Probabilistic Outputs for Support Vector Machines", 1999), folded into weights and bias.
    """
    if len(train) > MAX_TRAIN_ROWS:
        train = train.sample(MAX_TRAIN_ROWS, random_state=seed)
    labels = train["label"].to_numpy()
    features = extract_features(train["text"].tolist())
    n_texts = np.bincount(features.buckets, minlength=N_BUCKETS)
    n_texts[n_texts < _MIN_TEXTS] = 0
    idf = (np.log((1 + len(train)) / (1 + n_texts)) + 1).astype(np.float32)
    known = np.flatnonzero(n_texts)
    positions = (features.texts, features.buckets)
    matrix = csr_matrix((weigh(features, idf), positions), shape=(features.n, N_BUCKETS))[:, known]
    slope, offset = _calibrate(matrix, labels, seed)
    coefficients, intercept = _fit(matrix, labels)
    weight = np.zeros(N_BUCKETS, dtype=np.float32)
    weight[known] = slope * coefficients
    return LinearStage(idf, weight, bias=slope * intercept + offset, threshold=2.0)


def _fit(matrix: Any, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit weights and intercept of a logistic regression, punished less where classes differ in an n-gram.

    Each column is scaled by how far apart its shares of the two classes are, after Wang and Manning,
    "Baselines and Bigrams", ACL 2012; the scale is folded into the weights.
    """
    is_there = matrix > 0
    counts = [1 + np.asarray(is_there[labels == label].sum(axis=0)).ravel() for label in (0, 1)]
    shares = [count / count.sum() for count in counts]
    contrast = np.abs(np.log(shares[1] / shares[0])) ** _CONTRAST_POWER
    model = LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=1_000)
    model.fit(matrix @ diags_array(contrast), labels)
    return contrast * model.coef_[0], float(model.intercept_[0])


def _calibrate(matrix: Any, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Slope and offset of Platt's sigmoid, on logits of rows that neither weights nor contrasts have seen."""
    logits = np.empty(len(labels))
    for fitted, held in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(matrix, labels):
        weights, intercept = _fit(matrix[fitted], labels[fitted])
        logits[held] = matrix[held] @ weights + intercept
    platt = LogisticRegression(C=np.inf).fit(logits[:, None], labels)
    return float(platt.coef_[0, 0]), float(platt.intercept_[0])


def choose_threshold(
    linear: np.ndarray, encoder: np.ndarray, truth: np.ndarray, n_tokens: np.ndarray, seed: int
) -> CascadeChoice:
    """Choose on validation the threshold that spares the encoder most tokens and costs no accuracy.

    `linear` and `encoder` are probabilities of positive, `truth` classes. A threshold passes if the pair is
    at least as accurate as the encoder alone, and a one-sided bootstrap over reviews (95 %) leaves it no
    more than `MAX_LOSS` below. With fewer than `MIN_VALIDATION_ROWS` reviews none does.
    """
    curve = [_try_threshold(t, linear, encoder, truth, n_tokens, seed) for t in THRESHOLDS]
    accuracy = float(np.mean((encoder >= 0.5) == truth))
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
        rows=len(truth),
        accuracy_encoder=accuracy,
        accuracy_pair=chosen.accuracy if chosen else accuracy,
        accuracy_linear=float(np.mean((linear >= 0.5) == truth)),
        share_early=chosen.share_early if chosen else 0.0,
        share_early_tokens=chosen.share_early_tokens if chosen else 0.0,
        curve=tuple(curve),
    )


def _try_threshold(
    threshold: float,
    linear: np.ndarray,
    encoder: np.ndarray,
    truth: np.ndarray,
    n_tokens: np.ndarray,
    seed: int,
) -> CascadePoint:
    is_early = (np.maximum(linear, 1 - linear) >= threshold) & (n_tokens >= MIN_TOKENS)
    is_right = (np.where(is_early, linear, encoder) >= 0.5) == truth
    difference = is_right.astype(int) - ((encoder >= 0.5) == truth).astype(int)
    return CascadePoint(
        threshold=threshold,
        share_early=float(is_early.mean()),
        share_early_tokens=float(n_tokens[is_early].sum() / max(1, n_tokens.sum())),
        accuracy=float(is_right.mean()),
        difference_low=_lower_bound(difference, seed),
    )


def _lower_bound(differences: np.ndarray, seed: int) -> float:
    """Return the 5 % quantile of the mean of values in -1, 0, 1 over bootstrap samples.

    Samples of such values are multinomial counts, which are drawn directly.
    """
    n = len(differences)
    shares = [float(np.mean(differences == value)) for value in (-1, 0, 1)]
    counts: Any = np.random.default_rng(seed).multinomial(n, shares, size=_BOOTSTRAPS)
    return float(np.quantile((counts[:, 2] - counts[:, 0]) / n, 1 - CONFIDENCE))
