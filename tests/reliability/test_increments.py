"""Rows that come late, change, are scored again or in pieces: exactly the expected ones are scored."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.config import FinetuneConfig
from sentiment.errors import SentimentError
from sentiment.models import registry
from sentiment.tables.scores import read_scores
from sentiment.tables.store.delta import DeltaStore
from sentiment.tables.store.folder import FolderStore
from sentiment.tables.store.scores import ALL, LATEST, load_scores
from tests.factories import TinyModel, make_reviews, make_tiny_encoder

from .conftest import NOW
from .places import DELTA, FOLDER, S3, Place, on_every_store, quick_on_a_folder
from .tables import Ended

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F8", "late and changed files, a new model, a backlog in pieces"),
]
_DAYS = 30
_DAY_ROWS = 10
_CHUNK_ROWS = 70
_COLUMNS = ["review_id", "label", "score", "model_version"]
Score = Callable[..., Ended]


@pytest.fixture(scope="module")
def new_model(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fine-tune version 2 of the model; return its URI."""
    from sentiment.training.finetuning import finetune  # torch, which no other test here needs

    folder = tmp_path_factory.mktemp("new-model")
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
    uri = finetune(config, lambda *_: None).model_uri
    assert registry.resolve_model(uri).version == "2"
    return uri


@quick_on_a_folder
def test_a_late_file_is_scored(run, place, tmp_path) -> None:
    """Add a file that is older than the scored one, in a folder of an earlier day."""
    reviews = make_reviews(40)
    _write(reviews[:20], tmp_path / "in" / "day=02" / "a.parquet")
    assert _count(run()) == (20, 0)
    late = _write(reviews[20:], tmp_path / "in" / "day=01" / "a.parquet")
    os.utime(late, (1, 1))
    assert _count(run()) == (20, 20)
    assert _count(run()) == (0, 40)
    _check_ids(place, reviews["review_id"])


@pytest.mark.parametrize(
    ("kind", "days"),
    [
        pytest.param(
            kind, days, id=f"{kind}-{when}", marks=[pytest.mark.quick] * (kind == FOLDER and days > 0)
        )
        for kind in (FOLDER, DELTA, S3)
        for days, when in ((1, "a day later"), (-1, "while the clock goes back"))
    ],
)
def test_of_a_rewritten_file_only_changed_and_new_rows_are_scored(
    days: int, run, place, spark, tmp_path
) -> None:
    """Rewrite one of two files with a changed text, a new row and one row less."""
    reviews = make_reviews(41)
    _write(reviews[:20], tmp_path / "in" / "a.parquet")
    _write(reviews[20:40], tmp_path / "in" / "b.parquet")
    run()
    before = _load(place).set_index("review_id")
    changed = reviews[21:].copy()
    changed.loc[25, "text"] = "great great love perfect happy"
    _write(changed, tmp_path / "in" / "b.parquet")
    assert _count(run(now=NOW + timedelta(days=days))) == (2, 20 + 18)
    by_pandas = _load(place).set_index("review_id")
    by_spark = (
        read_scores(spark, place.output, storage_options=place.options).toPandas().set_index("review_id")
    )
    for latest in (by_pandas, by_spark):
        assert sorted(latest.index) == sorted(reviews["review_id"])
        is_new = latest["sequence"] == 2
        assert sorted(latest.index[is_new]) == ["r25", "r40"]
        assert latest.loc["r25", "score"] != before.loc["r25", "score"]
        old = latest[~is_new]
        pd.testing.assert_series_equal(old["score"], before["score"].reindex(old.index))
    assert len(_load(place, ALL)) == 42


@on_every_store
def test_the_latest_view_follows_a_text_that_comes_back(run, place, tmp_path) -> None:
    """Change a text to B, back to A, to null, and back to A."""
    reviews = make_reviews(20)
    first, other = reviews.loc[3, "text"], "great great love perfect happy"
    latest = []
    for step, text in enumerate((first, other, first, None, first)):
        reviews.loc[3, "text"] = text
        _write(reviews, tmp_path / "in" / "a.parquet")
        os.utime(tmp_path / "in" / "a.parquet", (step + 1, step + 1))
        run(max_reject_share=1.0)
        found = _load(place).set_index("review_id")
        latest.append(found["score"].get("r3"))
        assert len(found) == 20 - (text is None)
    assert latest[0] == latest[2] == latest[4] != latest[1]
    assert latest[3] is None
    assert len(_load(place, ALL)) == 20 + 3


@on_every_store
def test_of_touched_files_with_an_old_and_a_new_text_the_last_decides(run, place, tmp_path) -> None:
    """Touch two files that differ in one text: the latest row is in the newer file, or the last by name."""
    old, new = make_reviews(10), make_reviews(10)
    new.loc[3, "text"] = "great great love perfect happy"
    a, z = (tmp_path / "in" / name for name in ("a.parquet", "z.parquet"))
    _write(old, z)
    run()
    before = _read_digests(place)
    _write(new, a)
    run()
    changed = _read_digests(place)
    assert {id_ for id_ in before if before[id_] != changed[id_]} == {"r3"}
    for times, options, expected in (
        ((2, 1), {}, changed),
        ((3, 3), {}, before),
        ((5, 4), {"chunk_rows": 10}, changed),
        ((6, 6), {"chunk_rows": 10}, before),
    ):
        for path, time in zip((a, z), times, strict=True):
            os.utime(path, (time, time))
        assert run(**options).exit_code == 0
        assert _read_digests(place) == expected
        assert _count(run(**options)) == (0, 20)


def _load(place: Place, model: str = LATEST) -> pd.DataFrame:
    return load_scores(place.output, model, place.options)


def _read_digests(place: Place) -> dict[str, int]:
    found: dict[str, int] = _load(place).set_index("review_id")["text_digest"].to_dict()
    return found


@on_every_store
def test_a_moved_or_touched_file_is_read_again_and_its_rows_are_known(run, place, tmp_path) -> None:
    path = _write(make_reviews(20), tmp_path / "in" / "a.parquet")
    _write(make_reviews(40)[20:], tmp_path / "in" / "b.parquet")
    run()
    path.rename(path.with_name("moved.parquet"))
    os.utime(tmp_path / "in" / "b.parquet", (1, 1))
    ended = run()
    assert _count(ended) == (0, 40)
    assert ended.summary["pending_rows"] == 40
    _check_ids(place, make_reviews(40)["review_id"])


@on_every_store
def test_a_new_model_scores_only_new_rows(run, spark, new_model, place, tmp_path) -> None:
    _score_by_two_models(run, new_model, tmp_path)
    _check_latest(spark, place, LATEST, {"1": 20, "2": 10})
    _check_latest(spark, place, "1", {"1": 20})
    _check_latest(spark, place, "2", {"2": 10})


@on_every_store
def test_a_new_model_scores_all_rows_once_if_asked(run, spark, new_model, place, tmp_path) -> None:
    _score_by_two_models(run, new_model, tmp_path)
    assert _count(run(model_uri=new_model, rescore=True)) == (20, 10)
    assert _count(run(model_uri=new_model, rescore=True)) == (0, 30)
    assert _count(run(model_uri=new_model)) == (0, 30)
    _check_latest(spark, place, LATEST, {"2": 30})
    _check_latest(spark, place, "1", {"1": 20})
    _check_latest(spark, place, ALL, {"1": 20, "2": 30})


@on_every_store
def test_thirty_days_in_chunks_equal_one_chunk(run, score, place, tmp_path) -> None:
    """Let ids come again in later chunks."""
    _write_days(tmp_path / "in")
    ended = run(chunk_rows=_CHUNK_ROWS, max_reject_share=1.0)
    assert len(ended.summary["batches"]) == -(-_DAYS * _DAY_ROWS // _CHUNK_ROWS)
    assert (ended.summary["skipped_rows"], ended.summary["superseded_rows"]) == (2, 0)
    _check_equals_one_chunk(score, tmp_path, place)
    rerun = run(chunk_rows=_CHUNK_ROWS)
    assert _count(rerun) == (0, _DAYS * _DAY_ROWS)


@on_every_store
def test_thirty_days_in_windows_of_dates_equal_one_chunk(run, score, place, tmp_path) -> None:
    """Score ten days at a time, out of order and overlapping; the first and the last have no end."""
    _write_days(tmp_path / "in", has_repeats=False)
    windows = [
        {"since": "2026-01-11", "until": "2026-01-21"},
        {"until": "2026-01-11"},
        {"since": "2026-01-16", "until": "2026-01-21"},
        {"since": "2026-01-19"},
    ]
    taken = [_count(run(date_col="day", max_reject_share=1.0, **window))[0] for window in windows]
    assert taken == [100, 100, 0, 100]
    _check_equals_one_chunk(score, tmp_path, place)
    assert _count(run()) == (0, _DAYS * _DAY_ROWS)


@on_every_store
def test_thirty_days_by_max_rows_equal_one_chunk(run, score, place, tmp_path) -> None:
    """Score 110 rows per run until nothing waits."""
    _write_days(tmp_path / "in", has_repeats=False)
    taken = []
    while not taken or taken[-1] > 0:
        ended = run(max_rows=110)
        taken.append(ended.summary["scored_rows"])
        assert ended.summary["waiting_rows"] == _DAYS * _DAY_ROWS - sum(taken)
    assert taken == [110, 110, 80, 0]
    _check_equals_one_chunk(score, tmp_path, place)


@on_every_store
def test_a_run_that_stopped_between_its_chunks_is_completed(run, score, place, tmp_path) -> None:
    """Let the second batch of a run fail to be published; the next run scores the rest."""
    _write_days(tmp_path / "in")
    options = {"chunk_rows": _CHUNK_ROWS, "max_reject_share": 1.0}
    store = FolderStore if place.kind == FOLDER else DeltaStore
    with mock.patch.object(store, "publish", _make_failing(store.publish)):
        ended = run(**options)
    assert ended.error == "stopped here"
    assert place.count_batches() == 1
    run(**options)
    _check_equals_one_chunk(score, tmp_path, place)
    assert _count(run(**options)) == (0, _DAYS * _DAY_ROWS)


def _make_failing(publish: Callable[..., Any]) -> Callable[..., Any]:
    """Return the `publish` of a store with a second call that fails."""
    calls = []

    def call(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise SentimentError("stopped here")
        return publish(*arguments)

    return call


def _write_days(folder: Path, has_repeats: bool = True) -> None:
    """Write a file per day; with repeats, one id comes twice more with its text, one with another text."""
    for day in range(_DAYS):
        reviews = make_reviews((day + 1) * _DAY_ROWS)[day * _DAY_ROWS :].reset_index(drop=True)
        if has_repeats and day in (12, 29):
            reviews.loc[3, ["review_id", "text"]] = make_reviews(6).loc[5, ["review_id", "text"]]
        if has_repeats and day == 20:
            reviews.loc[4, ["review_id", "text"]] = ["r7", "another text than that of the first day"]
        _write(reviews.assign(day=f"2026-01-{day + 1:02d}"), folder / f"{day:02d}.parquet")


def _check_equals_one_chunk(score: Score, folder: Path, place: Place) -> None:
    """Check that scores and rejects are those of one run in one chunk over the same input, into a folder."""
    at_once = Place(FOLDER, str(folder / "at-once"))
    score(folder / "in", at_once, max_reject_share=1.0)
    found, expected = (_load(which).set_index("review_id").sort_index() for which in (place, at_once))
    columns = ["label", "score", "text_digest"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert sorted(place.read_rejects()["review_id"]) == sorted(at_once.read_rejects()["review_id"])


def _score_by_two_models(run: Score, new_model: str, folder: Path) -> None:
    """Score 20 rows by version 1, then 10 new ones by version 2."""
    _write(make_reviews(20), folder / "in" / "a.parquet")
    assert _count(run()) == (20, 0)
    _write(make_reviews(30)[20:], folder / "in" / "b.parquet")
    assert _count(run(model_uri=new_model)) == (10, 20)


def _check_latest(spark: Any, place: Place, model: str, versions: dict[str, int]) -> None:
    """Check the rows of each version in both readers, and that ids are unique unless all rows are read."""
    by_pandas = _load(place, model)[_COLUMNS]
    by_spark = read_scores(spark, place.output, model, place.options).select(*_COLUMNS).toPandas()
    for found in (by_pandas, by_spark):
        assert found["model_version"].value_counts().to_dict() == versions
        assert model == ALL or found["review_id"].is_unique


def _write(reviews: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(reviews, preserve_index=False), path)
    return path


def _count(ended: Ended) -> tuple[int, int]:
    """Return the scored and the skipped rows of a run."""
    assert ended.exit_code == 0, ended.error
    return ended.summary["scored_rows"], ended.summary["skipped_rows"]


def _check_ids(place: Place, ids: "pd.Series[str]") -> None:
    assert sorted(place.read_scores()["review_id"]) == sorted(ids)
