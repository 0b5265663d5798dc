"""Run the whole recipe from labelled reviews to a registered model."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..cli import Progress
from ..config import FinetuneConfig
from ..errors import ConfigError, SentimentError
from ..evaluation.baselines import Baseline
from ..evaluation.judged import judge_reviews
from ..evaluation.metrics import Evaluation
from ..inference.predictor import Predictor
from ..inference.pyfunc import ENCODER_ARTIFACT
from ..models import registry
from ..models.signatures import check_signing_key
from . import processes
from .augmentation import augment_rows
from .cascade import CascadeChoice
from .checkpoints import FREE_SETTINGS, digest_inputs, digest_weights, list_inputs, open_checkpoints
from .data.reading import DataReport, LabelledReviews, load_labelled_reviews, make_format
from .distillation import Distillation, distil
from .encoders import Encoder, find_max_length, load_encoder
from .figures import draw_learning_curve
from .optimization import optimize
from .packaging import save_encoder
from .processes import Termination
from .registration import explain_kept, keep, register
from .rehearsal import rehearse
from .reporting import examine_model, log_evaluation, log_report, write_reference
from .run_log import RunLog
from .runs import Training, open_run
from .search import SearchResult, search
from .unlabelled import UnlabelledReviews, read_unlabelled

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
    if config.unlabelled is not None and config.checkpoint_dir is None and processes.count_processes() > 1:
        raise ConfigError("checkpoint_dir: expected a folder that all processes share, found none; pass one")
    if processes.count_processes() > 1:
        progress("waiting for all processes", 0, 1, f"{processes.count_processes()} expected")
    processes.connect()
    is_main = processes.get_rank() == 0
    with processes.sharing_errors():
        if config.signing_key is not None:
            check_signing_key(Path(config.signing_key))
        if is_main:
            registry.open_experiment(config.experiment)
        encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
    reviews = read_reviews(config, progress)
    encoder = with_labels(encoder, reviews.label_names, config)
    with ExitStack() as stack:
        log = None
        unlabelled = None
        if config.unlabelled is not None:
            scratch = Path(stack.enter_context(TemporaryDirectory(prefix="sentiment-unlabelled-")))
            form = make_format(config)
            unlabelled = read_unlabelled(config.unlabelled, reviews, scratch, form, progress)
        with processes.sharing_errors():
            notes = try_encoder(encoder, config, progress)
            facts = {"data": reviews.digest, "unlabelled data": unlabelled.digest if unlabelled else ""}
            inputs = list_inputs(config, **facts, encoder=digest_weights(encoder.model))
            checkpoints = stack.enter_context(open_checkpoints(config.checkpoint_dir, inputs))
            for warning in checkpoints.warnings:
                progress("checkpoints", 0, 1, warning)
            if is_main:
                log = stack.enter_context(open_run(checkpoints, digest_inputs(inputs)))
                log_data(config, reviews, log)
                if unlabelled is not None:
                    log.log_params({"unlabelled_digest": unlabelled.digest})
        training = Training(reviews.splits, config, checkpoints, log, progress, termination)
        trained = _train(encoder, training, unlabelled)
        if log is None:
            return None
        processes.use_cores()
        if trained.distillation is not None:
            log.log_metrics(trained.distillation.as_metrics())
        unread = unlabelled.warnings if unlabelled else ()
        warnings = (*reviews.report.counts.warnings, *unread, *checkpoints.warnings)
        summary = _finish(encoder, reviews, config, trained.history, log, kept, progress)
    return replace(
        summary,
        search=trained.search,
        distillation=trained.distillation,
        notes=(*notes, *summary.notes, *log.notes),
        warnings=warnings,
        seconds=time.monotonic() - started,
    )


def try_encoder(encoder: Encoder, config: FinetuneConfig, progress: Progress) -> tuple[str, ...]:
    """Run and export the untrained encoder in the main process; return notes on what is not used of it."""
    problem = None
    if processes.get_rank() == 0:
        progress("trying the encoder", 0, 1, config.distilbert_model)
        problem = rehearse(encoder, config.max_length, config.truncation)
    slow = () if problem is None else (f"the model runs on the engine `reference`: {problem}",)
    return (*encoder.notes, *slow)


def read_reviews(config: FinetuneConfig, progress: Progress) -> LabelledReviews:
    """Read the reviews in the main process; the others find them in the cache of prepared data."""
    progress("reading reviews", 0, 1, config.dataset_name)
    read: list[LabelledReviews] = []

    def tell(rows: int, file: str) -> None:
        progress("reading reviews", 0, 0, f"{rows:,} rows, {file}")

    processes.share(lambda: read.append(load_labelled_reviews(config, tell)))
    with processes.sharing_errors():
        return read[0] if read else load_labelled_reviews(config)


def with_labels(encoder: Encoder, labels: tuple[str, ...], config: FinetuneConfig) -> Encoder:
    """Return the encoder with a head for these labels. It is loaded before they are known, to fail early."""
    if labels == encoder.labels:
        return encoder
    return load_encoder(config.distilbert_model, config.max_length, config.seed, labels)


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
    history: list[dict[str, float]],
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
        findings = examine_model(judged, reviews, optimized, encoder, config)
        log_evaluation(findings, folder, log)
        test_texts = reviews.splits.test["text"].tolist()
        write_reference(judged, test_texts, folder)
        notes = (*optimized.notes, *log_report(findings, test_texts, config, log))
        log.log_figure(draw_learning_curve(history), "learning_curve.png")
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
            train_samples_per_second=history[-1]["train_samples_per_second"],
            run_id=log.run_id,
            labels=reviews.label_names,
            temperature=optimized.settings.temperature,
            power=optimized.settings.power,
            min_score=optimized.settings.min_score,
            notes=notes,
        )
        progress("packaging", 0, 1, "")
        return register_or_keep(folder, encoder, reviews.text_col, config, summary, kept)


def register_or_keep(
    folder: Path,
    encoder: Encoder,
    text_col: str,
    config: FinetuneConfig,
    summary: FinetuneSummary,
    kept: Path,
) -> FinetuneSummary:
    """Register the model and complete the summary; if that fails, keep the model and raise the error."""
    try:
        model = register(folder, encoder, config, text_col)
    except SentimentError as error:
        where = keep(folder, encoder, config, text_col, summary.as_dict(), kept)
        unfinished = replace(summary, model_uri=str(where), alias=None)
        raise explain_kept(where, error, unfinished.as_dict()) from error
    return replace(summary, model_uri=model.registered_uri, model_version=model.version)


def log_data(config: FinetuneConfig, reviews: LabelledReviews, log: RunLog) -> None:
    """Log the configuration, and name, digest, counts and report of the data."""
    values = asdict(config) | {"text_col": reviews.text_col, "data_digest": reviews.digest}
    # MLflow logs the model's own options, of which some have the same names, as parameters too.
    asked = {name: f"asked_{name}" for name in ("cascade", "min_score", "target_accuracy")}
    # A run that continues may have other free settings, but MLflow takes no other value of a parameter.
    counted = {name: value for name, value in values.items() if name not in FREE_SETTINGS}
    log.log_params({asked.get(name, name): value for name, value in counted.items()})
    log.log_params(reviews.report.count_rows())
    log.log_dict(reviews.report.as_dict(), "data.json")
    log.log_dataset(config.dataset_name, reviews.digest)
