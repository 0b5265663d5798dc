"""Compare the profile of a night with a reference, figure by figure, and decide which figures have drifted.

A figure has drifted if its difference is larger than chance explains, and large enough to matter. Chance is
measured: night and reference are pooled, and sets of the same two sizes are drawn from the pool. Therefore
the number of false alarms does not grow with the number of rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import jensenshannon

from .figures import Distribution, align

MODEL, TRAILING = "model", "trailing"
# The chance of one or more false alarms in a night, over all figures and references.
ALPHA = 0.05
# With 2,000 draws the smallest p value is 0.0005, which about 40 comparisons can still use.
DRAWS = 2_000
# A smaller set shows nothing but chance.
MIN_ROWS = 100
# Of NIGHTS nights in a row, so many must drift before there is an alarm.
PERSISTENT, NIGHTS = 2, 3
# The index of population stability divides by shares, and this stands for a share of 0.
_SMALLEST_SHARE = 1e-4


@dataclass(frozen=True)
class Drift:
    """Hold how one figure of a night differs from a reference.

    `value` and `reference_value` are the means, or the shares of `category`, the one that differs most. `psi`
    is the index of population stability, `js` the distance of Jensen and Shannon (base 2), `ks` the statistic
    of Kolmogorov and Smirnov (null for figures without order). `effect` is the largest difference of two
    shares. `p_value` is null if the effect is below `min_effect`, where chance does not matter.
    `adjusted_p_value` is that of Holm (1979) over all comparisons of the night.
    """

    figure: str
    against: str
    rows: int
    reference_rows: int
    category: str | None
    value: float
    reference_value: float
    psi: float
    js: float
    ks: float | None
    effect: float
    min_effect: float
    p_value: float | None = None
    adjusted_p_value: float | None = None
    is_drifted: bool = False


def find_drift(
    night: Mapping[str, Distribution],
    references: Mapping[str, Mapping[str, Distribution]],
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Drift]:
    """Compare each figure with each reference that has it, by the name of the reference.

    Sets of fewer than MIN_ROWS rows are not compared.
    """
    found = [
        compare(name, against, mine, reference[name], seed, draws)
        for against, reference in references.items()
        for name, mine in night.items()
        if name in reference and min(mine.rows, reference[name].rows) >= MIN_ROWS
    ]
    adjusted = adjust_p_values([drift.p_value for drift in found])
    return [
        replace(drift, adjusted_p_value=p, is_drifted=p is not None and p <= ALPHA)
        for drift, p in zip(found, adjusted, strict=True)
    ]


def compare(
    name: str, against: str, night: Distribution, reference: Distribution, seed: int, draws: int
) -> Drift:
    """Measure how one figure of a night differs from its reference, and how often chance does as much."""
    cells, mine, theirs = align(night, reference)
    pair = np.stack([mine, theirs])[:, None, :]
    shares = pair[:, 0, :] / pair.sum(axis=2)
    gaps = shares[0] - shares[1]
    widest = int(np.abs(gaps).argmax())
    ks = float(np.abs(np.cumsum(gaps)).max()) if night.is_ordered else None
    effect = float(np.abs(gaps).max()) if ks is None else ks
    p_value = None
    if effect >= night.min_effect:
        p_value = measure_chance(mine, theirs, night.is_ordered, np.random.default_rng(seed), draws)
    return Drift(
        figure=name,
        against=against,
        rows=night.rows,
        reference_rows=reference.rows,
        category=None if night.is_ordered else cells[widest],
        value=night.mean if night.is_ordered else float(shares[0, widest]),
        reference_value=reference.mean if night.is_ordered else float(shares[1, widest]),
        psi=measure_psi(shares[0], shares[1]),
        js=float(jensenshannon(shares[0], shares[1], base=2)),
        ks=ks,
        effect=effect,
        min_effect=night.min_effect,
        p_value=p_value,
    )


def measure_psi(night: np.ndarray, reference: np.ndarray) -> float:
    """Return the index of population stability of shares; 0.1 is usually called small, 0.25 large."""
    first, second = np.maximum(night, _SMALLEST_SHARE), np.maximum(reference, _SMALLEST_SHARE)
    return float(((first - second) * np.log(first / second)).sum())


def measure_chance(
    night: np.ndarray, reference: np.ndarray, is_ordered: bool, rng: np.random.Generator, draws: int
) -> float:
    """Return the share of draws from the pool of both sets that differ at least as much as these sets.

    The sets differ by the distance of Jensen and Shannon and, if the cells are ordered, by Kolmogorov and
    Smirnov: each is ranked among the draws, and the better rank of each draw is ranked again, so that asking
    twice costs no false alarm. `night` and `reference` are counts, int64 (cells,).
    """
    pooled = night + reference
    drawn = rng.multivariate_hypergeometric(pooled, int(night.sum()), size=draws, method="marginals")
    firsts = np.concatenate([night[None, :], drawn])
    shares, others = firsts / night.sum(), (pooled - firsts) / reference.sum()
    measures = [jensenshannon(shares, others, axis=1)]
    if is_ordered:
        measures.append(np.abs(np.cumsum(shares - others, axis=1)).max(axis=1))
    best = np.min([_rank(np.nan_to_num(measure)) for measure in measures], axis=0)
    return float(np.mean(best <= best[0]))


def _rank(measures: np.ndarray) -> np.ndarray:
    """Return for each value the number of values that are as large; draws that are equal share the number."""
    # Sums of the same terms in another order differ by a rounding error, which is no difference.
    rounded = measures.round(12)
    ordered = np.sort(rounded)
    return np.asarray(len(ordered) - np.searchsorted(ordered, rounded, side="left"))


def adjust_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values of Holm (1979), for the chance of one or more false alarms; null counts as 1."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[i] = highest
    return adjusted


def is_persistent(nights: Sequence[bool]) -> bool:
    """Return whether the last night drifted, and PERSISTENT of the last NIGHTS nights did, oldest first."""
    return bool(nights) and nights[-1] and sum(nights[-NIGHTS:]) >= PERSISTENT
