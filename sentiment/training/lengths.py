"""Measure accuracy and time for several values of `max_length` and both truncations."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .. import schema
from ..cli import Progress
from ..evaluation.judged import judge_reviews
from ..inference.predictor import OFF, Predictor
from ..inference.tokenization import HEAD, HEAD_TAIL

LENGTHS = (64, 128, 256, 512)
# A small sample is enough, because all settings score the same reviews.
MAX_ROWS = 1_000


@dataclass(frozen=True)
class LengthPoint:
    """Hold the results of one setting; `seconds` is the time for all reviews."""

    max_length: int
    truncation: str
    accuracy: float
    tokens_per_review: float
    truncated_share: float
    seconds: float


def measure_lengths(
    folder: Path, reviews: pd.DataFrame, max_positions: int, seed: int, progress: Progress
) -> list[LengthPoint]:
    """Score a sample of `reviews` with each of `LENGTHS` up to `max_positions`, with both truncations.

    Stop after the first length that truncates no review, because longer ones would give the same result.
    """
    sample = reviews.sample(min(MAX_ROWS, len(reviews)), random_state=seed)
    points: list[LengthPoint] = []
    for max_length in (length for length in LENGTHS if length <= max_positions):
        points.append(_measure(folder, sample, max_length, HEAD, progress))
        if not points[-1].truncated_share:
            break
        points.append(_measure(folder, sample, max_length, HEAD_TAIL, progress))
    return points


def _measure(
    folder: Path, sample: pd.DataFrame, max_length: int, truncation: str, progress: Progress
) -> LengthPoint:
    predictor = Predictor(
        folder, cascade=OFF, max_length=max_length, truncation=truncation, probabilities=True
    )
    started = time.perf_counter()
    judged = judge_reviews(
        predictor,
        sample,
        lambda done, total: progress(f"trying {max_length} tokens, {truncation}", done, total, ""),
    )
    seconds = time.perf_counter() - started
    predictions = judged.predictions
    return LengthPoint(
        max_length=max_length,
        truncation=truncation,
        accuracy=float(judged.is_right.mean()),
        tokens_per_review=float(predictions[schema.N_TOKENS].mean()),
        truncated_share=float(predictions[schema.TRUNCATED].mean()),
        seconds=seconds,
    )
