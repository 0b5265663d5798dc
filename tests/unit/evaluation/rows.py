"""Make judged reviews for tests."""

import numpy as np
import pandas as pd

from sentiment import schema
from sentiment.evaluation.judged import JudgedReviews

THREE = ("calm", "happy", "sad")


def make_judged(truth, predicted, labels=THREE, score=0.8, **details) -> JudgedReviews:
    """Return judged reviews of these class ids; -1 is a reject."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    n, k = len(truth), len(labels)
    scores = np.broadcast_to(score, n)
    probabilities = np.repeat(((1 - scores) / (k - 1))[:, None], k, axis=1)
    probabilities[np.arange(n), predicted] = scores
    probabilities[predicted < 0] = 1 / k
    is_reject = predicted < 0
    predictions = pd.DataFrame(
        {
            schema.LABEL: [None if i < 0 else labels[i] for i in predicted],
            schema.SCORE: np.where(is_reject, np.nan, probabilities.max(axis=1)),
            schema.UNSURE: False,
            schema.N_TOKENS: details.pop("n_tokens", 12),
            schema.TRUNCATED: details.pop("truncated", False),
            schema.STAGE: "encoder",
            schema.REJECT_REASON: np.where(is_reject, schema.BLANK_TEXT, None),
        }
    )
    return JudgedReviews(labels, truth, probabilities, predictions, pd.DataFrame(details, index=range(n)))


def make_random(n, labels=THREE, accuracy=0.8, seed=0, **details) -> JudgedReviews:
    """Return n judged reviews of random classes, of which about the share `accuracy` is right."""
    random = np.random.default_rng(seed)
    truth = random.integers(len(labels), size=n)
    wrong = (truth + random.integers(1, len(labels), size=n)) % len(labels)
    predicted = np.where(random.random(n) < accuracy, truth, wrong)
    score = np.clip(random.beta(6, 2, n), 1 / len(labels) + 0.01, 0.999)
    return make_judged(truth, predicted, labels, score, **details)
