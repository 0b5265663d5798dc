"""Quantise an encoder, and choose the fastest engine that passes the gate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..cli import Progress
from ..errors import EncoderUnavailableError
from ..inference.engines import (
    CPU,
    CPU_ENGINES,
    REFERENCE,
    Engine,
    list_cpu_engines,
    load_engine,
    measure_deviation,
    run_engine,
    run_minibatches,
)
from ..inference.engines.openvino import F32, GRAPH_FILE, INT8, INT8_STATIC, STATIC_GRAPH_FILE
from ..inference.processor import SATURATING, Processor, find_processor
from ..inference.rejects import find_reject_reasons
from ..inference.selfcheck import Deviation, make_self_check, save_self_check
from ..inference.settings import Settings, load_settings, save_settings
from ..inference.tokenization import Tokenizer
from ..inference.vocabulary import load_vocabulary
from .export import export_graph, export_static_graph, remove_graph

MAX_ACCURACY_LOSS_POINTS = 0.2
MAX_FLIP_SHARE = 0.005
MAX_MEAN_SHIFT = 0.01
# The default of NNCF; a thousand gave the same parity.
CALIBRATION_TEXTS = 300
# On fewer rows than the minimum, a few reviews would exceed the limit of 0.2 points.
MIN_GATE_ROWS, MAX_GATE_ROWS = 2_000, 4_000


@dataclass(frozen=True)
class EngineComparison:
    """Hold the differences between an engine and the reference engine on the same reviews.

    `accuracy_loss_points` are percentage points, None without labels; `flip_share` is the share of reviews
    with another label, `mean_shift` is the mean of half the sum of the absolute differences of the
    probabilities (with two classes, the difference of either), `deviation` that of the self-check.
    """

    engine: str
    rows: int
    accuracy_loss_points: float | None
    flip_share: float
    mean_shift: float
    deviation: Deviation | None = None

    @property
    def is_passed(self) -> bool:
        return (
            (self.accuracy_loss_points is None or self.accuracy_loss_points <= MAX_ACCURACY_LOSS_POINTS)
            and self.flip_share <= MAX_FLIP_SHARE
            and self.mean_shift <= MAX_MEAN_SHIFT
            and (self.deviation is None or self.deviation.is_within_bounds)
        )

    def __str__(self) -> str:
        loss = self.accuracy_loss_points
        accuracy = (
            "accuracy not compared (no labels)"
            if loss is None
            else f"accuracy loss {loss:.2f} points (at most {MAX_ACCURACY_LOSS_POINTS})"
        )
        return (
            f"{self.engine} {'passed' if self.is_passed else 'failed'}: {accuracy}, changed labels "
            f"{self.flip_share:.2%} (at most {MAX_FLIP_SHARE:.1%}), mean shift {self.mean_shift:.4f} "
            f"(at most {MAX_MEAN_SHIFT}), on {self.rows:,} reviews"
            + (f"; self-check: {self.deviation}" if self.deviation else "")
        )

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers by name, for MLflow."""
        figures = ("accuracy_loss_points", "flip_share", "mean_shift")
        found = {name: getattr(self, name) for name in figures}
        return {f"{self.engine}_{name}": float(value) for name, value in found.items() if value is not None}


def compare_engines(
    engine: str, reference: np.ndarray, probabilities: np.ndarray, truth: np.ndarray | None
) -> EngineComparison:
    """Compare the (n, classes) probabilities of two engines; `truth` are the class ids, None if unknown."""
    expected, found = reference.argmax(axis=1), probabilities.argmax(axis=1)
    loss = None if truth is None else float(100 * (np.mean(expected == truth) - np.mean(found == truth)))
    return EngineComparison(
        engine=engine,
        rows=len(expected),
        accuracy_loss_points=loss,
        flip_share=float(np.mean(expected != found)),
        mean_shift=float(np.abs(reference - probabilities).sum(axis=1).mean() / 2),
    )


def drop_rejects(folder: Path, reviews: pd.DataFrame) -> pd.DataFrame:
    """Return the reviews that the model in `folder` scores; it rejects those of which it can read too little.

    Rejects would dilute every figure of a comparison, because no engine changes them.
    """
    reasons = find_reject_reasons(reviews["text"])
    found = reviews.loc[[reason is None for reason in reasons]].reset_index(drop=True)
    texts = found["text"].tolist()
    tokens = Tokenizer(folder, load_settings(folder).truncation).encode(texts)
    has_tokens = tokens.lengths > tokens.n_special_tokens
    is_scored = has_tokens & ~load_vocabulary(folder).find_unknown(texts, tokens)
    scored: pd.DataFrame = found.loc[is_scored].reset_index(drop=True)
    return scored


def note_dropped(rows: int, comparisons: Sequence[EngineComparison]) -> list[str]:
    """Return a note if the model rejects some of the `rows` reviews on which engines were to be compared."""
    if not comparisons or comparisons[0].rows == rows:
        return []
    compared = comparisons[0].rows
    return [f"the engines were compared on {compared:,} of {rows:,} reviews: the model rejects the others"]


def quantize(
    folder: Path, calibration: Sequence[str], reviews: pd.DataFrame, progress: Progress
) -> list[EngineComparison]:
    """Write graphs and self-check into `folder`, and set the fastest CPU engine that passes the gate.

    The engines that this processor computes correctly are compared with the reference on those `reviews`
    (`text` and, if it is known, `label`) that the model does not reject, the fastest first: `int8_static`,
    with scales from the texts of `calibration`, `int8`, `bf16`, `f32`. If all fail, no review is left, or
    OpenVINO cannot convert the encoder, the model keeps the reference engine and no graph. The first that
    passes ends the comparison. Where int8 products saturate, a pass of `f32` sets `int8`, which uses the same
    graph. Returns the comparisons.
    """
    settings = load_settings(folder)
    tokenizer = Tokenizer(folder, settings.truncation)
    processor = find_processor()
    scored = drop_rejects(folder, reviews)
    texts = scored["text"].tolist()
    truth = scored["label"].to_numpy() if "label" in scored else None
    ids = tokenizer.encode(texts).ids

    def score(engine: Engine) -> np.ndarray:
        probabilities = np.empty((len(texts), len(settings.labels)))
        n_done = 0
        for chosen, found in run_minibatches(engine, ids, texts):
            probabilities[chosen] = found
            n_done += len(chosen)
            progress(f"comparing {engine.name}", n_done, len(texts), "")
        return probabilities

    candidates: list[str] = []
    problems = [f"no engine was compared: the model can read none of {len(reviews):,} reviews"]
    if texts:
        faster = list_cpu_engines(CPU_ENGINES[0], processor)[:-1]
        candidates, problems = _export_graphs(folder, faster, tokenizer.encode(calibration).ids, progress)
    reference = load_engine(folder, REFERENCE, device="cuda" if torch.cuda.is_available() else CPU)
    expected = score(reference)
    check = make_self_check(
        lambda sentences: tokenizer.encode(sentences).ids,
        lambda ids: run_engine(reference, ids),
        MAX_MEAN_SHIFT,
    )
    save_self_check(check, folder)

    comparisons: list[EngineComparison] = []
    for name in candidates:
        try:
            engine = load_engine(folder, name)
            comparison = compare_engines(name, expected, score(engine), truth)
            deviation = measure_deviation(engine, check)
        except RuntimeError as error:  # of OpenVINO, which can convert more than it can run
            problems.append(f"{name} failed: OpenVINO cannot run it ({type(error).__name__})")
            continue
        comparisons.append(replace(comparison, deviation=deviation))
        if comparisons[-1].is_passed:
            break
    passed = comparisons[-1].engine if comparisons and comparisons[-1].is_passed else REFERENCE
    reason = "; ".join([*problems, *map(str, comparisons)])
    _save_choice(folder, settings, passed, reason, processor)
    return comparisons


def _export_graphs(
    folder: Path, candidates: list[str], calibration: Sequence[np.ndarray], progress: Progress
) -> tuple[list[str], list[str]]:
    """Write the graphs of the candidates; return those that OpenVINO can convert, and what it cannot."""
    progress("exporting graphs", 0, 2, "")
    try:
        export_graph(folder)
    except EncoderUnavailableError as error:
        return [], [str(error)]
    progress("exporting graphs", 1, 2, "")
    problems = []
    if INT8_STATIC in candidates:
        try:
            export_static_graph(folder, calibration)
        except EncoderUnavailableError as error:
            candidates = [name for name in candidates if name != INT8_STATIC]
            problems.append(f"{INT8_STATIC}: {error}")
    progress("exporting graphs", 2, 2, "")
    return candidates, problems


def _save_choice(folder: Path, settings: Settings, passed: str, reason: str, processor: Processor) -> None:
    """Set the engine that passed, and remove the graphs that it does not use."""
    chosen = passed
    if passed == F32 and processor.instruction_set in SATURATING:
        # `int8` uses the same graph. A processor with VNNI may run it, if its self-check passes there.
        chosen = INT8
        reason += f"; {INT8}, not compared here, runs on processors whose int8 products do not saturate"
    if chosen != INT8_STATIC:
        remove_graph(folder, STATIC_GRAPH_FILE)
    if chosen == REFERENCE:
        remove_graph(folder, GRAPH_FILE)
    gated_on = processor.instruction_set
    save_settings(replace(settings, cpu_engine=chosen, cpu_engine_reason=reason, gated_on=gated_on), folder)


def pick_calibration(train: pd.DataFrame, seed: int) -> list[str]:
    """Return a sample of texts for the scales of `int8_static`."""
    texts: list[str] = train["text"].sample(min(len(train), CALIBRATION_TEXTS), random_state=seed).tolist()
    return texts


def pick_gate_reviews(train: pd.DataFrame, validation: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return at most `MAX_GATE_ROWS` validation rows, filled up with training rows to `MIN_GATE_ROWS`.

    Training rows are valid here, because the gate measures differences between engines.
    """
    if len(validation) > MAX_GATE_ROWS:
        return validation.sample(MAX_GATE_ROWS, random_state=seed)
    missing = min(len(train), max(0, MIN_GATE_ROWS - len(validation)))
    return pd.concat([validation, train.sample(missing, random_state=seed)], ignore_index=True)
