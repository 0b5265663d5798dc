"""The main job as commands: fine-tune, score, ask, in processes of their own as a user starts them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.factories import ROOT

BIN = Path(sys.executable).parent


def run_command(*command: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the project's in its root and return what it printed."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        # As in an activated environment: spark-submit starts the first python3 on PATH.
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run_python(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run_command(sys.executable, *arguments, **environment)


@dataclass(frozen=True)
class MainJob:
    """Hold the results of the commands: summaries, scored table, and the registry of the model."""

    tracking_uri: str
    finetune: dict[str, Any]
    finetune_output: str
    score: dict[str, Any]
    score_output: str
    scores: pd.DataFrame
    reviews: pd.DataFrame


@pytest.fixture(scope="session")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> MainJob:
    """minilm, fine-tuned on the sample as the demo does, has scored all of it in Spark."""
    from sentiment.training.data.sample import load_sample

    folder = tmp_path_factory.mktemp("main-job")
    tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
    tuned = run_python(
        *("jobs/finetune.py", "--conf", "conf/demo.yaml", "--alias", "champion"),
        *("--max_length", "64", "--checkpoint_dir", folder / "checkpoints"),
        *("--summary", folder / "finetune.json"),
        MLFLOW_TRACKING_URI=tracking_uri,
        # Arguments of the original template must work and be logged.
        DISABLE_MLFLOW_INTEGRATION="TRUE",
        TF_ENABLE_ONEDNN_OPTS="0",
    )
    assert tuned.returncode == 0, tuned.stderr
    scored = run_command(
        *(BIN / "spark-submit", "jobs/score_reviews.py", "--input", "sample"),
        *("--output", folder / "scores", "--summary", folder / "score.json"),
        MLFLOW_TRACKING_URI=tracking_uri,
    )
    assert scored.returncode == 0, scored.stderr
    return MainJob(
        tracking_uri=tracking_uri,
        finetune=json.loads((folder / "finetune.json").read_text()),
        finetune_output=tuned.stdout,
        score=json.loads((folder / "score.json").read_text()),
        score_output=scored.stdout,
        scores=pd.read_parquet(folder / "scores"),
        reviews=load_sample().set_index("review_id"),
    )
