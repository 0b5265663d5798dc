"""Decide from figures and bounds whether a challenger may become the champion."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import GatesConfig
from ..inference.engines import REFERENCE
from ..models.registry import import_mlflow
from .comparison import SliceComparison
from .intervals import Comparison
from .metrics import Evaluation

LABELS, FILES, ROWS, ACCURACY, F1, ECE = "labels", "files", "rows", "accuracy", "f1_macro", "ece"
UNSURE, MCNEMAR, SLICES, ENGINE = "unsure_share", "mcnemar", "slices", "engine"
SIZE, LATENCY = "size_bytes", "latency_ratio"
_NO_BOUND = "no bound in the file of gates"
_NO_CHAMPION = "there is no champion to compare with"


@dataclass(frozen=True)
class EngineFacts:
    """Hold the CPU engine of a model, and the instruction set on which it passed the gate of fine-tuning.

    `name` is None if the model does not state it, `gated_on` if no fast engine passed.
    """

    name: str | None
    gated_on: str | None


@dataclass(frozen=True)
class Figures:
    """Hold the figures that the gates judge.

    `comparison`, `slices` and `latency_ratio` compare the challenger with the champion, and are None without
    a champion. `slices` is empty if no slice has enough reviews. `unsure_share` is None if the model has no
    `min_score`, so that no prediction can be unsure.
    """

    evaluation: Evaluation
    unsure_share: float | None
    engine: EngineFacts
    size_bytes: int
    is_verified: bool
    comparison: Comparison | None = None
    slices: Sequence[SliceComparison] | None = None
    latency_ratio: float | None = None


@dataclass(frozen=True)
class GateResult:
    """Hold the figure of a gate, its bound, and the decision; `is_passed` is None if it was not judged.

    `sentence` has figure and bound in words, or why the gate was not judged.
    """

    name: str
    figure: float | None
    bound: float | None
    is_passed: bool | None
    sentence: str

    @property
    def is_failed(self) -> bool:
        return self.is_passed is False


def apply_gates(figures: Figures, bounds: GatesConfig) -> list[GateResult]:
    """Return the result of each gate, in a fixed order; a gate that is not judged has the reason."""
    found = figures.evaluation
    return [
        _judge_files(figures.is_verified),
        _judge_metric(ROWS, found.rows, bounds.min_rows, greater_is_better=True),
        _judge_metric(ACCURACY, found.accuracy, bounds.min_accuracy, greater_is_better=True),
        _judge_metric(F1, found.f1_macro, bounds.min_f1_macro, greater_is_better=True),
        _judge_metric(ECE, found.ece, bounds.max_ece),
        _judge_metric(
            UNSURE,
            figures.unsure_share,
            bounds.max_unsure_share,
            missing="the model has no min_score, so no prediction is unsure",
        ),
        _judge_comparison(figures.comparison, bounds.min_p_value),
        _judge_slices(figures.slices, bounds),
        _judge_engine(figures.engine, bounds.has_gated_engine),
        _judge_metric(SIZE, figures.size_bytes, bounds.max_size_bytes),
        _judge_metric(LATENCY, figures.latency_ratio, bounds.max_latency_ratio, missing=_NO_CHAMPION),
    ]


def judge_labels(challenger: Sequence[str], champion: Sequence[str] | None) -> GateResult:
    """Judge whether both models have the same labels, in any order; the other gates need this."""
    if champion is None:
        return _not_judged(LABELS, _NO_CHAMPION)
    new, old = (f"[{', '.join(labels)}]" for labels in (challenger, champion))
    if set(challenger) == set(champion):
        return GateResult(LABELS, len(challenger), len(champion), True, f"{new}, as the champion")
    return GateResult(LABELS, len(challenger), len(champion), False, f"{new}, the champion has {old}")


def find_failed(results: Sequence[GateResult]) -> list[GateResult]:
    """Return the gates that refuse the challenger."""
    return [result for result in results if result.is_failed]


def _judge_metric(
    name: str,
    figure: float | None,
    bound: float | None,
    greater_is_better: bool = False,
    missing: str = "",
) -> GateResult:
    """Judge one figure by `mlflow.validate_evaluation_results`: a figure at the bound passes, NaN fails."""
    if bound is None:
        return _not_judged(name, _NO_BOUND, figure)
    if figure is None:
        return _not_judged(name, missing, bound=bound)
    mlflow = import_mlflow()
    from mlflow.models.evaluation import EvaluationResult

    threshold = mlflow.models.MetricThreshold(threshold=bound, greater_is_better=greater_is_better)
    try:
        mlflow.validate_evaluation_results({name: threshold}, EvaluationResult({name: figure}, {}))
        is_passed = True
    except mlflow.models.evaluation.validation.ModelValidationFailedException:
        is_passed = False
    sentence = f"{_show(figure)}, at {'least' if greater_is_better else 'most'} {_show(bound)}"
    return GateResult(name, figure, bound, is_passed, sentence)


def _judge_files(is_verified: bool) -> GateResult:
    if not is_verified:
        return _not_judged(FILES, "the registry has no record of the files (--allow_unverified)")
    return GateResult(FILES, None, None, True, "those that the registry recorded")


def _judge_comparison(found: Comparison | None, bound: float | None) -> GateResult:
    """Refuse a challenger that gets fewer reviews right, if McNemar's p value is below the bound."""
    if bound is None or found is None:
        return _not_judged(MCNEMAR, _NO_BOUND if bound is None else _NO_CHAMPION, bound=bound)
    is_worse = found.only_first > found.only_second
    sentence = (
        f"p {found.p_value:.3g}, at least {bound:g} if less accurate: only the champion gets "
        f"{found.only_first:,} right, only the challenger {found.only_second:,}"
    )
    return GateResult(MCNEMAR, found.p_value, bound, not (is_worse and found.p_value < bound), sentence)


def _judge_slices(slices: Sequence[SliceComparison] | None, bounds: GatesConfig) -> GateResult:
    """Refuse a challenger that lost more accuracy than the bound in a slice, and surely not by chance.

    A loss is surely not chance if its 95 % interval is above 0.
    """
    bound = bounds.max_slice_drop
    if bound is None or slices is None:
        return _not_judged(SLICES, _NO_BOUND if bound is None else _NO_CHAMPION, bound=bound)
    if not slices:
        return _not_judged(SLICES, f"no slice has {bounds.min_slice_rows} reviews", bound=bound)
    failed = [found for found in slices if found.drop > bound and found.is_sure]
    worst = max(failed or slices, key=lambda found: found.drop)
    if worst.drop <= 0:
        return GateResult(SLICES, worst.drop, bound, True, f"none of {len(slices)} slices lost accuracy")
    others = f", and {len(failed) - 1} more slices" if len(failed) > 1 else ""
    chance = "" if worst.is_sure or worst.drop <= bound else ", which may be chance"
    sentence = (
        f"{worst.drop:.3f} lost in {worst.name} {worst.value} ({worst.rows:,} reviews){chance}{others}, "
        f"at most {bound:g}"
    )
    return GateResult(SLICES, worst.drop, bound, not failed, sentence)


def _judge_engine(engine: EngineFacts, is_required: bool) -> GateResult:
    if not is_required:
        return _not_judged(ENGINE, _NO_BOUND)
    if engine.name is None:
        return _not_judged(ENGINE, "the model does not state its engine")
    if engine.name == REFERENCE or engine.gated_on is None:
        reason = f"{engine.name}, since no faster engine passed the gate of fine-tuning"
        return GateResult(ENGINE, None, None, False, reason)
    return GateResult(ENGINE, None, None, True, f"{engine.name}, gated on {engine.gated_on}")


def _not_judged(
    name: str, reason: str, figure: float | None = None, bound: float | None = None
) -> GateResult:
    return GateResult(name, figure, bound, None, f"not judged: {reason}")


def _show(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
