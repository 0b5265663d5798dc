"""Fixtures shared by all tests, and the counts of the reliability and abuse suites.

A test of these suites carries `pytest.mark.promise(code, title)`. Its code (F1, B2, R4 …) begins its id, so
`-k F1` selects it. After `pytest -m reliability` or `-m abuse` a line is printed per code, and the counts are
written to var/faults.json or var/abuse.json; codes that were not run, or only in part, keep their entries.
"""

import atexit
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from sentiment.models import registry
from tests.factories import (
    ROOT,
    Bucket,
    TinyModel,
    make_bucket,
    make_tiny_encoder,
    make_tiny_model,
    start_s3,
    using_store,
)

SHARED_DATA = ROOT.parent / "shared" / "data"
SUMMARIES = {"reliability": ROOT / "var" / "faults.json", "abuse": ROOT / "var" / "abuse.json"}

# Nothing that a test starts reports to anyone, or asks a hub.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
# Prepared training data of earlier test runs must not be found.
os.environ["SENTIMENT_DATA_CACHE"] = tempfile.mkdtemp(prefix="sentiment-test-data-")
atexit.register(shutil.rmtree, os.environ["SENTIMENT_DATA_CACHE"], ignore_errors=True)

_titles = pytest.StashKey[dict[str, str]]()
_sizes = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="R3: a minute of overload and a soak of ten minutes")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Begin the id of a promise's tests with its code."""
    promise = metafunc.definition.get_closest_marker("promise")
    if promise is not None:
        metafunc.fixturenames.append("promise")
        metafunc.parametrize("promise", promise.args[:1])


@pytest.hookimpl(tryfirst=True)  # before -k and -m deselect
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    promises = []
    for item in items:
        if "tiny_model" in getattr(item, "fixturenames", ()):  # it is logged, once per process
            item.add_marker("slow")
        promise = item.get_closest_marker("promise")
        if promise is not None:
            item.user_properties.append(("promise", promise.args[0]))
            promises.append(promise.args)
    config.stash[_titles] = dict(promises)
    config.stash[_sizes] = Counter(code for code, _ in promises)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the counts of the suite that `-m` names, and write them."""
    target = SUMMARIES.get(config.option.markexpr)
    reports: dict[str, list[pytest.TestReport]] = {}
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport) and "promise" in dict(report.user_properties):
            reports.setdefault(dict(report.user_properties)["promise"], []).append(report)
    if target is None or not reports:
        return
    counted = json.loads(target.read_text()) if target.exists() else {}
    names_tests = any("::" in argument for argument in config.args)  # so what is collected may be a part
    terminalreporter.section(f"promises: {config.option.markexpr}")
    for code, title in config.stash[_titles].items():
        if code not in reports:
            continue
        count = _count(reports[code])
        n_run, n_all = count["passed"] + count["failed"], config.stash[_sizes][code]
        part = "" if n_run == n_all else f" (of {n_all})"
        terminalreporter.line(f"{code} {count['passed']}/{n_run}{part}   {count['seconds']:.0f} s   {title}")
        notes = [text for report in reports[code] for name, text in report.user_properties if name == "note"]
        for note in dict.fromkeys(notes):
            terminalreporter.line(f"  {note}")
        if n_run == n_all and not names_tests:
            counted[code] = count
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(counted, indent=2) + "\n")


def _count(reports: list[pytest.TestReport]) -> dict[str, float]:
    """Count the tests of these reports; one that fails in its set-up or tear-down has failed."""
    ran = {report.nodeid for report in reports if report.when == "call" and not report.skipped}
    failed = {report.nodeid for report in reports if report.failed}
    seconds = round(sum(report.duration for report in reports), 1)
    return {"passed": len(ran - failed), "failed": len(failed), "seconds": seconds}


@pytest.fixture(autouse=True)
def _keep_logging() -> Iterator[None]:
    """Restore the loggers after each test: services, workers and libraries silence some in their process."""
    found = [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
    before = [(logger, logger.level, logger.disabled, logger.propagate) for logger in (logging.root, *found)]
    yield
    for logger, *state in before:
        if [logger.level, logger.disabled, logger.propagate] != state:
            logger.setLevel(state[0])  # also forgets which levels are enabled
            logger.disabled, logger.propagate = state[1:]


@pytest.fixture(autouse=True)
def _forget_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test begin with the active experiment of another one, which is of another store."""
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    fluent = sys.modules.get("mlflow.tracking.fluent")
    if fluent is not None:
        monkeypatch.setattr(fluent, "_active_experiment_id", None)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a packaged tiny encoder that reads at most 16 tokens."""
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"), max_length=16)


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point MLflow at a store of the test's own, as a user does."""
    uri = f"sqlite:///{tmp_path / 'tracking' / 'mlflow.db'}"
    (tmp_path / "tracking").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    registry.use_tracking(tmp_path)
    return uri


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a tracking store for tests that use models of their own; making one takes MLflow seconds."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('shared-store') / 'mlflow.db'}"
    with using_store(uri):
        registry.open_experiment("sentiment")
    return uri


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Fine-tune and register `models:/sentiment/1`, alias champion, from the tiny encoder."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def use_tiny_model(tiny_model: TinyModel) -> Iterator[TinyModel]:
    """Point MLflow at `tiny_model` for the test."""
    with using_store(tiny_model.tracking_uri):
        yield tiny_model


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """Build the session as the jobs do, for all Spark tests."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from sentiment.tables.session import build_session

    session = build_session("tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, str]]:
    """Start an S3 server for all tests."""
    with start_s3() as options:
        yield options


@pytest.fixture
def bucket(s3_options: dict[str, str]) -> Bucket:
    """Make an empty bucket of the test's own."""
    return make_bucket(s3_options)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real reviews; skip the test, and report it, where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"NOT RUN: no real reviews at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes columns (or a frame) to a Parquet file and returns its path."""

    def write(data: object, name: str = "reviews.parquet") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(data).to_parquet(path, index=False)
        return str(path)

    return write
