"""Measure simple rules on the same test set, because a figure says little without them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn import metrics

from .. import schema

# A compound score between these bounds is neutral (Hutto and Gilbert, ICWSM 2014).
_NEUTRAL_BOUND = 0.05


@dataclass(frozen=True)
class Baseline:
    """Hold the results of a simple rule, in [0, 1]."""

    accuracy: float
    f1_weighted: float


def measure_baselines(
    train_labels: Sequence[int], test: pd.DataFrame, labels: Sequence[str]
) -> dict[str, Baseline]:
    """Measure `majority` (the commonest training class) and `lexicon` (VADER's score) on `text` and `label`.

    The lexicon knows only negative, neutral and positive, so it is left out for other labels. If no word is
    in it, and there is no neutral class, it takes the majority. Source: Hutto and Gilbert, ICWSM 2014.
    """
    truth = test["label"].to_numpy()
    majority = int(np.bincount(train_labels, minlength=len(labels)).argmax())
    found = {"majority": _compare(truth, np.full(len(test), majority))}
    if tuple(labels) in (schema.POLARITY_LABELS, schema.THREE_WAY_LABELS):
        compound = _score_lexicon(test["text"].tolist())
        if schema.NEUTRAL in labels:
            predicted = np.digitize(compound, [-_NEUTRAL_BOUND, _NEUTRAL_BOUND])
        else:
            predicted = np.where(compound == 0, majority, (compound > 0).astype(int))
        found["lexicon"] = _compare(truth, predicted)
    return found


def _score_lexicon(texts: Sequence[str]) -> np.ndarray:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return np.array([analyzer.polarity_scores(text)["compound"] for text in texts])


def _compare(truth: np.ndarray, predicted: np.ndarray) -> Baseline:
    return Baseline(
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        f1_weighted=float(metrics.f1_score(truth, predicted, average="weighted", zero_division=0)),
    )
