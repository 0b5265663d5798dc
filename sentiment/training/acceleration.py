"""Make a fine-tuned encoder cheap to run; measure each part before the model may use it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .. import schema
from ..config import FinetuneConfig
from ..inference.engines import AUTO
from ..inference.linear import LINEAR_FILE
from ..inference.predictor import OFF, Predictor
from ..inference.settings import Settings, load_settings
from ..models import registry
from .cascade import CascadeChoice, choose_threshold, train_linear
from .data.splits import Splits
from .evaluation import positive_probabilities
from .figures import draw_cascade_curve, draw_length_curve
from .lengths import measure_lengths
from .quantization import EngineComparison, pick_calibration, pick_gate_reviews, quantize

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Acceleration:
    """Hold what the model folder was given. `cascade` is None where it was switched off."""

    settings: Settings
    comparisons: list[EngineComparison]
    cascade: CascadeChoice | None


def accelerate(
    folder: Path, splits: Splits, config: FinetuneConfig, max_positions: int | None, progress: Progress
) -> Acceleration:
    """Quantise the model in `folder`, fit its cascade, and log to the active run what each is worth."""
    mlflow = registry.import_mlflow()
    reviews = pick_gate_reviews(splits.train, splits.validation, config.seed)
    comparisons = quantize(
        folder,
        pick_calibration(splits.train, config.seed),
        reviews,
        lambda stage, done, total: progress(stage, done, total, ""),
    )
    for comparison in comparisons:
        mlflow.log_metrics(comparison.as_metrics())
    settings = load_settings(folder)
    mlflow.set_tag("engine", settings.cpu_engine)

    points = measure_lengths(
        folder,
        splits.validation,
        max_positions or config.max_length,
        config.seed,
        lambda stage, done, total: progress(stage, done, total, ""),
    )
    mlflow.log_figure(draw_length_curve(points, config.max_length), "length_accuracy_cost.png")
    cascade = _fit_cascade(folder, splits, config, progress) if config.cascade == AUTO else None
    if cascade is not None:
        mlflow.log_metrics(cascade.as_metrics())
        mlflow.log_figure(draw_cascade_curve(cascade), "cascade.png")
    return Acceleration(settings, comparisons, cascade)


def _fit_cascade(folder: Path, splits: Splits, config: FinetuneConfig, progress: Progress) -> CascadeChoice:
    """Train the linear stage, and put it into the folder if a threshold passes."""
    progress("training the linear stage", 0, 1, "")
    stage = train_linear(splits.train, config.seed)
    texts = splits.validation["text"].tolist()
    predictions = Predictor(folder, cascade=OFF).predict(
        texts, lambda done, total: progress("choosing a threshold", done, total, "")
    )
    choice = choose_threshold(
        stage.positive_probabilities(texts),
        positive_probabilities(predictions),
        splits.validation["label"].to_numpy(),
        predictions[schema.N_TOKENS].to_numpy(),
        config.seed,
    )
    if choice.threshold is not None:
        replace(stage, threshold=choice.threshold).save(folder / LINEAR_FILE)
    return choice
