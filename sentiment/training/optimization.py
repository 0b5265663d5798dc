"""Make a fine-tuned encoder fast: quantise it and fit the cascade, each behind a gate."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from .. import schema
from ..cli import Progress
from ..config import FinetuneConfig
from ..inference.engines import AUTO
from ..inference.linear import LINEAR_FILE
from ..inference.predictor import OFF, Predictor
from ..inference.settings import Settings, load_settings
from .cascade import MAX_TRAIN_ROWS, CascadeChoice, choose_threshold, train_linear
from .data.splits import Splits
from .evaluation import positive_probabilities
from .figures import draw_cascade_curve, draw_length_curve
from .lengths import measure_lengths
from .quantization import pick_calibration, pick_gate_reviews, quantize
from .run_log import RunLog


@dataclass(frozen=True)
class Optimization:
    """Hold the settings of the optimised model, and its cascade; None if that is switched off."""

    settings: Settings
    cascade: CascadeChoice | None


def optimize(
    folder: Path,
    splits: Splits,
    config: FinetuneConfig,
    max_positions: int | None,
    log: RunLog,
    progress: Progress,
) -> Optimization:
    """Quantise the model in `folder`, fit its cascade, and log the measurements."""
    train = splits.load_train(MAX_TRAIN_ROWS, config.seed)
    reviews = pick_gate_reviews(train, splits.validation, config.seed)
    for comparison in quantize(folder, pick_calibration(train, config.seed), reviews, progress):
        log.log_metrics(comparison.as_metrics())
    settings = load_settings(folder)
    log.set_tag("engine", settings.cpu_engine)

    longest = max_positions or config.max_length
    points = measure_lengths(folder, splits.validation, longest, config.seed, progress)
    log.log_figure(draw_length_curve(points, config.max_length), "length_accuracy_cost.png")
    cascade = None
    if config.cascade == AUTO:
        cascade = _fit_cascade(folder, train, splits.validation, config, progress)
    if cascade is not None:
        log.log_metrics(cascade.as_metrics())
        log.log_figure(draw_cascade_curve(cascade), "cascade.png")
    return Optimization(settings, cascade)


def _fit_cascade(
    folder: Path, train: pd.DataFrame, validation: pd.DataFrame, config: FinetuneConfig, progress: Progress
) -> CascadeChoice:
    """Train the linear stage, and save it in the folder if a threshold passes."""
    progress("training the linear stage", 0, 1, "")
    stage = train_linear(train, config.seed)
    texts = validation["text"].tolist()
    predictions = Predictor(folder, cascade=OFF).predict(
        texts, lambda done, total: progress("choosing a threshold", done, total, "")
    )
    choice = choose_threshold(
        stage.positive_probabilities(texts),
        positive_probabilities(predictions),
        validation["label"].to_numpy(),
        predictions[schema.N_TOKENS].to_numpy(),
        config.seed,
    )
    if choice.threshold is not None:
        replace(stage, threshold=choice.threshold).save(folder / LINEAR_FILE)
    return choice
