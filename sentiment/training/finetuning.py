"""Run the whole recipe from labelled reviews to a registered model."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..cli import Progress
from ..config import FinetuneConfig
from ..errors import SentimentError
from ..inference.predictor import Predictor
from ..inference.pyfunc import ENCODER_ARTIFACT
from ..models import registry
from ..models.signatures import check_signing_key
from .augmentation import augment
from .cascade import CascadeChoice
from .data.reading import DataReport, LabelledReviews, load_labelled_reviews
from .encoders import Encoder, find_max_length, load_encoder
from .evaluation import Baseline, Evaluation, evaluate_model, measure_baselines
from .figures import draw_confusion_matrix, draw_learning_curve
from .optimization import optimize
from .packaging import save_encoder
from .registration import explain_kept, keep, register
from .rehearsal import rehearse
from .run_log import RunLog, start_run

# Where models go that could not be registered.
UNREGISTERED = Path("var") / "unregistered"


@dataclass(frozen=True)
class FinetuneSummary:
    """Hold the results of a run; `notes` are sentences on what was not used.

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
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def finetune(config: FinetuneConfig, progress: Progress, kept: Path = UNREGISTERED) -> FinetuneSummary:
    """Fine-tune, optimise, evaluate, log and register one model; MLflow tracking must be set up before.

    A model that cannot be registered is kept in a folder below `kept`, which the error names.
    """
    from .trainer import describe_device, finetune_encoder

    started = time.monotonic()
    if config.signing_key is not None:
        check_signing_key(Path(config.signing_key))
    registry.open_experiment(config.experiment)
    progress("trying the encoder", 0, 1, config.distilbert_model)
    encoder, notes = prepare_encoder(config)
    progress("reading reviews", 0, 1, config.dataset_name)
    reviews = load_labelled_reviews(config)
    with start_run() as log, TemporaryDirectory(prefix="sentiment-") as scratch:
        folder = Path(scratch) / ENCODER_ARTIFACT  # the logged model keeps this name
        log_data(config, reviews, log)
        train_started = time.monotonic()
        # Only the encoder trains on augmented texts; int8 scales and the linear stage use the original ones.
        train = augment(reviews.splits.train, config.seed) if config.augment else reviews.splits.train
        history = finetune_encoder(
            encoder,
            replace(reviews.splits, train=train),
            config,
            lambda done, total, note: progress("fine-tuning", done, total, note),
            log.log_metrics,
        )
        train_seconds = time.monotonic() - train_started
        save_encoder(encoder, folder, config.max_length, config.truncation)
        optimized = optimize(folder, reviews.splits, config, find_max_length(encoder), log, progress)
        evaluation = evaluate_model(
            Predictor(folder, cascade=config.cascade),
            reviews.splits.test,
            lambda done, total: progress("testing", done, total, ""),
        )
        progress("measuring baselines", 0, 1, "")
        baselines = measure_baselines(reviews.splits.train, reviews.splits.test)
        log_results(evaluation, baselines, history, log)
        summary = FinetuneSummary(
            model_uri="",
            model_version="",
            model_name=config.registered_model_name,
            alias=config.alias,
            base_model=encoder.name,
            dataset=config.dataset_name,
            data=reviews.report,
            data_digest=reviews.digest,
            train_rows=reviews.report.train_rows,
            test=evaluation,
            baselines=baselines,
            engine=optimized.settings.cpu_engine,
            engine_reason=optimized.settings.cpu_engine_reason,
            cascade=optimized.cascade,
            device=describe_device(),
            train_samples_per_second=_rows_trained(history, reviews) / train_seconds,
            seconds=time.monotonic() - started,
            notes=notes,
        )
        progress("packaging", 0, 1, "")
        registered = register_or_keep(folder, encoder, reviews.text_col, config, summary, log, kept)
    return replace(registered, notes=(*registered.notes, *log.notes), seconds=time.monotonic() - started)


def prepare_encoder(config: FinetuneConfig) -> tuple[Encoder, tuple[str, ...]]:
    """Load the encoder and run it once; return it, and notes on what of it is not used."""
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
    problem = rehearse(encoder, config.max_length, config.truncation)
    slow = () if problem is None else (f"the model runs on the engine `reference`: {problem}",)
    return encoder, (*encoder.notes, *slow)


def register_or_keep(
    folder: Path,
    encoder: Encoder,
    text_col: str,
    config: FinetuneConfig,
    summary: FinetuneSummary,
    log: RunLog,
    kept: Path,
) -> FinetuneSummary:
    """Register the model and complete the summary; if that fails, keep the model and raise the error."""
    try:
        model = register(folder, encoder, config, text_col)
    except SentimentError as error:
        where = keep(folder, encoder, config, text_col, log.run_id, summary.as_dict(), kept)
        unfinished = replace(summary, model_uri=str(where), alias=None)
        raise explain_kept(where, error, unfinished.as_dict()) from error
    return replace(summary, model_uri=model.registered_uri, model_version=model.version)


def log_data(config: FinetuneConfig, reviews: LabelledReviews, log: RunLog) -> None:
    """Log the configuration, and name, digest and counts of the data."""
    values = asdict(config) | {"text_col": reviews.text_col, "data_digest": reviews.digest}
    log.log_params({name: value for name, value in values.items() if name != "register"})
    log.log_params(reviews.report.as_dict())
    log.log_dataset(config.dataset_name, reviews.digest)


def log_results(
    evaluation: Evaluation,
    baselines: dict[str, Baseline],
    history: list[dict[str, float]],
    log: RunLog,
) -> None:
    """Log the results of the model and of the baselines, and the pictures."""
    log.log_metrics({f"test_{name}": value for name, value in evaluation.as_metrics().items()})
    for name, baseline in baselines.items():
        log.log_metrics({f"baseline_{name}_{k}": v for k, v in asdict(baseline).items()})
    log.log_figure(draw_confusion_matrix(evaluation), "confusion_matrix.png")
    log.log_figure(draw_learning_curve(history), "learning_curve.png")


def _rows_trained(history: list[dict[str, float]], reviews: LabelledReviews) -> float:
    epochs = max((row.get("epoch", 0.0) for row in history), default=0.0)
    return epochs * len(reviews.splits.train)
