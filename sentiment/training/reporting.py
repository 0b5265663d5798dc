"""Write the evaluation report and the model card of a fine-tuning run, and log its figures."""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schema
from ..config import FinetuneConfig
from ..evaluation.baselines import measure_baselines
from ..evaluation.card import write_card
from ..evaluation.facts import Findings, ReportFacts, examine
from ..evaluation.figures import draw_figures
from ..evaluation.judged import JudgedReviews
from ..evaluation.label_errors import MAX_ROWS, check_test_labels, check_training_labels, has_cleanlab
from ..evaluation.profile import IS_RIGHT, PROFILE_FILE, describe_texts, make_profile
from ..evaluation.report import write_report
from ..inference.calibration import Calibration
from ..inference.linear import LinearStage, with_first_class
from .data.reading import LabelledReviews
from .encoders import Encoder
from .optimization import Optimization
from .run_log import RunLog

REPORT_FILE = "evaluation.html"


def examine_model(
    judged: JudgedReviews,
    reviews: LabelledReviews,
    optimized: Optimization,
    encoder: Encoder,
    config: FinetuneConfig,
) -> Findings:
    """Derive all that report and card state from the predictions on the test reviews."""
    train = reviews.splits.load_train(MAX_ROWS, config.seed)
    settings, splits = optimized.settings, reviews.splits
    facts = ReportFacts(
        model=config.registered_model_name,
        judged=judged,
        are_held_out=True,
        created=time.strftime("%d %B %Y"),
        base_model=_show_name(encoder.name),
        licence=encoder.licence,
        uncalibrated=_undo_calibration(
            judged, splits.test["text"].tolist(), optimized.linear, settings.calibration
        ),
        calibration=settings.calibration,
        baselines=measure_baselines(splits.train["label"][:], splits.test, judged.labels),
        lengths=optimized.lengths,
        max_length=config.max_length,
        engine=settings.cpu_engine,
        engine_reason=settings.cpu_engine_reason,
        # With labelled reviews the loss of accuracy is known.
        engines=optimized.engines,
        cascade=optimized.cascade,
        test_labels=check_test_labels(judged) if has_cleanlab() else None,
        train_labels=check_training_labels(judged.labels, train, config.seed) if has_cleanlab() else None,
        data=_describe_data(reviews, config),
        recipe=_describe_recipe(config),
        missing={
            "champion": "The test reviews may be known to the champion: compare both by jobs/promote.py, on "
            "reviews that neither was trained on."
        },
    )
    return examine(facts, config.seed)


def log_evaluation(findings: Findings, folder: Path, log: RunLog) -> None:
    """Write the card into the model folder, and log metrics with their intervals, figures and report."""
    write_card(findings, folder)
    log.log_metrics({f"test_{name}": value for name, value in findings.evaluation.as_metrics().items()})
    for name, found in findings.intervals.items():
        log.log_metrics({f"test_{name}_low": found.low, f"test_{name}_high": found.high})
    for name, baseline in findings.facts.baselines.items():
        log.log_metrics({f"baseline_{name}_{k}": v for k, v in asdict(baseline).items()})
    for name, figure in draw_figures(findings).items():
        log.log_figure(figure, f"{name}.png")
    if findings.worst is not None:
        log.set_tag("worst_slice", f"{findings.worst.name}: {findings.worst.value}")


def write_reference(judged: JudgedReviews, texts: Sequence[str], folder: Path) -> None:
    """Write the profile of the test reviews into the model folder, for monitoring to compare nights with.

    It has counts only: no text, and no digest of one.
    """
    rows = pd.concat([judged.predictions, describe_texts(texts)], axis=1)
    profile = make_profile(rows.assign(**{IS_RIGHT: judged.is_right}))
    (folder / PROFILE_FILE).write_text(json.dumps(profile.as_dict()) + "\n", encoding="utf-8")


def log_report(findings: Findings, texts: list[str], config: FinetuneConfig, log: RunLog) -> tuple[str, ...]:
    """Log the report, and write it to the file that the configuration names, if it names one.

    Return a note if that file cannot be written: the model is trained, and its run has the report.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / REPORT_FILE
        write_report(findings, path, texts if config.show_text else None)
        content = path.read_text(encoding="utf-8")
    log.log_text(content, REPORT_FILE)
    try:
        if config.report is not None:
            Path(config.report).write_text(content, encoding="utf-8")
    except OSError as error:
        return (
            f"{config.report}: the report was not written ({error.strerror}); the MLflow run has it as "
            f"{REPORT_FILE}",
        )
    return ()


def _undo_calibration(
    judged: JudgedReviews, texts: Sequence[str], linear: LinearStage | None, calibration: Calibration
) -> np.ndarray:
    """Return the probabilities before calibration, for the stage `both` those of the encoder.

    The linear stage has a calibration of its own.
    """
    stages = judged.predictions[schema.STAGE].to_numpy()
    probabilities = judged.probabilities
    if linear is not None:
        _, by_linear = linear.decide(texts, judged.predictions[schema.N_TOKENS].to_numpy())
        by_encoder = linear.pool.undo(probabilities[:, 1], by_linear)
        are_both = (stages == schema.BOTH)[:, None]
        probabilities = np.where(are_both, with_first_class(by_encoder), probabilities)
    is_encoder = (stages == schema.ENCODER) | (stages == schema.BOTH)
    return np.where(is_encoder[:, None], calibration.invert().apply(probabilities), probabilities)


def _describe_data(reviews: LabelledReviews, config: FinetuneConfig) -> dict[str, object]:
    counts = reviews.report.counts
    return {
        "data set": _show_name(config.dataset_name),
        "text column": reviews.text_col,
        "label column": reviews.report.label_col,
        "training reviews": counts.train_rows,
        "validation reviews": counts.validation_rows,
        "test reviews": counts.test_rows,
        "digest of texts and labels": reviews.digest,
    }


def _describe_recipe(config: FinetuneConfig) -> dict[str, object]:
    names = ("lr", "lr_decay", "schedule", "epochs", "train_batch_size", "train_tokens", "label_smoothing")
    further = ("max_length", "truncation", "augment", "trained_layers", "seed")
    values = {name: getattr(config, name) for name in (*names, *further)}
    if config.unlabelled is not None:
        values["reviews that a teacher labelled"] = _show_name(config.unlabelled)
    return {name: value for name, value in values.items() if value is not None}


def _show_name(name: str) -> str:
    """Return a hub id as it is, and only the last part of a path, which may name a person or a machine."""
    return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name
