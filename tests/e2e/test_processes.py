"""Two processes that torchrun starts are one run: one summary, one MLflow run, one error line."""

import json
import os
import subprocess
import sys

import pytest

from sentiment.models import registry
from tests.factories import ROOT, make_reviews, make_tiny_encoder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("processes")
    make_tiny_encoder(place / "encoder", initializer_range=0.05)
    make_reviews(400).to_parquet(place / "train.parquet")
    return place


def run_in_two(place, *arguments):
    """Fine-tune in two processes; the encoder and the settings are the same in all tests."""
    given = {"distilbert_model": place / "encoder", "lr": 3e-3, "epochs": 4, "max_length": 32}
    given |= {"cascade": "off", "checkpoint_dir": place / "checkpoints", "registered_model_name": "two"}
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
            *(ROOT / "jobs" / "finetune.py", *arguments),
            *(word for name, value in given.items() for word in (f"--{name}", str(value))),
        ],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.reliability
def test_two_processes_are_one_run(place, tracking):
    done = run_in_two(place, "--dataset_name", place / "train.parquet", "--summary", place / "summary.json")
    assert done.returncode == 0, done.stderr
    summary = json.loads((place / "summary.json").read_text())
    assert done.stdout.count("Fine-tuned") == 1
    assert done.stderr.count("packaging") == 1
    assert summary["test"]["accuracy"] > summary["baselines"]["majority"]["accuracy"] + 0.2
    [run] = registry.import_mlflow().search_runs(experiment_names=["sentiment"], output_format="list")
    assert (run.info.status, run.info.run_id) == ("FINISHED", summary["run_id"])
    # Each process evaluated half of the rows.
    assert run.data.metrics["eval_samples_per_second"] > 0
    assert os.listdir(place / "checkpoints") == []


@pytest.mark.reliability
def test_an_error_is_one_line(place, tracking):
    done = run_in_two(place, "--dataset_name", place / "none.parquet")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "none.parquet" in lines[0]
    assert "exitcode  : 3" in done.stderr
