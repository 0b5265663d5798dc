"""F8: what comes late, changes, is scored anew, or is taken in pieces: exactly the expected rows."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment import registry
from sentiment.config import FinetuneConfig, ScoreConfig
from sentiment.errors import SentimentError
from sentiment.tables.history import read_scores
from sentiment.tables.runs import run_scoring
from sentiment.tables.scores import ALL, LATEST, load_scores
from sentiment.tables.store import Store, open_store
from tests.conftest import make_reviews, make_tiny_encoder
from tests.matrix import Case

from .cells import World

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=timezone.utc)
_DAYS = 30
_DAY_ROWS = 10
_CHUNK_ROWS = 70
_COLUMNS = ["review_id", "label", "score", "model_version"]


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, its summary (empty if it has none), and what it said if it failed."""

    exit_code: int
    summary: Mapping[str, Any]
    error: str = ""


def score(world: World, source: Path, output: Path, now: datetime = NOW, **options: Any) -> Ended:
    """Run the scoring in this process, on the world's session."""
    values: dict[str, Any] = {"input": str(source), "output": str(output), "model_uri": world.model_uri}
    config = ScoreConfig(**{**values, **options})
    try:
        with open_store(config.output) as store:
            summary = run_scoring(config, store, lambda: world.spark, now, lambda *_: None)
    except SentimentError as error:
        return Ended(error.exit_code, error.summary or {}, str(error))
    return Ended(0, summary.as_dict())


def read_rejects(output: Path) -> pd.DataFrame:
    """Ids and reasons of all rejected rows of a store."""
    columns = ["review_id", "reject_reason"]
    files = sorted(output.glob("*/*/_rejected/part-*"))
    frames = [pd.read_parquet(file, columns=columns) for file in files]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def list_cases() -> list[Case]:
    """F8: files that come late or change, a new model, and a backlog cut by chunks, dates or row counts."""
    return [
        Case("a late file", _check_late_file, is_quick=True),
        Case("a rewritten file", _check_rewritten_file, is_quick=True),
        Case("a rewritten file while the clock goes back", _check_clock),
        Case("a file moved or touched", _check_moved_file),
        Case("a text that comes back", _check_text_back),
        Case("files with an old and a new text, both touched", _check_touched),
        Case("a new model scores new rows alone", _check_new_model),
        Case("a new model scores all rows once", _check_rescore),
        Case("30 days in chunks", _check_chunks),
        Case("30 days in windows of dates", _check_windows),
        Case("30 days by max_rows", _check_max_rows),
        Case("stopped between its chunks", _check_stopped),
    ]


def _check_late_file(world: World, folder: Path) -> None:
    """One that is older than what was scored, and in a folder of an earlier day."""
    reviews = make_reviews(40)
    _write(reviews[:20], folder / "in" / "day=02" / "a.parquet")
    assert _count(score(world, folder / "in", folder / "scores")) == (20, 0)
    late = _write(reviews[20:], folder / "in" / "day=01" / "a.parquet")
    os.utime(late, (1, 1))
    assert _count(score(world, folder / "in", folder / "scores")) == (20, 20)
    assert _count(score(world, folder / "in", folder / "scores")) == (0, 40)
    _check_ids(folder, reviews["review_id"])


def _check_rewritten_file(world: World, folder: Path, later: timedelta = timedelta(days=1)) -> None:
    """Of two files one comes again with a changed text, a new row and one row less."""
    reviews = make_reviews(41)
    _write(reviews[:20], folder / "in" / "a.parquet")
    _write(reviews[20:40], folder / "in" / "b.parquet")
    score(world, folder / "in", folder / "scores")
    before = load_scores(str(folder / "scores")).set_index("review_id")
    changed = reviews[21:].copy()
    changed.loc[25, "text"] = "great great love perfect happy"
    _write(changed, folder / "in" / "b.parquet")
    assert _count(score(world, folder / "in", folder / "scores", NOW + later)) == (2, 20 + 18)
    by_pandas = load_scores(str(folder / "scores")).set_index("review_id")
    by_spark = read_scores(world.spark, str(folder / "scores")).toPandas().set_index("review_id")
    for latest in (by_pandas, by_spark):
        assert sorted(latest.index) == sorted(reviews["review_id"])
        is_new = latest["sequence"] == 2
        assert sorted(latest.index[is_new]) == ["r25", "r40"]
        assert latest.loc["r25", "score"] != before.loc["r25", "score"]
        old = latest[~is_new]
        pd.testing.assert_series_equal(old["score"], before["score"].reindex(old.index))
    assert len(load_scores(str(folder / "scores"), ALL)) == 42


def _check_clock(world: World, folder: Path) -> None:
    """The newest row is that of the last run, whatever the clock says."""
    _check_rewritten_file(world, folder, timedelta(days=-1))


def _check_text_back(world: World, folder: Path) -> None:
    """A, B, A again, null, A again: the latest view follows each time."""
    reviews = make_reviews(20)
    first, other = reviews.loc[3, "text"], "great great love perfect happy"
    latest = []
    for step, text in enumerate((first, other, first, None, first)):
        reviews.loc[3, "text"] = text
        _write(reviews, folder / "in" / "a.parquet")
        os.utime(folder / "in" / "a.parquet", (step + 1, step + 1))
        score(world, folder / "in", folder / "scores", max_reject_share=1.0)
        found = load_scores(str(folder / "scores")).set_index("review_id")
        latest.append(found["score"].get("r3"))
        assert len(found) == 20 - (text is None)
    assert latest[0] == latest[2] == latest[4] != latest[1]
    assert latest[3] is None
    assert len(load_scores(str(folder / "scores"), ALL)) == 20 + 3


def _check_touched(world: World, folder: Path) -> None:
    """Nothing is new in them; also not if they are read in chunks, the old text last."""
    old, new = make_reviews(10), make_reviews(10)
    new.loc[3, "text"] = "great great love perfect happy"
    _write(old, folder / "in" / "z.parquet")
    score(world, folder / "in", folder / "scores")
    _write(new, folder / "in" / "a.parquet")
    score(world, folder / "in", folder / "scores")
    before = load_scores(str(folder / "scores"), ALL)
    assert len(before) == 11
    for step, options in enumerate(({}, {"chunk_rows": 10}), start=1):
        for path in (folder / "in").iterdir():
            os.utime(path, (step, step))
        assert _count(score(world, folder / "in", folder / "scores", **options)) == (0, 20)
    assert len(load_scores(str(folder / "scores"), ALL)) == 11


def _check_moved_file(world: World, folder: Path) -> None:
    """It is read again, and its rows are known."""
    path = _write(make_reviews(20), folder / "in" / "a.parquet")
    _write(make_reviews(40)[20:], folder / "in" / "b.parquet")
    score(world, folder / "in", folder / "scores")
    path.rename(path.with_name("moved.parquet"))
    os.utime(folder / "in" / "b.parquet", (1, 1))
    ended = score(world, folder / "in", folder / "scores")
    assert _count(ended) == (0, 40)
    assert ended.summary["pending_rows"] == 40
    _check_ids(folder, make_reviews(40)["review_id"])


def _check_new_model(world: World, folder: Path) -> None:
    _score_by_two_models(world, folder)
    _check_latest(world, folder, LATEST, {"1": 20, "2": 10})
    _check_latest(world, folder, "1", {"1": 20})
    _check_latest(world, folder, "2", {"2": 10})


def _check_rescore(world: World, folder: Path) -> None:
    new_model = _score_by_two_models(world, folder)
    source, output = folder / "in", folder / "scores"
    assert _count(score(world, source, output, model_uri=new_model, rescore=True)) == (20, 10)
    assert _count(score(world, source, output, model_uri=new_model, rescore=True)) == (0, 30)
    assert _count(score(world, source, output, model_uri=new_model)) == (0, 30)
    _check_latest(world, folder, LATEST, {"2": 30})
    _check_latest(world, folder, "1", {"1": 20})
    _check_latest(world, folder, ALL, {"1": 20, "2": 30})


def _check_chunks(world: World, folder: Path) -> None:
    """Days in chunks are what they are in one, though ids come again in later chunks."""
    _write_days(folder / "in")
    ended = score(world, folder / "in", folder / "scores", chunk_rows=_CHUNK_ROWS, max_reject_share=1.0)
    assert len(ended.summary["batches"]) == -(-_DAYS * _DAY_ROWS // _CHUNK_ROWS)
    assert ended.summary["repeated_rows"] == 2
    _check_equals_one_chunk(world, folder)
    rerun = score(world, folder / "in", folder / "scores", chunk_rows=_CHUNK_ROWS)
    assert _count(rerun) == (0, _DAYS * _DAY_ROWS)


def _check_windows(world: World, folder: Path) -> None:
    """Ten days at a time, out of order and overlapping; the first and the last without an end."""
    _write_days(folder / "in", has_repeats=False)
    windows = [
        {"since": "2026-01-11", "until": "2026-01-21"},
        {"until": "2026-01-11"},
        {"since": "2026-01-16", "until": "2026-01-21"},
        {"since": "2026-01-19"},
    ]
    taken = [
        _count(
            score(world, folder / "in", folder / "scores", date_col="day", max_reject_share=1.0, **window)
        )[0]
        for window in windows
    ]
    assert taken == [100, 100, 0, 100]
    _check_equals_one_chunk(world, folder)
    assert _count(score(world, folder / "in", folder / "scores")) == (0, _DAYS * _DAY_ROWS)


def _check_max_rows(world: World, folder: Path) -> None:
    """Runs of 110 rows each until nothing waits."""
    _write_days(folder / "in", has_repeats=False)
    taken = []
    while not taken or taken[-1] > 0:
        ended = score(world, folder / "in", folder / "scores", max_rows=110)
        taken.append(ended.summary["scored_rows"])
        assert ended.summary["waiting_rows"] == _DAYS * _DAY_ROWS - sum(taken)
    assert taken == [110, 110, 80, 0]
    _check_equals_one_chunk(world, folder)


def _check_stopped(world: World, folder: Path) -> None:
    """The second batch of a run fails to be published; the next run does what was left."""
    _write_days(folder / "in")
    options = {"chunk_rows": _CHUNK_ROWS, "max_reject_share": 1.0}
    with mock.patch.object(Store, "publish", _make_failing(Store.publish)):
        ended = score(world, folder / "in", folder / "scores", **options)
    assert ended.error == "stopped here"
    assert len(list((folder / "scores").glob("*/*"))) == 1
    score(world, folder / "in", folder / "scores", **options)
    _check_equals_one_chunk(world, folder)
    assert _count(score(world, folder / "in", folder / "scores", **options)) == (0, _DAYS * _DAY_ROWS)


def _make_failing(publish: Callable[..., Any]) -> Callable[..., Any]:
    """`Store.publish`, whose second call fails."""
    calls = []

    def call(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise SentimentError("stopped here")
        return publish(*arguments)

    return call


def _write_days(folder: Path, has_repeats: bool = True) -> None:
    """A file a day. With repeats: an id that comes twice more with its text, one that comes with another."""
    for day in range(_DAYS):
        reviews = make_reviews((day + 1) * _DAY_ROWS)[day * _DAY_ROWS :].reset_index(drop=True)
        if has_repeats and day in (12, 29):
            reviews.loc[3, ["review_id", "text"]] = make_reviews(6).loc[5, ["review_id", "text"]]
        if has_repeats and day == 20:
            reviews.loc[4, ["review_id", "text"]] = ["r7", "another text than that of the first day"]
        _write(reviews.assign(day=f"2026-01-{day + 1:02d}"), folder / f"{day:02d}.parquet")


def _check_equals_one_chunk(world: World, folder: Path) -> None:
    """Scores and rejects are those of one run in one chunk over the same input."""
    score(world, folder / "in", folder / "at-once", max_reject_share=1.0)
    found, expected = _read(folder / "scores"), _read(folder / "at-once")
    pd.testing.assert_frame_equal(found, expected)


def _read(output: Path) -> pd.DataFrame:
    """Scores and rejects, one row a published row."""
    scored = pd.read_parquet(output)[["review_id", "label", "score"]]
    rejected = read_rejects(output)[["review_id", "reject_reason"]]
    rows = [*scored.to_dict("records"), *rejected.to_dict("records")]
    table = pd.DataFrame(rows, columns=["review_id", "label", "score", "reject_reason"], dtype=object)
    return table.sort_values("review_id", kind="stable").reset_index(drop=True)


def _score_by_two_models(world: World, folder: Path) -> str:
    """20 rows by version 1, then 10 new ones by the new model, whose URI this gives."""
    new_model = _make_new_model(world, folder)
    _write(make_reviews(20), folder / "in" / "a.parquet")
    assert _count(score(world, folder / "in", folder / "scores")) == (20, 0)
    _write(make_reviews(30)[20:], folder / "in" / "b.parquet")
    assert _count(score(world, folder / "in", folder / "scores", model_uri=new_model)) == (10, 20)
    return new_model


def _make_new_model(world: World, folder: Path) -> str:
    """Version 2, fine-tuned once for the whole cell."""
    from sentiment.training.finetuning import finetune  # torch, which no other case needs

    if "new model" not in world.kept:
        encoder = make_tiny_encoder(folder / "encoder", seed=1, initializer_range=0.05)
        make_reviews(200).to_parquet(folder / "train.parquet")
        config = FinetuneConfig(
            dataset_name=str(folder / "train.parquet"),
            distilbert_model=str(encoder),
            lr=3e-3,
            epochs=1,
            max_length=32,
            cascade="off",
        )
        world.kept["new model"] = finetune(config, lambda *_: None).model_uri
    uri: str = world.kept["new model"]
    assert registry.resolve_model(uri).version == "2"
    return uri


def _check_latest(world: World, folder: Path, model: str, versions: dict[str, int]) -> None:
    """Both readers see so many rows of each version, and every id once (unless all are asked for)."""
    by_pandas = load_scores(str(folder / "scores"), model)[_COLUMNS]
    by_spark = read_scores(world.spark, str(folder / "scores"), model).select(*_COLUMNS).toPandas()
    for found in (by_pandas, by_spark):
        assert found["model_version"].value_counts().to_dict() == versions
        assert model == ALL or found["review_id"].is_unique


def _write(reviews: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(reviews, preserve_index=False), path)
    return path


def _count(ended: Ended) -> tuple[int, int]:
    """Rows that the run scored, and rows that it skipped."""
    assert ended.exit_code == 0, ended.error
    return ended.summary["scored_rows"], ended.summary["skipped_rows"]


def _check_ids(folder: Path, ids: "pd.Series[str]") -> None:
    assert sorted(pd.read_parquet(folder / "scores")["review_id"]) == sorted(ids)
