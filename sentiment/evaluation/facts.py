"""Gather what a run knows about a model, and derive from it what the report and the model card state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..inference.calibration import Calibration, CoveragePoint
from ..inference.linear import OpinionPool
from .baselines import Baseline
from .calibration import measure_coverage
from .intervals import Comparison, Interval, compare_models, measure_intervals
from .judged import JudgedReviews
from .label_errors import LabelErrors
from .metrics import Evaluation, measure
from .slices import Slice, SliceResult, find_slices, find_worst, measure_slices


class LengthPoint(Protocol):
    """State accuracy and time of one setting of `max_length`."""

    @property
    def max_length(self) -> int: ...
    @property
    def truncation(self) -> str: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def tokens_per_review(self) -> float: ...
    @property
    def truncated_share(self) -> float: ...
    @property
    def seconds(self) -> float: ...


class EngineResult(Protocol):
    """State how an engine differs from the reference engine, and if it passed the gate."""

    @property
    def engine(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def accuracy_loss_points(self) -> float | None: ...
    @property
    def flip_share(self) -> float: ...
    @property
    def mean_shift(self) -> float: ...
    @property
    def is_passed(self) -> bool: ...


class CascadePoint(Protocol):
    """State accuracy and share of the linear stage at one threshold."""

    @property
    def threshold(self) -> float: ...
    @property
    def share_early(self) -> float: ...
    @property
    def accuracy(self) -> float: ...


class CascadeResult(Protocol):
    """State the chosen threshold of the cascade, and the points that were tried."""

    @property
    def threshold(self) -> float | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def pool(self) -> OpinionPool: ...
    @property
    def accuracy_encoder(self) -> float: ...
    @property
    def accuracy_pooled(self) -> float: ...
    @property
    def accuracy_pair(self) -> float: ...
    @property
    def accuracy_linear(self) -> float: ...
    @property
    def share_early(self) -> float: ...
    @property
    def curve(self) -> Sequence[CascadePoint]: ...


@dataclass(frozen=True)
class Champion:
    """Hold the model in use: its URI, and its predictions on the same test reviews in the same order."""

    uri: str
    judged: JudgedReviews


@dataclass(frozen=True)
class ReportFacts:
    """Hold what a run knows; all but `model` and `judged`, the predictions on test reviews, may be missing.

    `are_held_out`: the run that made the model kept the test reviews out of its training; False if this is
    not known. `uncalibrated` are the probabilities (n, K) before `calibration`. `engine_reason` says why
    the model runs on `engine`. `data` and `recipe` are names and values in plain words. `missing` gives the
    reason why a section is missing, by its name in `report.SECTIONS`, where the usual reason is not true; the
    name `uncalibrated` stands for the probabilities before calibration.
    """

    model: str
    judged: JudgedReviews
    are_held_out: bool = False
    created: str = ""
    base_model: str | None = None
    licence: str | None = None
    uncalibrated: np.ndarray | None = None
    calibration: Calibration | None = None
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    champion: Champion | None = None
    lengths: Sequence[LengthPoint] = ()
    max_length: int | None = None
    engine: str | None = None
    engine_reason: str = ""
    engines: Sequence[EngineResult] = ()
    cascade: CascadeResult | None = None
    test_labels: LabelErrors | None = None
    train_labels: LabelErrors | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    recipe: Mapping[str, object] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Hold the facts, and what follows from them; `champion` compares the model (first) with the champion."""

    facts: ReportFacts
    evaluation: Evaluation
    intervals: dict[str, Interval]
    coverage: tuple[CoveragePoint, ...]
    slices: tuple[Slice, ...]
    slice_results: tuple[SliceResult, ...]
    worst: SliceResult | None
    champion: Comparison | None


def examine(facts: ReportFacts, seed: int = 0) -> Findings:
    """Measure the predictions in the facts; takes about a second for 20,000 reviews."""
    judged = facts.judged
    slices = find_slices(judged)
    results = measure_slices(judged, slices)
    return Findings(
        facts=facts,
        evaluation=measure(judged),
        intervals=measure_intervals(judged, seed),
        coverage=measure_coverage(judged.scores, judged.is_right),
        slices=slices,
        slice_results=results,
        worst=find_worst(results),
        champion=compare_models(judged, facts.champion.judged) if facts.champion else None,
    )
