"""F7: the same answer however the table is cut, and online."""

import importlib
import os
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd

from sentiment.config import ScoreConfig
from sentiment.tables.runs import run_scoring
from sentiment.tables.store import open_store
from tests.conftest import make_reviews
from tests.matrix import Case

from .cells import World

ROWS = 10_000
_MAX_SHIFT, _P99_SHIFT = 0.03, 0.002
"""What the README states of a review alone against in company."""


def list_cases() -> list[Case]:
    """F7: 2 files in few tasks against 7 files in many; the table against `predict_sentiment`."""
    return [
        Case("2 against 7 partitions", _check_partitions),
        Case("the table against online answers", _check_online),
    ]


def _check_partitions(world: World, folder: Path) -> None:
    few = _score(world, folder / "few", files=2, rows_per_task=ROWS)
    many = _score(world, folder / "many", files=7, rows_per_task=200)
    _check_equal(few, many)


def _check_online(world: World, folder: Path) -> None:
    table = _score(world, folder, files=2, rows_per_task=ROWS)
    os.environ["SENTIMENT_MODEL_URI"] = world.model_uri
    online = importlib.import_module("score")
    texts = make_reviews(ROWS)["text"].tolist()
    chance = np.random.default_rng(0)
    answers = []
    while len(answers) < ROWS:
        # Callers come with one review more often than with many.
        n = int(chance.integers(1, 200))
        answers += online.predict_sentiment(texts[len(answers) : len(answers) + n])
    frame = make_reviews(ROWS)[["review_id"]].assign(
        label=[answer["label"] for answer in answers], score=[answer["score"] for answer in answers]
    )
    _check_equal(table, frame)


def _check_equal(one: pd.DataFrame, other: pd.DataFrame) -> None:
    both = one.merge(other, on="review_id", suffixes=("", "_other"), validate="one_to_one")
    assert len(both) == len(one) == len(other) == ROWS
    shift = (both["score"] - both["score_other"]).abs()
    is_close_call = (both["score"] - 0.5).abs() <= _MAX_SHIFT
    assert ((both["label"] == both["label_other"]) | is_close_call).all()
    assert shift.quantile(0.99) <= _P99_SHIFT
    assert shift[~is_close_call].max() <= _MAX_SHIFT


def _score(world: World, folder: Path, files: int, rows_per_task: int) -> pd.DataFrame:
    reviews = make_reviews(ROWS)
    (folder / "in").mkdir(parents=True)
    for part in range(files):
        reviews.iloc[part::files].to_parquet(folder / "in" / f"{part}.parquet", index=False)
    config = ScoreConfig(
        input=str(folder / "in"),
        output=str(folder / "scores"),
        model_uri=world.model_uri,
        rows_per_task=rows_per_task,
    )
    with open_store(config.output) as store:
        run_scoring(config, store, lambda: world.spark, datetime.now(timezone.utc), lambda *_: None)
    return pd.read_parquet(folder / "scores")[["review_id", "label", "score"]]
