"""Run the recipe from a classifier that was trained elsewhere to a registered model."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..cli import Progress, naming_options
from ..config import AdoptConfig
from ..errors import EmptyInputError
from ..evaluation.card import write_card
from ..evaluation.facts import ReportFacts, examine
from ..evaluation.figures import draw_confusion_matrix
from ..evaluation.judged import JudgedReviews, judge_reviews
from ..evaluation.metrics import Evaluation
from ..inference.calibration import Calibration
from ..inference.predictor import Predictor
from ..inference.pyfunc import ENCODER_ARTIFACT
from ..inference.settings import load_settings, save_settings
from ..inference.vocabulary import load_vocabulary
from ..models import registry
from ..models.signatures import check_signing_key
from ..models.tracking import without_autologging
from .agreement import check_agreement
from .classifier_files import ClassifierFiles, find_classifier
from .classifiers import choose_max_length, load_classifier
from .encoders import Encoder
from .gate_texts import GateTexts, load_gate_texts
from .optimization import calibrate, choose_min_score, note_calibration, note_rejects
from .packaging import save_encoder
from .quantization import (
    CALIBRATION_TEXTS,
    MIN_GATE_ROWS,
    EngineComparison,
    drop_rejects,
    note_dropped,
    quantize,
)
from .registration import register
from .rehearsal import check_scores
from .reporting import write_reference
from .run_log import start_run

NOT_STATED = "not stated"
# The options of `jobs/adopt.py` for those of other jobs that use the same modules.
_OPTIONS = {"--distilbert_model": "--model", "--dataset_name": "--reviews", "--model_uri": "--model"}
_LATIN = "LATIN"
_SHOWN_SCRIPTS = 4


@dataclass(frozen=True)
class AdoptSummary:
    """Hold the results of an adoption.

    `gate` has the comparisons of engines with float32 in the order in which they were made; it is empty if
    the encoder cannot be exported. `test` is None without labelled reviews, `texts` their source.
    `model_uri`, `model_version` and `run_id` are empty after a dry run. `size_bytes` is that of all files.
    """

    model: str
    base_model: str
    licence: str
    encoder_type: str
    parameters: int
    labels: tuple[str, ...]
    max_length: int
    truncation: str
    texts: str
    gate: tuple[EngineComparison, ...]
    engine: str
    engine_reason: str
    test: Evaluation | None
    temperature: float
    power: float
    min_score: float
    size_bytes: int
    model_name: str
    alias: str | None
    is_dry_run: bool
    notes: tuple[str, ...]
    model_uri: str = ""
    model_version: str = ""
    run_id: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@without_autologging()
def adopt(config: AdoptConfig, progress: Progress) -> AdoptSummary:
    """Load, check, optimise, measure and register one classifier; MLflow tracking must be set up before.

    Raises a ModelError or a ConfigError if the classifier cannot be adopted, an InputError for the reviews.
    """
    started = time.monotonic()
    with naming_options(_OPTIONS), TemporaryDirectory(prefix="sentiment-") as scratch:
        if config.signing_key is not None:
            check_signing_key(Path(config.signing_key))
        if not config.dry_run:
            registry.open_experiment(config.experiment, list_params(config))
            registry.check_name(config.registered_model_name)
        progress("loading the classifier", 0, 1, config.model)
        files = find_classifier(config.model)
        encoder = load_classifier(files, config.labels_from)
        config = replace(config, max_length=choose_max_length(encoder, config.max_length))
        folder = Path(scratch) / ENCODER_ARTIFACT  # the logged model keeps this name
        save_encoder(encoder, folder, config.max_length or 0, config.truncation)
        check_scores(encoder, folder, config.truncation)
        texts = load_gate_texts(config, encoder.labels, progress)
        gate = compare(folder, texts, config.seed, progress)
        judged, notes = score_labelled(folder, texts, config, progress)
        summary = _summarise(config, files, encoder, folder, texts, gate)
        summary = replace(summary, notes=(*summary.notes, *notes))
        if judged is not None and texts.test is not None:
            findings = examine(_make_facts(judged, summary), config.seed)
            write_card(findings, folder)
            write_reference(judged, texts.test["text"].tolist(), folder)
            summary = replace(summary, test=findings.evaluation)
        if not config.dry_run:
            progress("packaging", 0, 1, "")
            summary = _register(folder, files, encoder, texts.text_col, config, summary)
    return replace(summary, seconds=time.monotonic() - started)


def compare(folder: Path, texts: GateTexts, seed: int, progress: Progress) -> list[EngineComparison]:
    """Choose the engine of the model in `folder` by the gate, and state in its reason what was compared.

    Raises EmptyInputError if the model rejects all texts.
    """
    scored = drop_rejects(folder, texts.reviews)
    if not len(scored):
        raise EmptyInputError(
            f"{texts.source}: the model can read none of {len(texts.reviews):,} texts and rejects them all, "
            "so no engine can be compared; pass --reviews with texts in a language of the model"
        )
    sample = scored["text"].sample(min(len(scored), CALIBRATION_TEXTS), random_state=seed)
    gate = quantize(folder, sample.tolist(), texts.reviews, progress)
    settings = load_settings(folder)
    scripts = [script for script in load_vocabulary(folder).scripts if script != _LATIN]
    if texts.is_built_in and scripts:
        more = " …" if len(scripts) > _SHOWN_SCRIPTS else ""
        reason = (
            f"{settings.cpu_engine_reason}; these texts are English, a weak test of a model that also reads "
            f"{', '.join(scripts[:_SHOWN_SCRIPTS])}{more}: pass --reviews"
        )
        save_settings(replace(settings, cpu_engine_reason=reason), folder)
    return gate


def note_gate(texts: GateTexts, gate: Sequence[EngineComparison]) -> list[str]:
    """Return notes on the texts of which the gate was made: rejects, and too few."""
    notes = note_dropped(len(texts.reviews), gate)
    if gate and gate[0].rows < MIN_GATE_ROWS and not texts.is_built_in:
        notes.append(
            f"the engines were compared on only {gate[0].rows:,} reviews; {MIN_GATE_ROWS:,} or more are a "
            "better test"
        )
    return notes


def score_labelled(
    folder: Path, texts: GateTexts, config: AdoptConfig, progress: Progress
) -> tuple[JudgedReviews | None, list[str]]:
    """Calibrate the scores on the reviews of the gate, and score the test set; nothing without labels.

    Return the test reviews with their predictions, and notes.
    """
    off = "the cascade is off: its linear stage is only fitted by fine-tuning"
    if texts.test is None:
        if config.min_score is not None:
            save_settings(replace(load_settings(folder), min_score=config.min_score), folder)
        return None, [
            "the scores are not calibrated: a score of 0.9 may be right less or more often than 90 %; pass "
            "labelled reviews with --reviews and --label_col",
            off,
        ]
    uncalibrated = judge_reviews(
        Predictor(folder, probabilities=True),
        texts.reviews,
        lambda done, total: progress("calibrating", done, total, ""),
    )
    check_agreement(uncalibrated)
    notes = choose_min_score(folder, calibrate(folder, uncalibrated), config)
    judged = judge_reviews(
        Predictor(folder, probabilities=True),
        texts.test,
        lambda done, total: progress("testing", done, total, ""),
    )
    return judged, [*note_calibration(uncalibrated), *note_rejects(judged), *notes, off]


def list_params(config: AdoptConfig) -> dict[str, Any]:
    """Return the parameters of a run that its configuration decides, by their names in MLflow."""
    # MLflow logs the defaults of the packaged model under the names of the first two; the classifier may
    # decide the last one.
    return {
        f"given_{name}" if name in ("min_score", "target_accuracy") else name: value
        for name, value in asdict(config).items()
        if name != "max_length"
    }


def _make_facts(judged: JudgedReviews, summary: AdoptSummary) -> ReportFacts:
    """Return what the model card states."""
    return ReportFacts(
        model=summary.model_name,
        judged=judged,
        base_model=summary.base_model if summary.base_model != NOT_STATED else None,
        licence=summary.licence,
        calibration=Calibration(summary.temperature, summary.power),
        max_length=summary.max_length,
        engine=summary.engine,
        engine_reason=summary.engine_reason,
        engines=summary.gate,
        data={"test reviews": len(judged.truth)},
        missing={"recipe": "The classifier was trained elsewhere."},
    )


def _summarise(
    config: AdoptConfig,
    files: ClassifierFiles,
    encoder: Encoder,
    folder: Path,
    texts: GateTexts,
    gate: list[EngineComparison],
) -> AdoptSummary:
    settings = load_settings(folder)
    return AdoptSummary(
        model=files.name,
        base_model=files.base_model or NOT_STATED,
        licence=files.licence,
        encoder_type=encoder.model.config.model_type,
        parameters=int(np.sum([weights.numel() for weights in encoder.model.parameters()])),
        labels=encoder.labels,
        max_length=config.max_length or 0,
        truncation=config.truncation,
        texts=texts.source,
        gate=tuple(gate),
        engine=settings.cpu_engine,
        engine_reason=settings.cpu_engine_reason,
        test=None,
        temperature=settings.temperature,
        power=settings.power,
        min_score=settings.min_score,
        size_bytes=sum(file.stat().st_size for file in folder.iterdir()),
        model_name=config.registered_model_name,
        alias=None if config.dry_run else config.alias,
        is_dry_run=config.dry_run,
        notes=(*encoder.notes, *texts.notes, *note_gate(texts, gate)),
    )


def _register(
    folder: Path,
    files: ClassifierFiles,
    encoder: Encoder,
    text_col: str,
    config: AdoptConfig,
    summary: AdoptSummary,
) -> AdoptSummary:
    """Log the run with its figures, and register the model."""
    named = replace(encoder, name=files.base_model or files.name, adopted_from=files.name)
    with start_run() as log:
        facts = {"base_model": summary.base_model, "licence": summary.licence}
        log.log_params(list_params(config) | facts | {"max_length": config.max_length})
        log.set_tag("engine", summary.engine)
        for comparison in summary.gate:
            log.log_metrics(comparison.as_metrics())
        if summary.test is not None:
            log.log_metrics({f"test_{name}": value for name, value in summary.test.as_metrics().items()})
            log.log_figure(draw_confusion_matrix(summary.test), "confusion_matrix.png")
        version = register(folder, named, config, text_col)
    return replace(
        summary,
        model_uri=f"models:/{config.registered_model_name}/{version}",
        model_version=version,
        run_id=log.run_id,
        notes=(*summary.notes, *log.notes),
    )
