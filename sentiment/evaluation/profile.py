"""Describe a set of scored rows by counts that can be added up, without text: its profile.

Training makes the profile of the test set, each batch has one, and monitoring compares them.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import schema
from ..errors import UnreadableFileError
from .histograms import BINS, CHARS_PER_TOKEN, SCORE_BINS, count_bins
from .text_figures import CHARS
from .text_figures import describe_texts as describe_texts

PROFILE_FILE = "profile.json"
PROFILE_VERSION = 1
# Optional boolean column of the rows: True if the label is the true one.
IS_RIGHT = "is_right"
# Digests kept to estimate how many texts are repeated. With 1,000 of them a share has a standard error of
# about one point.
MAX_DIGESTS = 1_000


@dataclass(frozen=True)
class Scores:
    """Hold the scores of rows as sums.

    `counts` are the numbers of rows by SCORE_BINS, `total` is the sum of the scores, `variance` the sum of
    score * (1 - score). `right` counts the rows of each bin whose label is the true one; None if the true
    labels are not known.
    """

    counts: tuple[int, ...]
    total: float
    variance: float
    right: tuple[int, ...] | None = None

    def __add__(self, other: "Scores") -> "Scores":
        both = None
        if self.right is not None and other.right is not None:
            both = _add(self.right, other.right)
        return Scores(
            _add(self.counts, other.counts), self.total + other.total, self.variance + other.variance, both
        )


@dataclass(frozen=True)
class Profile:
    """Hold the counts of a set of rows: scored rows, and rejects by reason.

    All other counts are of the scored rows only. `labels` and `stages` have the values that occur, `flags`
    the numbers of rows that are `unsure` and `truncated`. `figures` are histograms by BINS; a figure that was
    not measured is absent, and after a merge its histogram counts only the rows that were measured. `scores`
    are by label and stage, because each stage has its own calibration. `digests` are the smallest digests of
    texts and their numbers of rows, at most MAX_DIGESTS; None if the rows had no digests.
    """

    scored_rows: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    stages: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    scores: Mapping[tuple[str, str], Scores] = field(default_factory=dict)
    digests: Mapping[int, int] | None = None

    @property
    def rows(self) -> int:
        """Return the number of scored rows and rejects."""
        return self.scored_rows + sum(self.rejects.values())

    def merge(self, other: "Profile") -> "Profile":
        """Return the profile of both sets of rows together."""
        return Profile(
            self.scored_rows + other.scored_rows,
            _add_counts(self.rejects, other.rejects),
            _add_counts(self.labels, other.labels),
            _add_counts(self.stages, other.stages),
            _add_counts(self.flags, other.flags),
            _join(self.figures, other.figures, _add),
            _join(self.scores, other.scores, Scores.__add__),
            _merge_digests(self.digests, other.digests),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the profile as a JSON object, which `load` reads."""
        # As text: a digest has 64 bits, of which many readers of JSON keep 53.
        digests = None if self.digests is None else [[str(k), n] for k, n in self.digests.items()]
        return {
            "profile_version": PROFILE_VERSION,
            "scored_rows": self.scored_rows,
            **{name: dict(getattr(self, name)) for name in ("rejects", "labels", "stages", "flags")},
            "figures": {name: list(counts) for name, counts in self.figures.items()},
            "scores": [
                {"label": label, "stage": stage, **vars(scores)}
                for (label, stage), scores in self.scores.items()
            ],
            "digests": digests,
        }


def load(content: Mapping[str, Any]) -> Profile:
    """Return the profile that `as_dict` wrote. Raises ValueError for another version or a damaged one."""
    if content.get("profile_version") != PROFILE_VERSION:
        raise ValueError(
            f"expected profile version {PROFILE_VERSION}, found {content.get('profile_version')}"
        )
    try:
        figures = {name: tuple(counts) for name, counts in content["figures"].items()}
        scores = {(found["label"], found["stage"]): _load_scores(found) for found in content["scores"]}
        digests = content["digests"]
        profile = Profile(
            content["scored_rows"],
            **{name: content[name] for name in ("rejects", "labels", "stages", "flags")},
            figures=figures,
            scores=scores,
            digests=None if digests is None else {int(digest): n for digest, n in digests},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the profile is damaged ({type(error).__name__} at {error})") from error
    sizes = {name: len(counts) == len(BINS[name]) for name, counts in figures.items() if name in BINS}
    if len(sizes) < len(figures) or not all(sizes.values()):
        raise ValueError(f"expected histograms of {', '.join(BINS)} with their bins, found others")
    return profile


def load_profile(path: Path) -> Profile:
    """Read a profile from its file. Raises UnreadableFileError."""
    try:
        return load(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UnreadableFileError(
            f"{path}: expected a profile ({error}); remove it, or make it again"
        ) from error


def make_profile(rows: pd.DataFrame) -> Profile:
    """Return the profile of rows.

    The columns are those of predictions (`schema`), of `describe_texts`, and `is_right`. `label` and `score`
    are required; a figure whose column is missing is absent. A row with a `reject_reason` counts as a reject
    only.
    """
    reasons = rows.get(schema.REJECT_REASON, pd.Series(None, index=rows.index, dtype=object))
    scored = rows[reasons.isna()]
    return Profile(
        scored_rows=len(scored),
        rejects=_count_values(reasons),
        labels=_count_values(scored[schema.LABEL]),
        stages=_count_values(scored[schema.STAGE]) if schema.STAGE in scored else {},
        flags={
            name: int(scored[name].fillna(False).astype(bool).sum())
            for name in (schema.UNSURE, schema.TRUNCATED)
            if name in scored
        },
        figures=_count_figures(scored),
        scores=_count_scores_by_stage(scored),
        digests=_count_digests(scored[schema.TEXT_DIGEST]) if schema.TEXT_DIGEST in scored else None,
    )


def _count_figures(scored: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    columns = {name: scored[name].to_numpy(np.float64) for name in BINS if name in scored}
    if CHARS in scored and schema.N_TOKENS in scored:
        tokens = columns[schema.N_TOKENS]
        is_whole = tokens > 0
        if schema.TRUNCATED in scored:
            # The model has not seen all characters of a truncated text.
            is_whole &= ~scored[schema.TRUNCATED].fillna(False).to_numpy(bool)
        columns[CHARS_PER_TOKEN] = columns[CHARS][is_whole] / tokens[is_whole]
    return {name: count_bins(values, BINS[name]) for name, values in columns.items()}


def _count_scores_by_stage(scored: pd.DataFrame) -> dict[tuple[str, str], Scores]:
    """Return the scores by label and stage; without a column `stage`, all rows count for the encoder."""
    stages = scored.get(schema.STAGE, pd.Series(schema.ENCODER, index=scored.index))
    parts = scored.groupby([scored[schema.LABEL], stages], sort=True)
    return {(str(label), str(stage)): _count_scores(part) for (label, stage), part in parts}


def _count_scores(rows: pd.DataFrame) -> Scores:
    scores = rows[schema.SCORE].to_numpy(np.float64)
    right = None
    if IS_RIGHT in rows:
        right = count_bins(scores[rows[IS_RIGHT].to_numpy(bool)], SCORE_BINS)
    variance = float((scores * (1 - scores)).sum())
    return Scores(count_bins(scores, SCORE_BINS), float(scores.sum()), variance, right)


def _count_values(values: "pd.Series[Any]") -> dict[str, int]:
    return {str(value): int(n) for value, n in values.value_counts().sort_index().items()}


def _count_digests(digests: "pd.Series[Any]") -> dict[int, int]:
    """Count the rows of each of the smallest digests; the counts of two sets of rows can be merged."""
    found, counts = np.unique(digests.dropna().to_numpy(np.int64), return_counts=True)
    return dict(zip(found[:MAX_DIGESTS].tolist(), counts[:MAX_DIGESTS].tolist(), strict=True))


def _merge_digests(
    first: Mapping[int, int] | None, second: Mapping[int, int] | None
) -> dict[int, int] | None:
    if first is None or second is None:
        return dict(first or second or {}) or None
    both = Counter(first) + Counter(second)
    return {digest: both[digest] for digest in sorted(both)[:MAX_DIGESTS]}


def _add(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _add_counts(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in sorted({*first, *second})}


def _join(first: Mapping[Any, Any], second: Mapping[Any, Any], add: Any) -> dict[Any, Any]:
    """Return all entries, and the sums of those that are in both."""
    return {
        name: add(first[name], second[name])
        if name in first and name in second
        else first.get(name, second.get(name))
        for name in sorted({*first, *second})
    }


def _load_scores(found: Mapping[str, Any]) -> Scores:
    right = found["right"]
    scores = Scores(
        tuple(found["counts"]), found["total"], found["variance"], None if right is None else tuple(right)
    )
    if any(len(counts) != len(SCORE_BINS) for counts in (scores.counts, scores.right or scores.counts)):
        raise ValueError(f"expected scores in {len(SCORE_BINS)} bins, found others")
    return scores
