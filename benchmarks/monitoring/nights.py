"""Draw nights of reviews, with and without a planted change, and count what drift finds."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sentiment import schema
from sentiment.evaluation.profile import make_profile
from sentiment.monitoring.drift import MODEL, find_drift
from sentiment.monitoring.figures import Distribution, list_distributions

from ..measuring.corpus import CLOTHING, DATED
from .reviews import CUT, FOREIGN, UPPER

REFERENCE_ROWS = 2_500
CHANGED_SHARE = 0.2
Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def count_false_alarms(rows: pd.DataFrame, night_rows: int, draws: int) -> dict[str, Any]:
    """Return how many of `draws` nights, cut from the same reviews as their reference, have a drift.

    Night and reference have no row in common, and no row occurs twice.
    """
    found: Counter[str] = Counter()
    alarms = 0
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(rows))
        night, reference = order[:night_rows], order[night_rows : night_rows + REFERENCE_ROWS]
        drifted = _find(rows.iloc[night], rows.iloc[reference], seed)
        found.update(drifted)
        alarms += bool(drifted)
    return {
        "night_rows": night_rows,
        "reference_rows": min(REFERENCE_ROWS, len(rows) - night_rows),
        "draws": draws,
        "alarm_share": alarms / draws,
        "figures": dict(found),
    }


def count_found(rows: pd.DataFrame, change: Change, night_rows: int, draws: int) -> dict[str, Any]:
    """Return in how many of `draws` nights a planted change is found, and in which figures."""
    found: Counter[str] = Counter()
    alarms = 0
    for seed in range(draws):
        rng = np.random.default_rng(10_000 + seed)
        order = rng.permutation(len(rows))
        night = rows.iloc[order[:night_rows]]
        reference = rows.iloc[order[night_rows : night_rows + REFERENCE_ROWS]]
        drifted = _find(change(night, rng), reference, seed)
        found.update(drifted)
        alarms += bool(drifted)
    return {
        "night_rows": night_rows,
        "draws": draws,
        "found_share": alarms / draws,
        "figures": {name: count / draws for name, count in found.most_common(6)},
    }


def list_changes(sets: Mapping[str, pd.DataFrame]) -> dict[str, tuple[str, Change]]:
    """Return the planted changes by name: the set that the reviews come from, and the change of a night."""

    def replace_share(name: str) -> Change:
        def change(night: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
            n = int(CHANGED_SHARE * len(night))
            others = _pick(sets[name], n, rng)
            # The few texts stand for many: they are not repeated ones.
            others = others.assign(**{schema.TEXT_DIGEST: rng.integers(-(2**62), 2**62, n)})
            return pd.concat([night.iloc[n:], others], ignore_index=True)

        return change

    def flip(night: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        labels = night[schema.LABEL].dropna().unique()
        return night.assign(
            **{schema.LABEL: night[schema.LABEL].map(dict(zip(labels, labels[::-1], strict=True)))}
        )

    def repeat(night: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        n = int(CHANGED_SHARE * len(night))
        return pd.concat([night.iloc[n:], night.iloc[-n:]], ignore_index=True)

    return {
        "clothing instead of other goods": (DATED, lambda night, rng: _pick(sets[CLOTHING], len(night), rng)),
        "texts cut to 30 %": (DATED, lambda night, rng: _pick(sets[CUT], len(night), rng)),
        "upper case": (DATED, lambda night, rng: _pick(sets[UPPER], len(night), rng)),
        "20 % in Spanish and German": (DATED, replace_share(FOREIGN)),
        "20 % repeated texts": (DATED, repeat),
        **{f"labels exchanged, {_show_mix(sets[name])}": (name, flip) for name in (CLOTHING, DATED)},
    }


def _show_mix(rows: pd.DataFrame) -> str:
    shares = rows[schema.LABEL].value_counts(normalize=True).sort_index()
    return " and ".join(f"{share:.0%} {label}" for label, share in shares.items())


def _pick(rows: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    return rows.iloc[rng.choice(len(rows), n, replace=n > len(rows))]


def _find(night: pd.DataFrame, reference: pd.DataFrame, seed: int) -> set[str]:
    drifts = find_drift(_describe(night), {MODEL: _describe(reference)}, seed)
    return {drift.figure for drift in drifts if drift.is_drifted}


def _describe(rows: pd.DataFrame) -> dict[str, Distribution]:
    return list_distributions(make_profile(rows))
