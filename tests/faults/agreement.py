"""F7: the same answer however the table is cut, and online."""

import itertools
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sentiment.config import ScoreConfig
from sentiment.tables.runs import run_scoring
from sentiment.tables.store import open_store
from tests.conftest import make_reviews
from tests.matrix import Case
from tests.servers import start_server

from .cells import World
from .increments import read_rejects

ROWS = 10_000
_MAX_SHIFT, _P99_SHIFT = 0.03, 0.002
"""What the README states of a review alone against in company."""


def list_cases() -> list[Case]:
    """F7: 2 files in few tasks against 7 files in many; the table against REST."""
    return [
        Case("2 against 7 partitions", _check_partitions),
        Case("the table against callers of REST, eight at a time", _check_online),
    ]


def _check_partitions(world: World, folder: Path) -> None:
    few = _score(world, folder / "few", files=2, rows_per_task=ROWS)
    many = _score(world, folder / "many", files=7, rows_per_task=200)
    _check_equal(few, many)


def _check_online(world: World, folder: Path) -> None:
    table = _score(world, folder, files=2, rows_per_task=ROWS)
    texts = _make_rows()["text"].tolist()
    # Callers come with one review more often than with many.
    sizes = np.minimum(np.random.default_rng(0).geometric(0.05, size=ROWS), 200)
    starts = [0, *np.cumsum(sizes)]
    parts = [texts[start:stop] for start, stop in itertools.pairwise(starts) if start < ROWS]
    server = start_server(world.tracking_uri, folder / "server", reload_seconds=0, max_wait_seconds=60)
    try:
        with ThreadPoolExecutor(8) as callers:
            answers = [
                found for part in callers.map(lambda part: _ask(server.url, part), parts) for found in part
            ]
    finally:
        server.stop()
    columns = {name: [answer[name] for answer in answers] for name in ("label", "score", "reject_reason")}
    _check_equal(table, _make_rows()[["review_id"]].assign(**columns))


def _ask(url: str, texts: list[str | None]) -> list[dict[str, Any]]:
    body = json.dumps({"texts": texts}).encode()
    request = urllib.request.Request(f"{url}/v1/sentiment", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        predictions: list[dict[str, Any]] = json.load(answer)["predictions"]
    return predictions


def _make_rows() -> pd.DataFrame:
    """Some of them have no label: null, blank, and nothing that is a token."""
    reviews = make_reviews(ROWS)
    for number, text in enumerate((None, "", " \t", "\x00")):
        reviews.loc[number::400, "text"] = text
    return reviews


def _check_equal(one: pd.DataFrame, other: pd.DataFrame) -> None:
    both = one.merge(other, on="review_id", suffixes=("", "_other"), validate="one_to_one")
    assert len(both) == len(one) == len(other) == ROWS
    reasons = both["reject_reason"].fillna("none")
    assert (reasons == both["reject_reason_other"].fillna("none")).all()
    assert set(reasons) == {"none", "null_text", "blank_text"}
    both = both[reasons == "none"]
    shift = (both["score"] - both["score_other"]).abs()
    is_close_call = (both["score"] - 0.5).abs() <= _MAX_SHIFT
    assert ((both["label"] == both["label_other"]) | is_close_call).all()
    assert shift.quantile(0.99) <= _P99_SHIFT
    assert shift[~is_close_call].max() <= _MAX_SHIFT


def _score(world: World, folder: Path, files: int, rows_per_task: int) -> pd.DataFrame:
    reviews = _make_rows()
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
    scored = pd.read_parquet(folder / "scores")[["review_id", "label", "score"]]
    rejected = read_rejects(folder / "scores")
    return pd.concat([scored, rejected], ignore_index=True)
