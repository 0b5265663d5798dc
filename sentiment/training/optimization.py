"""Make a fine-tuned encoder fast and its scores true: quantise it, calibrate it, fit the cascade."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import schema
from ..cli import Progress
from ..config import AdoptConfig, FinetuneConfig
from ..evaluation.calibration import MIN_ROWS, fit_calibration, measure_coverage
from ..evaluation.judged import JudgedReviews, judge_reviews
from ..inference.calibration import find_min_score
from ..inference.engines import AUTO
from ..inference.linear import LINEAR_FILE, LinearStage, with_first_class
from ..inference.predictor import OFF, Predictor
from ..inference.settings import Settings, load_settings, save_settings
from .cascade import MAX_TRAIN_ROWS, CascadeChoice, choose_cascade, train_linear
from .data.splits import Splits
from .lengths import LengthPoint, measure_lengths
from .quantization import EngineComparison, note_dropped, pick_calibration, pick_gate_reviews, quantize
from .run_log import RunLog


@dataclass(frozen=True)
class Optimization:
    """Hold the settings of the optimised model, and what was chosen for it.

    `cascade` is None if it was not tried, `linear` if the model has no linear stage. `engines` were compared
    with the reference, `lengths` tried. `notes` are sentences for the summary.
    """

    settings: Settings
    linear: LinearStage | None
    cascade: CascadeChoice | None
    engines: tuple[EngineComparison, ...]
    lengths: tuple[LengthPoint, ...]
    notes: tuple[str, ...]


def optimize(
    folder: Path,
    splits: Splits,
    config: FinetuneConfig,
    max_positions: int | None,
    log: RunLog,
    progress: Progress,
) -> Optimization:
    """Quantise and calibrate the model in `folder`, fit its cascade, and log the measurements."""
    train = splits.load_train(MAX_TRAIN_ROWS, config.seed)
    validation = splits.validation
    reviews = pick_gate_reviews(train, validation, config.seed)
    engines = quantize(folder, pick_calibration(train, config.seed), reviews, progress)
    for comparison in engines:
        log.log_metrics(comparison.as_metrics())
    log.set_tag("engine", load_settings(folder).cpu_engine)
    uncalibrated = judge_reviews(
        Predictor(folder, cascade=OFF, probabilities=True),
        validation,
        lambda done, total: progress("calibrating", done, total, ""),
    )
    judged = calibrate(folder, uncalibrated)

    longest = max_positions or config.max_length
    lengths = measure_lengths(folder, validation, longest, config.seed, progress)
    cascade, notes = None, note_dropped(len(reviews), engines) + note_calibration(uncalibrated)
    if config.cascade == AUTO and len(judged.labels) == 2:
        progress("training the linear stage", 0, 1, "")
        stage = train_linear(train, config.seed)
        if stage is None:
            notes.append("the cascade is off: no word or pair of words is in several training reviews")
        elif judged.is_rejected.all():
            notes.append("the cascade is off: the model can label no validation review")
        else:
            cascade, judged = _fit_cascade(folder, stage, judged, validation["text"].tolist(), config.seed)
            log.log_metrics(cascade.as_metrics())
    elif config.cascade == AUTO:
        notes.append("the cascade is off: its linear stage decides between two classes only")
    notes += note_rejects(judged)
    notes += choose_min_score(folder, judged, config)
    return Optimization(
        settings=load_settings(folder),
        linear=LinearStage.load(folder / LINEAR_FILE) if cascade is not None and cascade.is_used else None,
        cascade=cascade,
        engines=tuple(engines),
        lengths=tuple(lengths),
        notes=tuple(notes),
    )


def calibrate(folder: Path, uncalibrated: JudgedReviews) -> JudgedReviews:
    """Fit the calibration, save it in the folder, and return the reviews with calibrated probabilities."""
    scored = uncalibrated.at(np.flatnonzero(~uncalibrated.is_rejected))
    found = fit_calibration(scored.probabilities, scored.truth)
    settings = replace(load_settings(folder), temperature=found.temperature, power=found.power)
    save_settings(settings, folder)
    return replace(uncalibrated, probabilities=found.apply(uncalibrated.probabilities))


def _fit_cascade(
    folder: Path, stage: LinearStage, encoder: JudgedReviews, texts: list[str], seed: int
) -> tuple[CascadeChoice, JudgedReviews]:
    """Save the linear stage in the folder if it can decide reviews early, or make others more accurate.

    Return the choice, and the reviews with the probabilities of both stages together. Both are calibrated:
    the linear stage on training reviews that it has not seen. Reviews that the model rejects do not count:
    no stage decides them.
    """
    scored = np.flatnonzero(~encoder.is_rejected)
    texts = [texts[i] for i in scored]
    n_tokens = encoder.predictions[schema.N_TOKENS].to_numpy()[scored]
    by_encoder = encoder.probabilities[scored, 1]
    choice = choose_cascade(
        stage.second_class_probabilities(texts), by_encoder, encoder.truth[scored], n_tokens, seed
    )
    if not choice.is_used:
        return choice, encoder
    stage = replace(stage, threshold=choice.threshold or stage.threshold, pool=choice.pool)
    stage.save(folder / LINEAR_FILE)
    is_early, by_linear = stage.decide(texts, n_tokens)
    second = np.where(is_early, by_linear, stage.pool.apply(by_encoder, by_linear))
    probabilities = encoder.probabilities.copy()
    probabilities[scored] = with_first_class(second)
    return choice, replace(encoder, probabilities=probabilities)


def note_calibration(judged: JudgedReviews) -> list[str]:
    """Return a note if there are too few reviews to calibrate scores."""
    rows = int((~judged.is_rejected).sum())
    if rows >= MIN_ROWS:
        return []
    return [f"the scores are not calibrated: {rows:,} reviews to do it, expected at least {MIN_ROWS}"]


def note_rejects(judged: JudgedReviews) -> list[str]:
    """Return a note on the reviews that the model cannot label; on other languages it may be all of them."""
    reasons = judged.predictions[schema.REJECT_REASON].value_counts()
    if reasons.empty:
        return []
    listed = ", ".join(f"{reason} {rows:,}" for reason, rows in reasons.items())
    return [f"the model rejects {reasons.sum():,} of {len(judged.truth):,} reviews: {listed}"]


def choose_min_score(folder: Path, judged: JudgedReviews, config: FinetuneConfig | AdoptConfig) -> list[str]:
    """Save the accuracy by score, and the score below which reviews are unsure; return notes on it."""
    scored = judged.at(np.flatnonzero(~judged.is_rejected))
    coverage = measure_coverage(scored.scores, scored.is_right)
    notes, min_score = [], config.min_score or 0.0
    if config.target_accuracy is not None:
        try:
            min_score = find_min_score(coverage, config.target_accuracy)
        except ValueError as error:  # hours of training must not be lost
            min_score = math.nextafter(1.0, 2.0)  # above every score
            notes.append(f"every review is unsure: {error}")
    save_settings(replace(load_settings(folder), coverage=coverage, min_score=min_score), folder)
    return notes
