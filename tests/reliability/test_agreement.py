"""The same predictions however the table is cut, and online."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.factories import TinyModel, make_reviews
from tests.servers import start_server

from .tables import Ended, read_table

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F7", "a table against itself in other parts, and against REST"),
]
ROWS = 10_000
# The README's limits for a review that is scored by itself and among others.
_MAX_SHIFT, _P99_SHIFT = 0.03, 0.002


def test_two_partitions_agree_with_seven(score: Callable[..., Ended], tmp_path: Path) -> None:
    few = _score(score, tmp_path / "few", files=2, rows_per_task=ROWS)
    many = _score(score, tmp_path / "many", files=7, rows_per_task=200)
    _check_equal(few, many)


def test_the_table_agrees_with_eight_callers_of_rest(
    score: Callable[..., Ended], model: TinyModel, tmp_path: Path
) -> None:
    table = _score(score, tmp_path, files=2, rows_per_task=ROWS)
    texts = _make_rows()["text"].tolist()
    # Callers come with one review more often than with many.
    sizes = np.minimum(np.random.default_rng(0).geometric(0.05, size=ROWS), 200)
    starts = [0, *np.cumsum(sizes)]
    parts = [texts[start:stop] for start, stop in itertools.pairwise(starts) if start < ROWS]
    with (
        start_server(
            model.tracking_uri, tmp_path / "server", reload_seconds=0, max_wait_seconds=60
        ) as server,
        ThreadPoolExecutor(8) as callers,
    ):
        bodies = [{"texts": part} for part in parts]
        found = list(callers.map(lambda body: server.ask("/v1/sentiment", body, timeout=60), bodies))
    assert {status for status, _ in found} == {200}
    answers = [prediction for _, answer in found for prediction in answer["predictions"]]
    columns = {name: [answer[name] for answer in answers] for name in ("label", "score", "reject_reason")}
    _check_equal(table, _make_rows()[["review_id"]].assign(**columns))


def _make_rows() -> pd.DataFrame:
    """Return reviews of which some have no label: null, blank, and nothing that is a token."""
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


def _score(score: Callable[..., Ended], folder: Path, files: int, rows_per_task: int) -> pd.DataFrame:
    reviews = _make_rows()
    (folder / "in").mkdir(parents=True)
    for part in range(files):
        reviews.iloc[part::files].to_parquet(folder / "in" / f"{part}.parquet", index=False)
    ended = score(folder / "in", folder / "scores", rows_per_task=rows_per_task)
    assert ended.exit_code == 0, ended.error
    return read_table(folder / "scores").astype({"score": float})
