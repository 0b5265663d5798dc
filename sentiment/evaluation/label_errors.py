"""Find reviews whose given label is probably wrong, and measure what leaving them out changes."""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .calibration import fit_calibration
from .intervals import Comparison, compare_hits
from .judged import JudgedReviews
from .linear import extract_ngrams, predict_encodings, predict_ngrams, stack

CLEANLAB = "cleanlab"
# A label is suspected if its calibrated probability is smaller (docs/decisions/0029-label-errors.md).
MAX_PROBABILITY = 0.09
# Cross-validation of more training reviews would take a minute or more.
MAX_ROWS = 20_000
# Each class needs a review in each fold.
MIN_CLASS_ROWS = 10
ID_COLUMNS = ("review_id", "reviewid", "id")


@dataclass(frozen=True)
class LabelError:
    """Hold a review whose label is probably wrong; `row` is its position, `review_id` its id or position.

    `confidence` is the calibrated probability that the given label is not the true one.
    """

    row: int
    review_id: str
    given: str
    suggested: str
    confidence: float


@dataclass(frozen=True)
class LabelErrors:
    """Hold the probable errors among `rows` checked reviews, and what leaving them out changes.

    On test reviews, the accuracies are those of the model with and without the suspected ones. On training
    reviews, they are of linear models trained with and without them, both on held-out reviews, suspected
    ones included; `comparison` is of the second model with the first.
    """

    rows: int
    errors: tuple[LabelError, ...]
    accuracy_with: float
    accuracy_without: float
    comparison: Comparison | None = None


def has_cleanlab() -> bool:
    """Return True if the package that finds label errors is installed."""
    return importlib.util.find_spec(CLEANLAB) is not None


def find_label_errors(
    labels: Sequence[str],
    given: np.ndarray,
    probabilities: np.ndarray,
    review_ids: Sequence[object],
) -> tuple[LabelError, ...]:
    """Return the reviews whose label is probably wrong, surest first.

    `given` are class ids (n,), `probabilities` (n, K) of a model that was not trained on these reviews. A
    review is returned if confident learning (Northcutt et al., JAIR 2021) suspects it, and the calibrated
    probability of its label is below `MAX_PROBABILITY`. Needs the package cleanlab (`has_cleanlab`).
    """
    from cleanlab.filter import find_label_issues

    if len(np.unique(given)) < 2:
        return ()
    calibrated = fit_calibration(probabilities, given).apply(probabilities)
    suspected = find_label_issues(given, calibrated, filter_by="confident_learning", n_jobs=1)
    own = calibrated[np.arange(len(given)), given]
    rows = np.flatnonzero(suspected & (own < MAX_PROBABILITY))
    return tuple(
        LabelError(
            row=int(row),
            review_id=str(review_ids[row]),
            given=labels[given[row]],
            suggested=labels[calibrated[row].argmax()],
            confidence=float(1 - own[row]),
        )
        for row in rows[np.argsort(own[rows], kind="stable")]
    )


def check_test_labels(judged: JudgedReviews) -> LabelErrors:
    """Return the probable label errors of test reviews, by the probabilities of the judged model.

    The accuracy without them is too high: a model is wrong on all that it suspects.
    """
    is_right = judged.is_right
    ids = _find_ids(judged.details, range(len(is_right)))
    errors = find_label_errors(judged.labels, judged.truth, judged.probabilities, ids)
    without = is_right[~_mark(errors, len(is_right))]
    return LabelErrors(len(is_right), errors, float(is_right.mean()), float(without.mean()))


def check_training_labels(
    labels: Sequence[str], train: pd.DataFrame, seed: int, encodings: np.ndarray | None = None
) -> LabelErrors | None:
    """Return the probable errors among the class ids `label` of `text`, by linear models.

    None for one class, or if no n-gram is in several texts.

    The models know n-grams and, if they are given, `encodings`: vectors (n, width) of the texts by an encoder
    that was not fine-tuned on these labels. At most `MAX_ROWS` random rows are checked, and only classes of
    at least `MIN_CLASS_ROWS` rows.
    """
    train = train.reset_index(drop=True)
    train = train[train.groupby("label")["label"].transform("size") >= MIN_CLASS_ROWS]
    sample = train.sample(MAX_ROWS, random_state=seed).sort_index() if len(train) > MAX_ROWS else train
    given = sample["label"].to_numpy(dtype=np.int64)
    if len(np.unique(given)) < 2:
        return None
    ngrams = extract_ngrams(sample["text"].tolist())
    if ngrams is None:
        return None
    features = ngrams.weights
    parts = [predict_ngrams(features, given, len(labels), seed)]
    if encodings is not None:
        parts.append(predict_encodings(encodings[sample.index], given, len(labels), seed))
    probabilities = stack(parts, given, len(labels), seed + 1)
    errors = find_label_errors(labels, given, probabilities, _find_ids(sample, sample.index))
    is_suspected = _mark(errors, len(given))
    cleaned = predict_ngrams(features, given, len(labels), seed, is_suspected)
    before, after = parts[0].argmax(axis=1) == given, cleaned.argmax(axis=1) == given
    positions = sample.index.to_numpy()
    return LabelErrors(
        rows=len(given),
        errors=tuple(replace(error, row=int(positions[error.row])) for error in errors),
        accuracy_with=float(before.mean()),
        accuracy_without=float(after.mean()),
        comparison=compare_hits(after, before),
    )


def _mark(errors: Sequence[LabelError], n: int) -> np.ndarray:
    """Return True for each of n rows that is among the errors."""
    found = np.zeros(n, dtype=bool)
    found[[error.row for error in errors]] = True
    return found


def _find_ids(details: pd.DataFrame, positions: Iterable[object]) -> list[object]:
    """Return the ids of the reviews, or their positions if no column is known to hold ids."""
    found = next((column for column in details.columns if str(column).lower() in ID_COLUMNS), None)
    return list(positions if found is None else details[found])
