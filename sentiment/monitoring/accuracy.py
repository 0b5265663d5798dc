"""Estimate the accuracy of a night from its scores, and measure it where labels have come in.

The estimate is known as confidence-based performance estimation (CBPE): of rows with a true score of 0.9,
nine in ten are right. Scores are made true first, by rows whose labels are known: for each predicted label
and stage, rows of similar scores are as accurate as they were there. The estimate holds as far as the reviews
are like those rows; where the domain has drifted, it is too high.
"""

import numpy as np
from scipy.stats import norm

from ..evaluation.intervals import CONFIDENCE, Interval
from ..evaluation.profile import Profile, Scores

# Groups of similar scores per label and stage, each of about the same number of known rows.
GROUPS = 5
# With fewer known rows of a label and stage, its scores are taken as they are.
MIN_KNOWN_ROWS = 50
# Late labels of so many rows tell more about the next nights than the test set of the model.
MIN_LABELLED_ROWS = 1_000


def choose_known(reference: Profile | None, labelled: Profile | None) -> Profile | None:
    """Return the rows that scores are made true by: late labels if there are enough, else the test set."""
    if labelled is not None and labelled.scored_rows >= MIN_LABELLED_ROWS:
        return labelled
    return reference


def estimate_accuracy(night: Profile, known: Profile | None) -> Interval | None:
    """Return the estimated accuracy of the scored rows of a night; None if it has none.

    The interval covers chance in the night and in the known rows, not that the reviews have changed.
    """
    if not night.scored_rows:
        return None
    right, variance = 0.0, 0.0
    for key, scores in night.scores.items():
        others = known.scores.get(key) if known is not None else None
        if others is None or others.right is None or sum(others.counts) < MIN_KNOWN_ROWS:
            right, variance = right + scores.total, variance + scores.variance
            continue
        expected, spread = _count_right(scores, others)
        right, variance = right + expected, variance + spread
    n = night.scored_rows
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * float(np.sqrt(variance)) / n
    value = right / n
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach))


def _count_right(scores: Scores, known: Scores) -> tuple[float, float]:
    """Return the expected number of right rows of one label and stage, and its variance."""
    groups = _group_bins(np.array(known.counts))
    rows = np.bincount(groups, scores.counts, GROUPS)
    known_rows = np.bincount(groups, known.counts, GROUPS)
    # Half a row of each kind (the prior of Jeffreys) keeps a group without errors from being sure.
    accuracy = (np.bincount(groups, known.right or (), GROUPS) + 0.5) / (known_rows + 1)
    doubt = accuracy * (1 - accuracy)
    spread = rows * doubt + rows**2 * doubt / np.maximum(1, known_rows)
    return float(rows @ accuracy), float(spread.sum())


def _group_bins(counts: np.ndarray) -> np.ndarray:
    """Return the group of each bin, so that groups have about the same number of rows."""
    middles = np.cumsum(counts) - counts / 2
    groups = np.minimum(GROUPS - 1, (GROUPS * middles / counts.sum()).astype(int))
    # A bin without rows goes with the bin below it, or, at the lowest scores, above it.
    filled = np.where(counts > 0, np.arange(len(counts)), -1)
    nearest = np.maximum.accumulate(filled)
    first = int(np.flatnonzero(counts)[0])
    chosen: np.ndarray = groups[np.where(nearest < 0, first, nearest)]
    return chosen
