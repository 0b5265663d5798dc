"""What a faster engine changes: against float32, and alone against batched."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from .corpus import DATED_REVIEWS

CLOTHING_REVIEWS = DATED_REVIEWS.with_name("clothing.parquet")
MAX_CLOTHING_ROWS = 8_000


def load_dated() -> pd.DataFrame:
    """`review_id`, `text` (title and text), `label` of amazon_dated, or of the sample where it is not."""
    if not DATED_REVIEWS.exists():
        from sentiment.sample import load_sample

        sample = load_sample()
        return sample[sample["label"].notna()][["review_id", "text", "label"]].reset_index(drop=True)
    return _join(pd.read_parquet(DATED_REVIEWS))


def load_clothing() -> pd.DataFrame:
    """The same of the first labelled reviews of clothing."""
    if not CLOTHING_REVIEWS.exists():
        return load_dated()
    return _join(pd.read_parquet(CLOTHING_REVIEWS)).head(MAX_CLOTHING_ROWS)


def read_accuracy(scores: Path, reviews: pd.DataFrame) -> float:
    """Share of the labelled reviews that a scored table has right."""
    labels = pd.read_parquet(scores).set_index("review_id")["label"]
    truth = reviews["label"].map({0: "negative", 1: "positive"})
    return float(np.mean(labels.reindex(reviews["review_id"]).to_numpy() == truth.to_numpy()))


def measure_parity(model: Path, rows: int) -> dict[str, Any]:
    """int8 against float32 on labelled reviews; each review alone against all of them in one call."""
    dated = load_dated().head(rows)
    texts = [*dated["text"], *load_clothing()["text"]][:rows]
    halves = [texts[i::2] for i in range(2)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        together = _merge(pool.map(_score, [model] * 2, halves, ["auto"] * 2, [False] * 2))
        print("  batched", file=sys.stderr, flush=True)
        alone = _merge(pool.map(_score, [model] * 2, halves, ["auto"] * 2, [True] * 2))
        print("  alone", file=sys.stderr, flush=True)
        known = [half[: (len(dated) + 1 - i) // 2] for i, half in enumerate(halves)]
        reference = _merge(pool.map(_score, [model] * 2, known, ["reference"] * 2, [False] * 2))
    truth = dated["label"].to_numpy() == 1
    fast = together[: len(dated)]
    shift = np.abs(together - alone)
    return {
        "rows": len(texts),
        "labelled_rows": len(dated),
        "accuracy_reference": float(np.mean((reference >= 0.5) == truth)),
        "accuracy_loss_points": 100
        * float(np.mean((reference >= 0.5) == truth) - np.mean((fast >= 0.5) == truth)),
        "flip_share": float(np.mean((reference >= 0.5) != (fast >= 0.5))),
        "mean_shift": float(np.mean(np.abs(reference - fast))),
        "alone_shift_p99": float(np.quantile(shift, 0.99)),
        "alone_shift_max": float(shift.max()),
        "alone_flips": int(np.sum((together >= 0.5) != (alone >= 0.5))),
    }


def _score(model: Path, texts: list[str], engine: str, is_alone: bool) -> np.ndarray:
    """The encoder's probability of positive for each text, by the MLflow model as it is packaged."""
    from sentiment import loading, registry
    from sentiment.predictions import predict_each
    from sentiment.training.evaluation import positive_probabilities

    options = {"engine": engine, "threads": 1, "cascade": "off", "device": "cpu"}
    with TemporaryDirectory() as home:  # two processes that set up one store would meet
        registry.use_tracking(Path(home))
        loaded = loading.load_model(model, options, allow_unverified=True)  # a folder has no record
    if not is_alone:
        return positive_probabilities(predict_each(loaded, texts))
    return np.concatenate([positive_probabilities(predict_each(loaded, [text])) for text in texts])


def _merge(halves: Any) -> np.ndarray:
    """Put back in order what was dealt out in turns."""
    first, second = halves
    merged = np.empty(len(first) + len(second))
    merged[0::2], merged[1::2] = first, second
    return merged


def _join(reviews: pd.DataFrame) -> pd.DataFrame:
    text = (reviews["title"].fillna("") + " " + reviews["text"].fillna("")).str.strip()
    joined = reviews.assign(text=text)[["review_id", "text", "label"]]
    return joined[joined["label"].notna() & (joined["text"] != "")].reset_index(drop=True)
