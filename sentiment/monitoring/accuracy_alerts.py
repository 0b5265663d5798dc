"""Raise alerts on the accuracy: estimated from scores, and realised by labels that have come in."""

import numpy as np
import pandas as pd

from ..evaluation.intervals import Interval, measure_share
from ..evaluation.profile import Profile
from .accuracy import estimate_accuracy
from .alerts import CRITICAL, WARNING, Alert
from .history import NIGHT, TRAILING_DAYS
from .observation import Observation
from .quality import Limits

# Labels of the last days are compared with those of the TRAILING_DAYS before them, from so many rows on.
RECENT_DAYS, MIN_REALISED_ROWS = 7, 200


def check_estimate(
    seen: Observation,
    estimate: Interval | None,
    known: Profile | None,
    limits: Limits,
) -> list[Alert]:
    """Return an alert if the accuracy is surely more than the bound below that of the known rows."""
    usual = estimate_accuracy(known, known) if known is not None else None
    if estimate is None or usual is None:
        return []
    lowest = usual.value - limits.max_accuracy_drop
    if estimate.high >= lowest:
        return []
    message = f"estimated accuracy {estimate}; expected about {usual.value:.3f}, at least {lowest:.3f}"
    advice = "label some reviews of this night: the estimate shows a change, labels show how large it is"
    return [Alert.of(seen, "accuracy", "estimated accuracy", WARNING, message, advice)]


def check_realised(
    seen: Observation, nights: pd.DataFrame, reference: Profile | None, limits: Limits
) -> list[Alert]:
    """Return an alert if labels of the last days show an accuracy that is surely lower than the usual one.

    Usual is that of the nights before or, without their labels, that of the model's test set.
    """
    ages = (pd.Timestamp(seen.night) - nights[NIGHT]).dt.days
    recent = _pool(nights[ages <= RECENT_DAYS])
    before = _pool(nights[(ages > RECENT_DAYS) & (ages <= RECENT_DAYS + TRAILING_DAYS)])
    usual = before.value if before is not None else _find_accuracy(reference)
    if recent is None or usual is None or recent.high >= usual - limits.max_accuracy_drop:
        return []
    message = f"labels of the last {RECENT_DAYS} days show an accuracy of {recent}; usual is {usual:.3f}"
    advice = "fine-tune with the new labels, and judge the model by jobs/promote.py"
    return [Alert.of(seen, "realised", "realised accuracy", CRITICAL, message, advice)]


def _pool(nights: pd.DataFrame) -> Interval | None:
    """Return the realised accuracy of several nights together; None with too few labelled rows."""
    known = nights[nights["realised_rows"].notna()]
    rows = int(known["realised_rows"].sum())
    if rows < MIN_REALISED_ROWS:
        return None
    right = round(float((known["realised_accuracy"] * known["realised_rows"]).sum()))
    return measure_share(np.arange(rows) < right)


def _find_accuracy(reference: Profile | None) -> float | None:
    """Return the accuracy on the model's test set; None if it is not known."""
    scores = [] if reference is None else list(reference.scores.values())
    rows = sum(sum(found.counts) for found in scores if found.right is not None)
    return sum(sum(found.right or ()) for found in scores) / rows if rows else None
