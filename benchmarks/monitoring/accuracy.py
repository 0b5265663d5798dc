"""Compare the estimated accuracy with the realised one, by year and in another domain."""

from typing import Any

import pandas as pd

from sentiment.evaluation.profile import IS_RIGHT, Profile, make_profile
from sentiment.monitoring.accuracy import estimate_accuracy

from ..measuring.corpus import CLOTHING, DATED
from .reviews import pick_labelled

# The interval of fewer reviews is wider than what is to be shown.
MIN_ROWS = 1_000
LABELLED_ROWS = 2_000


def compare_accuracies(sets: dict[str, pd.DataFrame], reference: Profile | None) -> dict[str, Any]:
    """Return estimated and realised accuracy of parts of the sets.

    Each part is estimated from the model's test set (if the model has its profile) and from late labels: of
    earlier years, or of the first LABELLED_ROWS rows of clothing.
    """
    dated, clothing = (pick_labelled(sets[name]) for name in (DATED, CLOTHING))
    clothing = clothing.sample(frac=1, random_state=0)
    parts: dict[str, tuple[pd.DataFrame, pd.DataFrame | None]] = {DATED: (dated, None)}
    for year, rows in dated.groupby("year"):
        if len(rows) >= MIN_ROWS:
            parts[f"{DATED} {year}"] = (rows, dated[dated["year"] < str(year)])
    parts[CLOTHING] = (clothing[LABELLED_ROWS:], clothing[:LABELLED_ROWS])
    found: dict[str, Any] = {}
    for name, (rows, labelled) in parts.items():
        known = {"test set": reference, "late labels": None if labelled is None else make_profile(labelled)}
        found[name] = {"rows": len(rows), "realised": float(rows[IS_RIGHT].mean())} | {
            source: _estimate(rows, profile) for source, profile in known.items() if profile is not None
        }
    return found


def _estimate(rows: pd.DataFrame, known: Profile) -> dict[str, float]:
    accuracy = estimate_accuracy(make_profile(rows.drop(columns=IS_RIGHT)), known)
    assert accuracy is not None
    error = accuracy.value - float(rows[IS_RIGHT].mean())
    return {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high, "error": error}
