"""Measure what `max_length` and the way of cutting cost and bring: the length-accuracy-cost curve."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schema
from ..inference.predictor import OFF, Predictor
from ..inference.tokenization import HEAD, HEAD_TAIL
from .evaluation import positive_probabilities

LENGTHS = (64, 128, 256, 512)
MAX_ROWS = 1_000
"""Validation reviews that the curve is measured on: all points on the same ones, so few tell enough."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LengthPoint:
    """One setting: its accuracy, the mean tokens read of a review, and the seconds for all reviews."""

    max_length: int
    truncation: str
    accuracy: float
    tokens_per_review: float
    truncated_share: float
    seconds: float


def measure_lengths(
    folder: Path, reviews: pd.DataFrame, max_positions: int, seed: int, progress: Progress
) -> list[LengthPoint]:
    """Score a sample of `reviews` with each of `LENGTHS` that the encoder can read, cut both ways.

    Ends with the first length that cuts no review: longer ones would give the same.
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
    predictor = Predictor(folder, cascade=OFF, max_length=max_length, truncation=truncation)
    started = time.perf_counter()
    predictions = predictor.predict(
        sample["text"].tolist(),
        lambda done, total: progress(f"trying {max_length} tokens, {truncation}", done, total),
    )
    seconds = time.perf_counter() - started
    found = positive_probabilities(predictions) >= 0.5
    return LengthPoint(
        max_length=max_length,
        truncation=truncation,
        accuracy=float(np.mean(found == sample["label"].to_numpy())),
        tokens_per_review=float(predictions[schema.N_TOKENS].mean()),
        truncated_share=float(predictions[schema.TRUNCATED].mean()),
        seconds=seconds,
    )
