"""Fixtures of the reliability tests: the tiny model in use, and the job run in this process."""

import functools
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from sentiment.config import ScoreConfig
from sentiment.errors import SentimentError
from sentiment.tables.runs import run_scoring
from sentiment.tables.store.opening import open_store
from tests.factories import SHORT_RUNS, TinyModel, using_store

from .tables import Ended

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=timezone.utc)


@pytest.fixture(scope="package")
def model(tiny_model: TinyModel) -> Iterator[TinyModel]:
    """Point MLflow at the tiny model while the tests of this folder run."""
    options = os.environ.get("JDK_JAVA_OPTIONS", SHORT_RUNS)
    with using_store(tiny_model.tracking_uri, JDK_JAVA_OPTIONS=options):
        yield tiny_model


@pytest.fixture(scope="package")
def score(model: TinyModel, spark: Any) -> Callable[..., Ended]:
    """Return a function that scores a source into an output here, with options of `ScoreConfig`."""

    def run(source: Path, output: Path, now: datetime = NOW, **options: Any) -> Ended:
        values = {"input": str(source), "output": str(output), "model_uri": model.uri, **options}
        config = ScoreConfig(**values)
        try:
            with open_store(config.output) as store:
                summary = run_scoring(config, store, lambda: spark, now, lambda *_: None)
        except SentimentError as error:
            return Ended(error.exit_code, error.summary or {}, str(error))
        return Ended(0, summary.as_dict())

    return run


@pytest.fixture
def run(score: Callable[..., Ended], tmp_path: Path) -> Callable[..., Ended]:
    """Return `score` from the folder `in` of the test into its folder `scores`."""
    return functools.partial(score, tmp_path / "in", tmp_path / "scores")
