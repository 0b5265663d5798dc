"""Run the whole recipe from labelled reviews to a registered model."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..cli import Progress
from ..config import FinetuneConfig
from ..errors import SentimentError
from ..evaluation.baselines import Baseline
from ..evaluation.judged import judge_reviews
from ..evaluation.metrics import Evaluation
from ..inference.predictor import Predictor
from ..inference.pyfunc import ENCODER_ARTIFACT
from ..models.tracking import without_autologging
from . import processes
from .augmentation import augment_rows
from .cascade import CascadeChoice
from .checkpoints import Checkpoints, digest_encoder, digest_inputs, list_inputs, open_checkpoints
from .data.reading import DataReport, LabelledReviews
from .distillation import Distillation, distil
from .encoders import Encoder, find_max_length
from .figures import draw_learning_curve
from .optimization import optimize
from .packaging import save_encoder
from .processes import Termination
from .registration import explain_kept, keep, register
from .reporting import examine_model, log_evaluation, log_report, write_reference
from .run_log import RunLog
from .runs import Training, list_params, open_run
from .search import SearchResult, search
from .starting import connect, find_unlabelled, load_first_encoder, read_reviews, try_encoder, with_labels
from .unlabelled import UnlabelledReviews

# Where models go that could not be registered.
UNREGISTERED = Path("var") / "unregistered"


@dataclass(frozen=True)
class FinetuneSummary:
    """Hold the results of a run; `notes` are sentences on what of the encoder was not used.

    `train_samples_per_second` counts the training rows of all epochs since the last start; the time includes
    validation and checkpoints. `warnings` are sentences on the data, and on checkpoints that were not used.
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
    labels: tuple[str, ...]
    temperature: float
    power: float
    min_score: float
    search: SearchResult | None = None
    distillation: Distillation | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"data": self.data.as_dict()}


@without_autologging()
def finetune(
    config: FinetuneConfig,
    progress: Progress,
    termination: Termination | None = None,
    kept: Path = UNREGISTERED,
) -> FinetuneSummary | None:
    """Fine-tune, optimise, evaluate, log and register one model; MLflow tracking must be set up before.

    With `checkpoint_dir` a run that was killed continues: its checkpoints and its MLflow run are found by a
    digest of configuration, data, first weights and code. With several processes (torchrun) only the main one
    logs, and returns a summary; the others return None. A model that cannot be registered is kept in a folder
    below `kept`, which the error names.
    """
    started = time.monotonic()
    connect(config, progress)
    encoder = load_first_encoder(config)
    reviews = read_reviews(config, progress)
    encoder = with_labels(encoder, reviews.label_names, config)
    with ExitStack() as stack:
        unlabelled = find_unlabelled(config, reviews, stack, progress)
        with processes.sharing_errors():
            notes = try_encoder(encoder, config, progress)
            checkpoints, log = open_outputs(encoder, reviews, unlabelled, config, stack, progress)
        training = Training(reviews.splits, config, checkpoints, log, progress, termination)
        trained = _train(encoder, training, unlabelled)
        if log is None:
            return None
        processes.use_cores()
        summary = _finish(encoder, reviews, config, trained, log, kept, progress)
    unread = unlabelled.warnings if unlabelled else ()
    return replace(
        summary,
        notes=(*notes, *summary.notes, *log.notes),
        warnings=(*reviews.report.counts.warnings, *unread, *checkpoints.warnings),
        seconds=time.monotonic() - started,
    )


def open_outputs(
    encoder: Encoder,
    reviews: LabelledReviews,
    unlabelled: UnlabelledReviews | None,
    config: FinetuneConfig,
    stack: ExitStack,
    progress: Progress,
) -> tuple[Checkpoints, RunLog | None]:
    """Open the checkpoints of this run and, in the main process, its MLflow run; `stack` closes them."""
    facts = {"data": reviews.digest, "unlabelled data": unlabelled.digest if unlabelled else ""}
    inputs = list_inputs(config, **facts, encoder=digest_encoder(encoder))
    checkpoints = stack.enter_context(open_checkpoints(config.checkpoint_dir, inputs))
    for warning in checkpoints.warnings:
        progress("checkpoints", 0, 1, warning)
    if processes.get_rank() != 0:
        return checkpoints, None
    log = stack.enter_context(open_run(checkpoints, digest_inputs(inputs)))
    log_data(config, reviews, log)
    if unlabelled is not None:
        log.log_params({"unlabelled_digest": unlabelled.digest})
    return checkpoints, log


@dataclass(frozen=True)
class Trained:
    """Hold the log of the training, and what a search or a teacher found before it."""

    history: list[dict[str, float]]
    search: SearchResult | None = None
    distillation: Distillation | None = None


def _train(encoder: Encoder, training: Training, unlabelled: UnlabelledReviews | None) -> Trained:
    """Train the encoder, or load the weights that an earlier start kept; with a search, the best ones."""
    from .trainer import train_encoder

    config, splits = training.config, training.splits
    # Only encoders train on augmented texts; int8 scales and linear models use the original ones.
    if config.augment:
        train = augment_rows(splits.train, encoder.labels, config.seed)
        training = replace(training, splits=replace(splits, train=train))
    if config.search or config.search_minutes:
        return Trained(*search(encoder, training))
    if unlabelled is not None:
        history, counts = distil(encoder, training, splits, unlabelled)
        return Trained(history, distillation=counts)
    return Trained(train_encoder(encoder, training))


def _finish(
    encoder: Encoder,
    reviews: LabelledReviews,
    config: FinetuneConfig,
    trained: Trained,
    log: RunLog,
    kept: Path,
    progress: Progress,
) -> FinetuneSummary:
    """Optimise, evaluate, package and register the trained encoder."""
    from .trainer import describe_device

    with TemporaryDirectory(prefix="sentiment-") as scratch:
        folder = Path(scratch) / ENCODER_ARTIFACT  # the logged model keeps this name
        save_encoder(encoder, folder, config.max_length, config.truncation)
        optimized = optimize(folder, reviews.splits, config, find_max_length(encoder), log, progress)
        judged = judge_reviews(
            Predictor(folder, probabilities=True),
            reviews.splits.test,
            lambda done, total: progress("testing", done, total, ""),
        )
        progress("writing the report", 0, 1, "")
        recipe = replace(config, **trained.search.best) if trained.search else config
        findings = examine_model(judged, reviews, optimized, encoder, recipe)
        log_evaluation(findings, folder, log)
        test_texts = reviews.splits.test["text"].tolist()
        write_reference(judged, test_texts, folder)
        notes = (*optimized.notes, *log_report(findings, test_texts, config, log))
        log.log_figure(draw_learning_curve(trained.history), "learning_curve.png")
        if trained.distillation is not None:
            log.log_metrics(trained.distillation.as_metrics())
        summary = FinetuneSummary(
            model_uri="",
            model_version="",
            model_name=config.registered_model_name,
            alias=config.alias,
            base_model=encoder.name,
            dataset=config.dataset_name,
            data=reviews.report,
            data_digest=reviews.digest,
            train_rows=reviews.report.counts.train_rows,
            test=findings.evaluation,
            baselines=dict(findings.facts.baselines),
            engine=optimized.settings.cpu_engine,
            engine_reason=optimized.settings.cpu_engine_reason,
            cascade=optimized.cascade,
            device=describe_device(),
            train_samples_per_second=trained.history[-1]["train_samples_per_second"],
            run_id=log.run_id,
            labels=reviews.label_names,
            temperature=optimized.settings.temperature,
            power=optimized.settings.power,
            min_score=optimized.settings.min_score,
            search=trained.search,
            distillation=trained.distillation,
            notes=notes,
        )
        progress("packaging", 0, 1, "")
        return register_or_keep(folder, encoder, reviews.text_col, config, summary, kept, log)


def register_or_keep(
    folder: Path,
    encoder: Encoder,
    text_col: str,
    config: FinetuneConfig,
    summary: FinetuneSummary,
    kept: Path,
    log: RunLog,
) -> FinetuneSummary:
    """Register the model and complete the summary; if that fails, keep the model and raise the error."""
    try:
        version = register(folder, encoder, config, text_col)
    except SentimentError as error:
        where = keep(folder, encoder, config, text_col, summary.as_dict(), kept)
        notes = (*summary.notes, *log.notes)
        unfinished = replace(summary, model_uri=str(where), alias=None, notes=notes)
        raise explain_kept(where, error, unfinished.as_dict()) from error
    uri = f"models:/{config.registered_model_name}/{version}"
    return replace(summary, model_uri=uri, model_version=version)


def log_data(config: FinetuneConfig, reviews: LabelledReviews, log: RunLog) -> None:
    """Log the configuration, and name, digest, counts and report of the data."""
    facts = {"text_col": reviews.text_col, "data_digest": reviews.digest}
    log.log_params(list_params(config) | facts)
    log.log_params(reviews.report.count_rows())
    log.log_dict(reviews.report.as_dict(), "data.json")
    log.log_dataset(config.dataset_name, reviews.digest)
