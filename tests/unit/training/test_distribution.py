"""Processes that Spark starts get the stores, the paths and SIGTERM of the driver; no Spark runs here."""

import os
import pickle
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from py4j.protocol import Py4JNetworkError

from sentiment.cli import Terminated
from sentiment.config import FinetuneConfig
from sentiment.errors import ConfigError, TrainingError
from sentiment.training import distribution
from sentiment.training.distribution import finetune_on_spark
from sentiment.training.processes import Termination

SERVER, REGISTRY = "http://tracking.example:5000", "http://registry.example:5000"


@pytest.fixture
def spark(monkeypatch):
    """Stand for a cluster: it pickles the task, and `run_elsewhere` is done with it instead of a training."""
    import pyspark.ml.torch.distributor
    import pyspark.sql

    session = SimpleNamespace(
        sparkContext=SimpleNamespace(master="spark://cluster:7077"),
        conf=SimpleNamespace(get=lambda name, default: default),
        stop=lambda: None,
    )
    builder = SimpleNamespace(getOrCreate=lambda: session)
    builder.appName = lambda name: builder
    fake = SimpleNamespace(getActiveSession=lambda: None, builder=builder)
    cluster = SimpleNamespace(session=session, run_elsewhere=lambda task: task)

    class Distributor:
        def __init__(self, **options):
            pass

        def run(self, run_process, task):
            return cluster.run_elsewhere(pickle.loads(pickle.dumps(task)))

    monkeypatch.setattr(pyspark.sql, "SparkSession", fake)
    monkeypatch.setattr(pyspark.ml.torch.distributor, "TorchDistributor", Distributor)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", REGISTRY)
    return cluster


def test_the_registry_of_the_driver_reaches_the_processes(spark, monkeypatch):
    """Only the tracking URI did, and the model went to another registry."""
    task = finetune_on_spark(FinetuneConfig(), SERVER)
    expected = {"MLFLOW_TRACKING_URI": SERVER, "MLFLOW_REGISTRY_URI": REGISTRY}
    assert task.environment == expected
    for name in expected:
        monkeypatch.setenv(name, "of the executor")
    monkeypatch.setattr(distribution, "finetune", lambda *_: {name: os.environ[name] for name in expected})
    assert distribution._run_process(task) == expected


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_a_database_that_executors_cannot_write_to_is_refused(spark, monkeypatch, variable):
    database = "sqlite:////var/mlflow.db"
    monkeypatch.setenv(variable, database)
    tracking_uri = database if variable == "MLFLOW_TRACKING_URI" else SERVER
    with pytest.raises(ConfigError, match=f"cannot write to {database}; set {variable} to a server"):
        finetune_on_spark(FinetuneConfig(), tracking_uri)


def test_paths_are_those_of_the_driver(spark, tmp_path, monkeypatch):
    """An executor has another working directory, and the report and the model were written there."""
    monkeypatch.chdir(tmp_path)
    config = FinetuneConfig(checkpoint_dir="a", report="b.html", signing_key="c.pem")
    task = finetune_on_spark(config, SERVER, Path("kept"))
    found = (task.config.checkpoint_dir, task.config.report, task.config.signing_key, str(task.kept))
    assert found == tuple(str(tmp_path / name) for name in ("a", "b.html", "c.pem", "kept"))
    monkeypatch.setattr(distribution, "finetune", lambda config, report, termination, kept: kept)
    assert distribution._run_process(task) == tmp_path / "kept"


def send_sigterm():
    # The default would end the process of the tests.
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    signal.raise_signal(signal.SIGTERM)


def test_a_process_writes_a_checkpoint_after_sigterm_in_the_driver(spark, tmp_path, monkeypatch):
    """Spark killed the processes, and they wrote no checkpoint."""
    stops = []

    def train(config, report, termination, kept):
        with termination.deferred():
            stops[0].touch()  # as the driver does
            end = time.monotonic() + 60
            while not termination.is_requested:
                assert time.monotonic() < end, f"SIGTERM is for {signal.getsignal(signal.SIGTERM)}"
                time.sleep(0.01)
            termination.end(" after step 3 of 8")

    def run_elsewhere(task):
        stops.append(task.stop)
        return distribution._run_process(task)

    monkeypatch.setattr(distribution, "finetune", train)
    monkeypatch.setattr(distribution, "_LOOK_SECONDS", 0.01)
    spark.run_elsewhere = run_elsewhere
    with pytest.raises(Terminated, match="terminated after step 3 of 8; run the same"):
        finetune_on_spark(FinetuneConfig(checkpoint_dir=str(tmp_path)), SERVER)
    assert list(tmp_path.iterdir()) == []


def test_a_process_is_watched_only_while_it_trains(tmp_path):
    """A thread that was left could end the process by SIGTERM after its work."""
    before = threading.active_count()
    with distribution._watching(tmp_path / "stop"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_second_sigterm_ends_the_driver(spark, tmp_path):
    def run_elsewhere(task):
        send_sigterm()
        assert task.stop.exists()
        send_sigterm()
        pytest.fail("the driver went on")

    spark.run_elsewhere = run_elsewhere
    termination = Termination()
    with termination.installed(), pytest.raises(Terminated):
        finetune_on_spark(FinetuneConfig(checkpoint_dir=str(tmp_path)), SERVER, termination=termination)


@pytest.mark.parametrize("is_terminated", [True, False])
def test_processes_that_end_without_a_result_are_an_error_unless_after_sigterm(
    spark, tmp_path, is_terminated
):
    def run_elsewhere(task):
        if is_terminated:
            send_sigterm()
        raise RuntimeError("TorchDistributor failed during training.")

    spark.run_elsewhere = run_elsewhere
    termination = Termination()
    with termination.installed(), pytest.raises(Terminated if is_terminated else TrainingError):
        finetune_on_spark(FinetuneConfig(checkpoint_dir=str(tmp_path)), SERVER, termination=termination)


def test_a_jvm_that_got_sigterm_too_hides_no_outcome(spark, tmp_path):
    """The job ended with exit code 1 and an unexpected error, because Spark could not be stopped."""

    def stop():
        raise ConnectionRefusedError

    def run_elsewhere(task):
        send_sigterm()
        raise Py4JNetworkError("Error while sending or receiving")

    spark.run_elsewhere, spark.session.stop = run_elsewhere, stop
    termination = Termination()
    with termination.installed(), pytest.raises(Terminated):
        finetune_on_spark(FinetuneConfig(checkpoint_dir=str(tmp_path)), SERVER, termination=termination)


def test_a_run_that_succeeds_in_spite_of_sigterm_is_a_success(spark, tmp_path):
    def run_elsewhere(task):
        send_sigterm()
        return "summary"

    spark.run_elsewhere = run_elsewhere
    termination = Termination()
    with termination.installed():
        config = FinetuneConfig(checkpoint_dir=str(tmp_path))
        assert finetune_on_spark(config, SERVER, termination=termination) == "summary"
