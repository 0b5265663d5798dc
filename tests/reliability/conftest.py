"""Fixtures of the reliability tests: the tiny model in use, and the job run in this process."""

import functools
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sentiment.config import ScoreConfig
from sentiment.errors import SentimentError
from sentiment.tables.runs import run_scoring
from sentiment.tables.storage import load_options
from sentiment.tables.store.opening import open_store
from tests.factories import SHORT_RUNS, Bucket, TinyModel, make_bucket, using_store
from tests.object_stores import ObjectStore, start_object_store

from . import places
from .places import FOLDER, S3, MakePlace, Place
from .tables import Ended

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)


@pytest.fixture(scope="package")
def model(tiny_model: TinyModel) -> Iterator[TinyModel]:
    """Point MLflow at the tiny model while the tests of this folder run."""
    options = os.environ.get("JDK_JAVA_OPTIONS", SHORT_RUNS)
    with using_store(tiny_model.tracking_uri, JDK_JAVA_OPTIONS=options):
        yield tiny_model


@pytest.fixture(scope="package")
def score(model: TinyModel, spark: Any) -> Callable[..., Ended]:
    """Return a function that scores a source into an output here, with options of `ScoreConfig`."""

    def run(source: Path, output: Path | Place, now: datetime = NOW, **options: Any) -> Ended:
        named = output.config if isinstance(output, Place) else {"output": str(output)}
        values = {"input": str(source), "model_uri": model.uri, **named, **options}
        config = ScoreConfig(**values)
        try:
            with open_store(config.output, load_options(config.storage_options)) as store:
                summary = run_scoring(config, store, lambda: spark, now, lambda *_: None)
        except SentimentError as error:
            return Ended(error.exit_code, error.summary or {}, str(error))
        return Ended(0, summary.as_dict())

    return run


@pytest.fixture
def run(score: Callable[..., Ended], tmp_path: Path, place: Place) -> Callable[..., Ended]:
    """Return `score` from the folder `in` of the test into its place."""
    return functools.partial(score, tmp_path / "in", place)


@pytest.fixture
def kind() -> str:
    """Return the kind of the test's place; tests that run on others are parametrised by it."""
    return FOLDER


@pytest.fixture
def place(kind: str, make_place: MakePlace, tmp_path: Path) -> Place:
    """Make an empty place for the store of the test."""
    return make_place(kind, tmp_path)


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Start the S3 server of all reliability tests."""
    with start_object_store(tmp_path_factory.mktemp("object-store")) as started:
        yield started


@pytest.fixture(scope="session")
def make_place(request: pytest.FixtureRequest) -> MakePlace:
    """Return a function that makes an empty place; those on S3 share a bucket."""

    @functools.cache
    def open_bucket() -> Bucket:
        return make_bucket(request.getfixturevalue("object_store").options)

    return lambda kind, folder: places.make_place(kind, folder, open_bucket() if kind == S3 else None)


@pytest.fixture(autouse=True)
def _note_server(request: pytest.FixtureRequest) -> None:
    """Note the S3 server with the counts of a promise."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("kind") == S3:
        server = request.getfixturevalue("object_store").name
        request.node.user_properties.append(("note", f"S3 server: {server}"))
