"""Hold the predictions of a model next to the true classes of the same reviews."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .. import schema
from ..inference.predictor import Predictor, TextProgress


@dataclass(frozen=True)
class JudgedReviews:
    """Hold n reviews with their true classes and a model's predictions, all in one order.

    `labels` are the K class names in the model's order, `truth` the class ids, int64 (n,). `probabilities` is
    float64 (n, K), 1/K in each column for a reject. `predictions` has `schema.PREDICTION_COLUMNS`. `details`
    are other columns of the reviews, such as `category`; it may have no column.
    """

    labels: tuple[str, ...]
    truth: np.ndarray
    probabilities: np.ndarray
    predictions: pd.DataFrame
    details: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def predicted(self) -> np.ndarray:
        """Return the predicted class ids, int64 (n,); -1 for a reject, which is always wrong."""
        return np.asarray(np.where(self.is_rejected, -1, self.probabilities.argmax(axis=1)))

    @property
    def is_rejected(self) -> np.ndarray:
        """Return True for each review without a label, bool (n,)."""
        found: np.ndarray = self.predictions[schema.REJECT_REASON].notna().to_numpy(dtype=bool)
        return found

    @property
    def is_right(self) -> np.ndarray:
        """Return True for each review whose predicted class is the true one, bool (n,)."""
        found: np.ndarray = self.predicted == self.truth
        return found

    @property
    def scores(self) -> np.ndarray:
        """Return the probability of the likeliest class, float64 (n,)."""
        return np.asarray(self.probabilities.max(axis=1))

    def at(self, rows: np.ndarray) -> "JudgedReviews":
        """Return the reviews at these positions."""
        return JudgedReviews(
            self.labels,
            self.truth[rows],
            self.probabilities[rows],
            self.predictions.iloc[rows].reset_index(drop=True),
            self.details.iloc[rows].reset_index(drop=True),
        )


def judge_reviews(
    predictor: Predictor, reviews: pd.DataFrame, progress: TextProgress | None = None
) -> JudgedReviews:
    """Score `text` of reviews with `label` (class ids); the predictor must give probabilities."""
    predictions = predictor.predict(reviews["text"].tolist(), progress)
    details = reviews.drop(columns=["text", "label"])
    return judge(predictor.labels, reviews["label"].to_numpy(), predictions, details)


def judge(
    labels: Sequence[str], truth: np.ndarray, predictions: pd.DataFrame, details: pd.DataFrame | None = None
) -> JudgedReviews:
    """Join predictions that have the column `probabilities` with the true class ids of their reviews."""
    even = np.full(len(labels), 1 / len(labels))
    rows = [even if row is None else row for row in predictions[schema.PROBABILITIES]]
    probabilities = np.array(rows, dtype=np.float64).reshape(len(rows), len(labels))
    if details is None:
        details = pd.DataFrame(index=pd.RangeIndex(len(rows)))
    return JudgedReviews(
        labels=tuple(labels),
        truth=np.asarray(truth, dtype=np.int64),
        probabilities=probabilities,
        predictions=predictions.drop(columns=schema.PROBABILITIES).reset_index(drop=True),
        details=details.reset_index(drop=True),
    )
