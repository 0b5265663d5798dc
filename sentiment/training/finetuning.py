"""Run the whole recipe from labelled reviews to a registered model."""

import time
from contextlib import ExitStack
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
from . import processes
from .augmentation import augment_rows
from .cascade import CascadeChoice
from .checkpoints import Checkpoints, digest_run, open_checkpoints
from .data.reading import DataReport, LabelledReviews, load_labelled_reviews
from .data.splits import Splits
from .encoders import Encoder, find_max_length, load_encoder
from .evaluation import Baseline, Evaluation, evaluate_model, measure_baselines
from .figures import draw_confusion_matrix, draw_learning_curve
from .optimization import optimize
from .packaging import log_model, save_encoder
from .processes import Termination
from .runs import open_run
from .search import SearchResult, search


@dataclass(frozen=True)
class FinetuneSummary:
    """Hold the results of a run.

    `train_samples_per_second` counts the training rows of all epochs since the last start; the time includes
    validation and checkpoints. `warnings` names checkpoints that were not used.
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
    run_id: str
    search: SearchResult | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"data": self.data.as_dict()}


def finetune(
    config: FinetuneConfig, progress: Progress, termination: Termination | None = None
) -> FinetuneSummary | None:
    """Fine-tune, optimise, evaluate, log and register one model; MLflow tracking must be set up before.

    With `checkpoint_dir` a run that was killed continues: its checkpoints and its MLflow run are found by a
    digest of configuration, data and code. Of several processes (torchrun) only the main one logs, and
    returns a summary; the others return None.
    """
    started = time.monotonic()
    processes.connect()
    with ExitStack() as stack:
        with processes.sharing_errors():
            progress("reading reviews", 0, 1, config.dataset_name)
            encoder, reviews = _prepare(config, progress)
            digest = digest_run(config, reviews.digest)
            checkpoints = stack.enter_context(open_checkpoints(config.checkpoint_dir, digest))
            if processes.get_rank() == 0:
                registry.open_experiment(config.experiment)
                stack.enter_context(open_run(checkpoints, digest))
                log_data(config, reviews)
        history, found = _train(encoder, reviews.splits, config, checkpoints, progress, termination)
        if processes.get_rank() != 0:
            return None
        processes.use_cores()
        summary = _finish(encoder, reviews, config, history, progress)
    seconds = time.monotonic() - started
    warnings = (*reviews.report.counts.warnings, *checkpoints.warnings)
    return replace(summary, search=found, warnings=warnings, seconds=seconds)


def _prepare(config: FinetuneConfig, progress: Progress) -> tuple[Encoder, LabelledReviews]:
    if config.signing_key is not None:
        check_signing_key(Path(config.signing_key))
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
    reviews = load_labelled_reviews(
        config, lambda rows, file: progress("reading reviews", 0, 0, f"{rows:,} rows, {file}")
    )
    require_two_classes(reviews)
    return encoder, reviews


def _train(
    encoder: Encoder,
    splits: Splits,
    config: FinetuneConfig,
    checkpoints: Checkpoints,
    progress: Progress,
    termination: Termination | None,
) -> tuple[list[dict[str, float]], SearchResult | None]:
    """Train the encoder, or load the weights that an earlier start kept; with a search, the best ones."""
    from .trainer import train_encoder

    # Only the encoder trains on augmented texts; int8 scales and the linear stage use the original ones.
    if config.augment:
        splits = replace(splits, train=augment_rows(splits.train, config.seed))
    if config.search or config.search_minutes:
        return search(encoder, splits, config, checkpoints, progress, termination)
    return train_encoder(encoder, splits, config, checkpoints, progress, termination), None


def _finish(
    encoder: Encoder,
    reviews: LabelledReviews,
    config: FinetuneConfig,
    history: list[dict[str, float]],
    progress: Progress,
) -> FinetuneSummary:
    """Optimise, evaluate, package and register the trained encoder."""
    from .trainer import describe_device

    with TemporaryDirectory(prefix="sentiment-") as scratch:
        folder = Path(scratch) / ENCODER_ARTIFACT  # the logged model keeps this name
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
        train_samples_per_second=history[-1]["train_samples_per_second"],
        run_id=registry.import_mlflow().active_run().info.run_id,
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
