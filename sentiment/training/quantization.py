"""Quantisation and its gate: whether a faster engine may take the place of the float32 encoder."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..inference.engines import REFERENCE
from ..inference.graph import BF16, GRAPH_FILE, INT8, INT8_STATIC, STATIC_GRAPH_FILE
from ..inference.predictor import OFF, Predictor
from ..inference.settings import load_settings, save_settings
from ..inference.tokenization import Tokenizer
from .evaluation import positive_probabilities
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
    """An engine beside float32 on the same labelled reviews.

    Percentage points of accuracy lost, the share of reviews whose label differs, and the mean absolute
    difference of the probability of positive.
    """

    engine: str
    rows: int
    accuracy_loss_points: float
    flip_share: float
    mean_shift: float

    @property
    def is_passed(self) -> bool:
        return (
            self.accuracy_loss_points <= MAX_ACCURACY_LOSS_POINTS
            and self.flip_share <= MAX_FLIP_SHARE
            and self.mean_shift <= MAX_MEAN_SHIFT
        )

    def __str__(self) -> str:
        return (
            f"{self.engine} {'passed' if self.is_passed else 'failed'}: accuracy loss "
            f"{self.accuracy_loss_points:.2f} points (at most {MAX_ACCURACY_LOSS_POINTS}), labels flipped "
            f"{self.flip_share:.2%} ({MAX_FLIP_SHARE:.1%}), mean shift {self.mean_shift:.4f} "
            f"({MAX_MEAN_SHIFT}), on {self.rows:,} reviews"
        )

    def as_metrics(self) -> dict[str, float]:
        """The figures by name, for MLflow."""
        values = {name: value for name, value in asdict(self).items() if name not in ("engine", "rows")}
        return {f"{self.engine}_{name}": float(value) for name, value in values.items()}


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
    """Give the model in `folder` its graphs, and the fastest CPU engine that passes.

    int8 with scales fixed by the texts of `calibration` is tried first, then int8 with scales of the
    moment, then bf16, on labelled `reviews`; where all fail the model keeps the reference engine, in
    float32, and no graph. Its settings say which and why. Returns the comparisons made.
    """
    texts, truth = reviews["text"].tolist(), reviews["label"].to_numpy()

    def score(engine: str) -> np.ndarray:
        predictor = Predictor(folder, engine=engine, cascade=OFF)
        return positive_probabilities(
            predictor.predict(texts, lambda done, total: progress(f"comparing {engine}", done, total))
        )

    progress("making int8 graphs", 0, 2)
    export_graph(folder)
    progress("making int8 graphs", 1, 2)
    export_static_graph(folder, Tokenizer(folder).encode(calibration).ids)
    progress("making int8 graphs", 2, 2)
    reference = score(REFERENCE)
    comparisons: list[EngineComparison] = []
    for engine in (INT8_STATIC, INT8, BF16):
        comparisons.append(compare_engines(engine, reference, score(engine), truth))
        if comparisons[-1].is_passed:
            break
    chosen = comparisons[-1].engine if comparisons[-1].is_passed else REFERENCE
    if chosen != INT8_STATIC:
        remove_graph(folder, STATIC_GRAPH_FILE)
    if chosen == REFERENCE:
        remove_graph(folder, GRAPH_FILE)
    reason = "; ".join(map(str, comparisons))
    save_settings(replace(load_settings(folder), cpu_engine=chosen, cpu_engine_reason=reason), folder)
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
