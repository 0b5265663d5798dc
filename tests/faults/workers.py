"""F6: a Python worker that dies, hangs or runs out of memory, and a row that breaks the model."""

import textwrap
import warnings
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from sentiment import registry, schema
from sentiment.config import ScoreConfig
from sentiment.tables.runs import run_scoring
from sentiment.tables.store import open_store
from tests.conftest import make_reviews
from tests.matrix import Case

from .cells import World

ROWS = 60
_IDLE = "spark.sql.execution.pyspark.udf.idleTimeoutSeconds"
_MODEL = '''
"""Says `positive` of everything; does what the mood file says when it meets MOODY, once."""
import ctypes
import os
import signal
import time
from pathlib import Path

import mlflow
import pandas as pd

MOOD = Path({mood!r})


class Moody(mlflow.pyfunc.PythonModel):
    engine = "none"
    budget_tokens = 512
    instruction_set = "avx512_vnni"
    engine_warning = None

    def row_cost(self, n_tokens):
        return n_tokens

    def predict(self, context, model_input, params=None):
        return pd.DataFrame(self.predict_columns(model_input["text"].tolist()))

    def predict_columns(self, texts):
        for text in texts:
            if text is not None and "MOODY" in text:
                self.be_moody()
            if text is not None and "BREAKS" in text:
                raise ValueError("cannot read " + text)
        is_text = [text is not None for text in texts]
        return {{
            "label": ["positive" if found else None for found in is_text],
            "score": [0.75 if found else None for found in is_text],
            "n_tokens": [3 if found else None for found in is_text],
            "truncated": [False if found else None for found in is_text],
            "stage": ["encoder" if found else None for found in is_text],
            "reject_reason": [None if found else "null_text" for found in is_text],
        }}

    def be_moody(self):
        try:
            mood = MOOD.read_text()
            MOOD.unlink()
        except FileNotFoundError:
            return
        if mood == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == "segfault":
            ctypes.string_at(0)
        if mood == "memory":
            raise MemoryError
        if mood == "hang":
            time.sleep(3600)


mlflow.models.set_model(Moody())
'''


def list_cases() -> list[Case]:
    """F6: five ways in which a worker fails."""
    moods = {"kill": "SIGKILL", "segfault": "segfault", "memory": "MemoryError", "hang": "hang"}
    cases = [
        Case(f"worker: {said}", _make_check(mood), is_quick=mood == "kill") for mood, said in moods.items()
    ]
    return [*cases, Case("a row breaks the model", _check_breaking_row, is_quick=True)]


def _make_check(mood: str):  # type: ignore[no-untyped-def]
    def check(world: World, folder: Path) -> None:
        reviews = make_reviews(ROWS)
        reviews.loc[7, "text"] = "MOODY as ever"
        scored = _score(world, folder, reviews, mood)
        assert not (folder / "mood").exists(), "the worker never failed"
        assert sorted(scored["review_id"]) == sorted(reviews["review_id"])
        assert set(scored["score"]) == {0.75}

    return check


def _check_breaking_row(world: World, folder: Path) -> None:
    reviews = make_reviews(ROWS)
    reviews.loc[7, "text"] = "BREAKS it"
    scored = _score(world, folder, reviews, mood="")
    assert sorted(scored["review_id"]) == sorted(set(reviews["review_id"]) - {"r7"})
    [rejected] = (folder / "scores").glob("*/*/_rejected")
    rows = pd.read_parquet(rejected)
    assert rows[["review_id", "reject_reason"]].to_numpy().tolist() == [["r7", schema.MODEL_FAILED]]


def _score(world: World, folder: Path, reviews: pd.DataFrame, mood: str) -> pd.DataFrame:
    reviews.to_parquet(folder / "reviews.parquet", index=False)
    if mood:
        (folder / "mood").write_text(mood)
    config = ScoreConfig(
        input=str(folder / "reviews.parquet"),
        output=str(folder / "scores"),
        model_uri=str(_save_model(folder)),
        allow_unverified=True,
    )
    idle = world.spark.conf.get(_IDLE)
    world.spark.conf.set(_IDLE, "5")
    try:
        with open_store(config.output) as store:
            run_scoring(config, store, lambda: world.spark, datetime.now(timezone.utc), lambda *_: None)
    finally:
        world.spark.conf.set(_IDLE, idle)
    return pd.read_parquet(folder / "scores")


def _save_model(folder: Path) -> Path:
    script = folder / "moody.py"
    script.write_text(textwrap.dedent(_MODEL).format(mood=str(folder / "mood")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would rather have type hints, which check every element
        registry.import_mlflow().pyfunc.save_model(
            folder / "model",
            python_model=str(script),
            pip_requirements=["pandas"],
            model_config={"engine": "none", "threads": 1, "device": "cpu", "cascade": "off"},
        )
    return folder / "model"
