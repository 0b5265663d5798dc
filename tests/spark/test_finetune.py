"""Spark starts the processes of a fine-tuning."""

import os
import signal
import threading

import pytest

from sentiment.cli import Terminated
from sentiment.config import FinetuneConfig
from sentiment.errors import MissingInputError
from sentiment.models import registry
from sentiment.training.processes import Termination
from tests.factories import ROOT, make_reviews, make_tiny_encoder

# They take half a minute, and torchrun is tried with all tests.
pytestmark = pytest.mark.reliability


@pytest.fixture
def config(tmp_path, spark, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))))
    make_reviews(400).to_parquet(tmp_path / "train.parquet")
    return {
        "distilbert_model": str(make_tiny_encoder(tmp_path / "encoder", initializer_range=0.05)),
        "dataset_name": str(tmp_path / "train.parquet"),
        **{
            "lr": 3e-3,
            "epochs": 4,
            "max_length": 32,
            "cascade": "off",
            "checkpoint_dir": str(tmp_path / "x"),
        },
        **{"distributor": "spark", "num_processes": 2},
    }


def test_two_processes_of_spark_are_one_run(config, tracking):
    from sentiment.training.distribution import finetune_on_spark

    summary = finetune_on_spark(FinetuneConfig(**config), tracking)
    assert summary.test.accuracy > summary.baselines["majority"].accuracy + 0.2
    [run] = registry.import_mlflow().search_runs(experiment_names=["sentiment"], output_format="list")
    assert (run.info.status, run.info.run_id) == ("FINISHED", summary.run_id)


def test_an_error_of_the_processes_is_raised_in_the_driver(config, tracking):
    from sentiment.training.distribution import finetune_on_spark

    with pytest.raises(MissingInputError, match=r"no data set at .*none.parquet"):
        finetune_on_spark(FinetuneConfig(**config | {"dataset_name": "/none.parquet"}), tracking)


def test_after_sigterm_the_processes_write_a_checkpoint(config, tracking, tmp_path):
    """Spark killed them half a second later, and the steps since the last checkpoint were lost."""
    from sentiment.training.distribution import finetune_on_spark

    def terminate():
        while not list(tmp_path.glob("x/*/checkpoint-*.json")) and not is_over.wait(0.1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    given = FinetuneConfig(**config | {"epochs": 200, "patience": 1000, "evaluations": 200})
    termination, is_over = Termination(), threading.Event()
    thread = threading.Thread(target=terminate)
    with termination.installed():
        thread.start()
        try:
            with pytest.raises(Terminated, match=r"^terminated after step \d+ of \d+; run") as caught:
                finetune_on_spark(given, tracking, tmp_path, termination)
        finally:
            is_over.set()
            thread.join()
    step = str(caught.value).split()[3]
    assert len(list(tmp_path.glob(f"x/*/checkpoint-{step}.json"))) == 1
