"""A Python worker that dies, hangs or runs out of memory, and a row that breaks the model."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sentiment import schema
from tests.factories import make_reviews, save_stub_model

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F6", "a worker that fails, and a row that breaks the model"),
]
ROWS = 60
_IDLE = "spark.sql.execution.pyspark.udf.idleTimeoutSeconds"
# For the text MOODY the model does once what the mood file names; for BREAKS it always fails.
_CODE = """
MOOD = Path({mood!r})


def meet(texts):
    for text in texts:
        if "MOODY" in text:
            be_moody()
        if "BREAKS" in text:
            raise ValueError("cannot read " + text)


def be_moody():
    try:
        mood = MOOD.read_text()
        MOOD.unlink()
    except FileNotFoundError:
        return
    if mood == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if mood == "segfault":
        ctypes.string_at(0)
    if mood == "MemoryError":
        raise MemoryError
    if mood == "hang":
        time.sleep(3600)
"""

Run = Callable[..., pd.DataFrame]


@pytest.fixture
def score_with_stub(spark, score, tmp_path: Path) -> Run:
    """Return a function that scores reviews, the eighth with a given text, with a model in a given mood."""

    def run(text: str, mood: str = "") -> pd.DataFrame:
        reviews = make_reviews(ROWS)
        reviews.loc[7, "text"] = text
        reviews.to_parquet(tmp_path / "reviews.parquet", index=False)
        if mood:
            (tmp_path / "mood").write_text(mood)
        model_uri = save_stub_model(tmp_path / "stub", _CODE.format(mood=str(tmp_path / "mood")))
        idle = spark.conf.get(_IDLE)
        spark.conf.set(_IDLE, "5")
        try:
            source, output = tmp_path / "reviews.parquet", tmp_path / "scores"
            ended = score(source, output, model_uri=model_uri, allow_unverified=True)
        finally:
            spark.conf.set(_IDLE, idle)
        assert ended.exit_code == 0, ended.error
        return pd.read_parquet(output)

    return run


@pytest.mark.parametrize(
    "mood", [pytest.param("SIGKILL", marks=pytest.mark.quick), "segfault", "MemoryError", "hang"]
)
def test_a_worker_that_fails_once_loses_nothing(mood: str, score_with_stub: Run, tmp_path: Path) -> None:
    scored = score_with_stub("MOODY as ever", mood)
    assert not (tmp_path / "mood").exists(), "the worker never failed"
    assert sorted(scored["review_id"]) == sorted(make_reviews(ROWS)["review_id"])
    assert set(scored["score"]) == {0.75}


@pytest.mark.quick
def test_a_row_that_breaks_the_model_is_the_only_reject(score_with_stub: Run, tmp_path: Path) -> None:
    scored = score_with_stub("BREAKS it")
    assert sorted(scored["review_id"]) == sorted(set(make_reviews(ROWS)["review_id"]) - {"r7"})
    [rejected] = (tmp_path / "scores").glob("*/*/_rejected")
    rows = pd.read_parquet(rejected)
    assert rows[["review_id", "reject_reason"]].to_numpy().tolist() == [["r7", schema.MODEL_FAILED]]
