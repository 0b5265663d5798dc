"""Run the whole recipe from labelled reviews to a registered model."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .. import schema
from ..cli import Progress
from ..config import FinetuneConfig
from ..errors import UnusableLabelsError
from ..inference.predictor import Predictor
from ..inference.pyfunc import ENCODER_ARTIFACT
from ..models import registry
from ..models.signatures import check_signing_key
from .augmentation import augment_rows
from .cascade import CascadeChoice
from .data.reading import DataReport, LabelledReviews, load_labelled_reviews
from .encoders import find_max_length, load_encoder
from .evaluation import Baseline, Evaluation, evaluate_model, measure_baselines
from .figures import draw_confusion_matrix, draw_learning_curve
from .optimization import optimize
from .packaging import log_model, save_encoder


@dataclass(frozen=True)
class FinetuneSummary:
    """Hold the results of a run.

    `train_samples_per_second` counts the training rows of all epochs; the time includes tokenisation,
    validation and checkpoints.
    """

    model_uri: str
    model_version: str
    model_name: str
    alias: str | None
    base_model: str
    dataset: str
    data: DataReport
    data_digest: str
    train_rows: int
    test: Evaluation
    baselines: dict[str, Baseline]
    engine: str
    engine_reason: str
    cascade: CascadeChoice | None
    device: str
    train_samples_per_second: float
    seconds: float
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"data": self.data.as_dict()}


def finetune(config: FinetuneConfig, progress: Progress) -> FinetuneSummary:
    """Fine-tune, optimise, evaluate, log and register one model; MLflow tracking must be set up before."""
    from .trainer import describe_device, finetune_encoder

    started = time.monotonic()
    mlflow = registry.import_mlflow()
    if config.signing_key is not None:
        check_signing_key(Path(config.signing_key))
    progress("reading reviews", 0, 1, config.dataset_name)
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
    reviews = load_labelled_reviews(
        config, lambda rows, file: progress("reading reviews", 0, 0, f"{rows:,} rows, {file}")
    )
    require_two_classes(reviews)
    registry.open_experiment(config.experiment)
    with mlflow.start_run(), TemporaryDirectory(prefix="sentiment-") as scratch:
        folder = Path(scratch) / ENCODER_ARTIFACT  # the logged model keeps this name
        log_data(config, reviews)
        train_started = time.monotonic()
        # Only the encoder trains on augmented texts; int8 scales and the linear stage use the original ones.
        train = augment_rows(reviews.splits.train, config.seed) if config.augment else reviews.splits.train
        history = finetune_encoder(
            encoder,
            replace(reviews.splits, train=train),
            config,
            lambda done, total, note: progress("fine-tuning", done, total, note),
            lambda metrics, step: mlflow.log_metrics(dict(metrics), step=step),
        )
        train_seconds = time.monotonic() - train_started
        save_encoder(encoder, folder, config.max_length, config.truncation)
        optimized = optimize(folder, reviews.splits, config, find_max_length(encoder), progress)
        evaluation = evaluate_model(
            Predictor(folder, cascade=config.cascade),
            reviews.splits.test,
            lambda done, total: progress("testing", done, total, ""),
        )
        progress("measuring baselines", 0, 1, "")
        baselines = measure_baselines(reviews.splits.train["label"][:], reviews.splits.test)
        log_results(evaluation, baselines, history)
        progress("packaging", 0, 1, "")
        model = log_model(folder, encoder, config, reviews.text_col)
    if config.alias is not None:
        registry.set_alias(config.registered_model_name, config.alias, model.version)
    return FinetuneSummary(
        model_uri=model.registered_uri,
        model_version=model.version,
        model_name=config.registered_model_name,
        alias=config.alias,
        base_model=encoder.name,
        dataset=config.dataset_name,
        data=reviews.report,
        data_digest=reviews.digest,
        train_rows=reviews.report.counts.train_rows,
        test=evaluation,
        baselines=baselines,
        engine=optimized.settings.cpu_engine,
        engine_reason=optimized.settings.cpu_engine_reason,
        cascade=optimized.cascade,
        device=describe_device(),
        train_samples_per_second=_rows_trained(history, reviews) / train_seconds,
        seconds=time.monotonic() - started,
        warnings=tuple(reviews.report.counts.warnings),
    )


def require_two_classes(reviews: LabelledReviews) -> None:
    """Raise UnusableLabelsError if the classes are not negative and positive."""
    if reviews.label_names != schema.LABELS:
        raise UnusableLabelsError(
            f"a model has the classes {' and '.join(schema.LABELS)}, found {len(reviews.label_names)} "
            "classes; pass --label_scheme polarity, or --label_map "
            "'VALUE,VALUE=negative;VALUE=;VALUE=positive'"
        )


def log_data(config: FinetuneConfig, reviews: LabelledReviews) -> None:
    """Log the configuration and a description of the data to the active run."""
    mlflow = registry.import_mlflow()
    mlflow.log_params(asdict(config) | {"text_col": reviews.text_col, "data_digest": reviews.digest})
    mlflow.log_params(reviews.report.count_rows())
    mlflow.log_dict(reviews.report.as_dict(), "data.json")


def log_results(
    evaluation: Evaluation, baselines: dict[str, Baseline], history: list[dict[str, float]]
) -> None:
    """Log the results of the model and of the baselines, and the pictures, to the active run."""
    mlflow = registry.import_mlflow()
    mlflow.log_metrics({f"test_{name}": value for name, value in evaluation.as_metrics().items()})
    for name, baseline in baselines.items():
        mlflow.log_metrics({f"baseline_{name}_{k}": v for k, v in asdict(baseline).items()})
    mlflow.log_figure(draw_confusion_matrix(evaluation), "confusion_matrix.png")
    mlflow.log_figure(draw_learning_curve(history), "learning_curve.png")


def _rows_trained(history: list[dict[str, float]], reviews: LabelledReviews) -> float:
    epochs = max((row.get("epoch", 0.0) for row in history), default=0.0)
    return epochs * len(reviews.splits.train)
