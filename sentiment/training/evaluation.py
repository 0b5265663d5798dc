"""Measure a model and two simple baselines on labelled reviews."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from sklearn import metrics

from .. import schema
from ..inference.predictor import Predictor

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """Hold metrics in [0, 1], and `confusion`: numbers of reviews, one row per true class."""

    accuracy: float
    f1_weighted: float
    f1_negative: float
    f1_positive: float
    roc_auc: float
    confusion: list[list[int]]

    def as_metrics(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if name != "confusion"}


@dataclass(frozen=True)
class Baseline:
    """Hold the results of a simple rule on the same test set."""

    accuracy: float
    f1_weighted: float


def evaluate_model(predictor: Predictor, test: pd.DataFrame, progress: Progress | None = None) -> Evaluation:
    """Score `test` (`text`, `label` 0/1) and compute metrics.

    A rejected text counts as wrong; for the ROC-AUC its probability is one half.
    """
    predictions = predictor.predict(test["text"].tolist(), progress)
    truth = test["label"].to_numpy()
    probability = positive_probabilities(predictions)
    rejected = predictions[schema.REJECT_REASON].notna().to_numpy()
    predicted = np.where(rejected, 1 - truth, probability >= 0.5)
    f1_negative, f1_positive = metrics.f1_score(truth, predicted, labels=[0, 1], average=None)
    return Evaluation(
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        f1_weighted=float(metrics.f1_score(truth, predicted, average="weighted")),
        f1_negative=float(f1_negative),
        f1_positive=float(f1_positive),
        roc_auc=float(metrics.roc_auc_score(truth, probability)),
        confusion=metrics.confusion_matrix(truth, predicted, labels=[0, 1]).tolist(),
    )


def positive_probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """Return the probability of positive of each prediction, float64; one half for a reject."""
    score = predictions[schema.SCORE].to_numpy(dtype=np.float64, na_value=np.nan)
    is_positive = (predictions[schema.LABEL] == schema.POSITIVE).to_numpy()
    return np.where(np.isnan(score), 0.5, np.where(is_positive, score, 1 - score))


def tabulate_labels(evaluation: Evaluation) -> pd.DataFrame:
    """Return a row per label, in class order: `precision`, `recall`, `f1` (0 if undefined), `reviews`."""
    rows = []
    for i in range(len(schema.LABELS)):
        hits = evaluation.confusion[i][i]
        reviews, predicted = sum(evaluation.confusion[i]), sum(row[i] for row in evaluation.confusion)
        f1 = 2 * hits / max(1, reviews + predicted)
        rows.append((hits / max(1, predicted), hits / max(1, reviews), f1, reviews))
    columns = ["precision", "recall", "f1", "reviews"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(schema.LABELS, name="label"))


def measure_baselines(train_labels: Sequence[int], test: pd.DataFrame) -> dict[str, Baseline]:
    """Measure two rules: `majority` (the commonest training label) and `lexicon` (the sign of VADER's score).

    A VADER compound score of 0 (no word is in the lexicon) gets the majority label. Source of the lexicon:
    Hutto and Gilbert, ICWSM 2014.
    """
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    majority = int(np.mean(train_labels) >= 0.5)
    analyzer = SentimentIntensityAnalyzer()
    compound = np.array([analyzer.polarity_scores(text)["compound"] for text in test["text"]])
    lexicon = np.where(compound == 0, majority, (compound > 0).astype(int))
    truth = test["label"].to_numpy()
    return {
        "majority": _compare(truth, np.full(len(test), majority)),
        "lexicon": _compare(truth, lexicon),
    }


def _compare(truth: np.ndarray, predicted: np.ndarray) -> Baseline:
    return Baseline(
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        f1_weighted=float(metrics.f1_score(truth, predicted, average="weighted", zero_division=0)),
    )
