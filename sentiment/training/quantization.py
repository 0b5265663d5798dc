"""Quantisation and its gate: whether a faster engine may take the place of the float32 encoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schema
from ..inference.engines import (
    REFERENCE,
    Engine,
    list_cpu_engines,
    load_engine,
    measure_deviation,
    run_engine,
    run_minibatches,
)
from ..inference.graph import F32, GRAPH_FILE, INT8, INT8_STATIC, STATIC_GRAPH_FILE
from ..inference.processor import SATURATING, find_processor
from ..inference.selfcheck import Deviation, make_self_check, save_self_check
from ..inference.settings import load_settings, save_settings
from ..inference.tokenization import Tokenizer
from .export import export_graph, export_static_graph, remove_graph

MAX_ACCURACY_LOSS_POINTS = 0.2
MAX_FLIP_SHARE = 0.005
MAX_MEAN_SHIFT = 0.01
CALIBRATION_TEXTS = 300
"""As many as NNCF takes by itself; a thousand gave the same parity."""
MIN_GATE_ROWS, MAX_GATE_ROWS = 2_000, 4_000
"""Fewer rows than the first cannot tell a loss of 0.2 points from one review."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EngineComparison:
    """Compare an engine with float32 on the same labelled reviews.

    Percentage points of accuracy lost, the share of reviews whose label differs, and the mean absolute
    difference of the probability of positive; `deviation` is on the model's self-check.
    """

    engine: str
    rows: int
    accuracy_loss_points: float
    flip_share: float
    mean_shift: float
    deviation: Deviation | None = None

    @property
    def is_passed(self) -> bool:
        return (
            self.accuracy_loss_points <= MAX_ACCURACY_LOSS_POINTS
            and self.flip_share <= MAX_FLIP_SHARE
            and self.mean_shift <= MAX_MEAN_SHIFT
            and (self.deviation is None or self.deviation.is_within_bounds)
        )

    def __str__(self) -> str:
        return (
            f"{self.engine} {'passed' if self.is_passed else 'failed'}: accuracy loss "
            f"{self.accuracy_loss_points:.2f} points (at most {MAX_ACCURACY_LOSS_POINTS}), labels flipped "
            f"{self.flip_share:.2%} ({MAX_FLIP_SHARE:.1%}), mean shift {self.mean_shift:.4f} "
            f"({MAX_MEAN_SHIFT}), on {self.rows:,} reviews"
            + (f"; self-check: {self.deviation}" if self.deviation else "")
        )

    def as_metrics(self) -> dict[str, float]:
        """Return the figures by name, for MLflow."""
        figures = ("accuracy_loss_points", "flip_share", "mean_shift")
        return {f"{self.engine}_{name}": float(getattr(self, name)) for name in figures}


def compare_engines(
    engine: str, reference: np.ndarray, probability: np.ndarray, truth: np.ndarray
) -> EngineComparison:
    """Compare two engines' probabilities of positive for the same reviews, whose classes are `truth`."""
    expected, found = reference >= 0.5, probability >= 0.5
    loss = np.mean(expected == truth) - np.mean(found == truth)
    return EngineComparison(
        engine=engine,
        rows=len(truth),
        accuracy_loss_points=float(100 * loss),
        flip_share=float(np.mean(expected != found)),
        mean_shift=float(np.mean(np.abs(reference - probability))),
    )


def quantize(
    folder: Path, calibration: Sequence[str], reviews: pd.DataFrame, progress: Progress
) -> list[EngineComparison]:
    """Give the model in `folder` its graphs, its self-check, and the fastest CPU engine that passes.

    int8 with scales fixed by the texts of `calibration` is tried first, then int8 with scales of the
    moment, then bf16 and float32, as far as this processor computes them right, on labelled `reviews`; where
    all fail the model keeps the reference engine and no graph. Its settings say which engine was chosen, why,
    and on which instruction set. Returns the comparisons made.
    """
    tokenizer = Tokenizer(folder)
    processor = find_processor()
    candidates = list_cpu_engines(INT8_STATIC, processor)[:-1]
    texts, truth = reviews["text"].tolist(), reviews["label"].to_numpy()
    tokens = tokenizer.encode(texts)
    rows = np.flatnonzero(tokens.lengths > tokens.n_special_tokens)

    def score(engine: Engine) -> np.ndarray:
        positive = np.full(len(texts), 0.5)
        n_done = 0
        batches = run_minibatches(engine, [tokens.ids[i] for i in rows], [texts[i] for i in rows])
        for chosen, found in batches:
            positive[rows[chosen]] = found[:, schema.LABELS.index(schema.POSITIVE)]
            n_done += len(chosen)
            progress(f"comparing {engine.name}", n_done, len(rows))
        return positive

    progress("making int8 graphs", 0, 2)
    export_graph(folder)
    progress("making int8 graphs", 1, 2)
    if INT8_STATIC in candidates:
        export_static_graph(folder, tokenizer.encode(calibration).ids)
    progress("making int8 graphs", 2, 2)
    right = load_engine(folder, REFERENCE)
    expected = score(right)
    check = make_self_check(
        lambda sentences: tokenizer.encode(sentences).ids,
        lambda sentences: run_engine(right, sentences),
        MAX_MEAN_SHIFT,
    )
    save_self_check(check, folder)

    comparisons = []
    for name in candidates:
        engine = load_engine(folder, name)
        comparison = compare_engines(name, expected, score(engine), truth)
        comparisons.append(replace(comparison, deviation=measure_deviation(engine, check)))
        if comparisons[-1].is_passed:
            break
    chosen = comparisons[-1].engine if comparisons[-1].is_passed else REFERENCE
    if chosen == F32 and processor.instruction_set in SATURATING:
        # The same graph: processors with VNNI may compute it in int8, if the self-check finds them right.
        chosen = INT8
    if chosen != INT8_STATIC:
        remove_graph(folder, STATIC_GRAPH_FILE)
    if chosen == REFERENCE:
        remove_graph(folder, GRAPH_FILE)
    settings = replace(
        load_settings(folder),
        cpu_engine=chosen,
        cpu_engine_reason="; ".join(map(str, comparisons)),
        gated_on=processor.instruction_set,
    )
    save_settings(settings, folder)
    return comparisons


def pick_calibration(train: pd.DataFrame, seed: int) -> list[str]:
    """Texts to fix the scales of activations by."""
    texts: list[str] = train["text"].sample(min(len(train), CALIBRATION_TEXTS), random_state=seed).tolist()
    return texts


def pick_gate_reviews(train: pd.DataFrame, validation: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The validation rows, at most `MAX_GATE_ROWS`; if they are few, with training rows beside them.

    What is measured is a change between engines, for which a text that was trained on is as good.
    """
    if len(validation) > MAX_GATE_ROWS:
        return validation.sample(MAX_GATE_ROWS, random_state=seed)
    missing = min(len(train), max(0, MIN_GATE_ROWS - len(validation)))
    return pd.concat([validation, train.sample(missing, random_state=seed)], ignore_index=True)
