"""Measure how scores differ from float32, and how the score of a review depends on the others in a call."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from .. import CORES
from ..measuring.corpus import CLOTHING, DATED, load_labelled
from ..measuring.packaged import load_model

_REFERENCE_ROWS = 256


def measure_parity(model: Path, rows: int, seconds: float) -> dict[str, Any]:
    """Compare the engine of a model with float32 on labelled reviews, and single calls with one large call.

    At most `rows` reviews are used, or fewer if the single calls or the reference would exceed `seconds`.
    """
    dated = load_labelled(DATED).head(rows)
    texts = [*dated["text"], *load_labelled(CLOTHING)["text"]][:rows]
    alone = _score_all(model, texts, "auto", 1, seconds)
    together = _score_all(model, texts[: len(alone)], "auto", len(texts), seconds)
    known = texts[: min(len(alone), len(dated))]
    reference = _score_all(model, known, "reference", _REFERENCE_ROWS, seconds)
    truth = dated["label"].to_numpy()[: len(reference)] == 1
    fast = together[: len(reference)]
    shift = np.abs(together - alone)
    accuracies = [float(np.mean((scores >= 0.5) == truth)) for scores in (reference, fast)]
    return {
        "rows": len(alone),
        "labelled_rows": len(reference),
        "accuracy_reference": accuracies[0],
        "accuracy_loss_points": 100 * (accuracies[0] - accuracies[1]),
        "flip_share": float(np.mean((reference >= 0.5) != (fast >= 0.5))),
        "mean_shift": float(np.mean(np.abs(reference - fast))),
        "alone_shift_p99": float(np.quantile(shift, 0.99)),
        "alone_shift_max": float(shift.max()),
        "alone_flips": int(np.sum((together >= 0.5) != (alone >= 0.5))),
    }


def _score_all(model: Path, texts: list[str], engine: str, rows_per_call: int, seconds: float) -> np.ndarray:
    """Return the probability of positive of the first texts that were scored in time, at least one."""
    whole = len(texts) // CORES * CORES
    shares = [texts[i:whole:CORES] for i in range(CORES)]
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        calls = [pool.submit(_score, model, share, engine, rows_per_call, seconds) for share in shares]
        found = [call.result() for call in calls]
    n_each = min(map(len, found))
    merged = np.stack([scores[:n_each] for scores in found], axis=1).ravel()  # in the order of the texts
    print(f"  {engine}, {rows_per_call} per call: {len(merged)} reviews", file=sys.stderr, flush=True)
    return merged


def _score(model: Path, texts: list[str], engine: str, rows_per_call: int, seconds: float) -> np.ndarray:
    """Score with the encoder of the packaged MLflow model until the time is over."""
    from sentiment.models.predictions import predict_each

    loaded = load_model(model, engine=engine, threads=1, cascade="off", probabilities=True)
    began = time.monotonic()
    found = []
    for start in range(0, len(texts), rows_per_call):
        predictions = predict_each(loaded, texts[start : start + rows_per_call])
        found.append(np.array([0.5 if row is None else row[1] for row in predictions["probabilities"]]))
        if time.monotonic() - began > seconds:
            break
    return np.concatenate(found)
