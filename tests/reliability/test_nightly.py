"""jobs/nightly.py killed at a step and run again: one batch, night, report, MLflow run and alert."""

import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from sentiment.monitoring import history
from tests.factories import ROOT, TinyModel, make_reviews

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F9", "a night killed at its steps"),
]
# The unit tests stop at each step, without Spark: each night here takes two runs of the whole job.
_STOPS = ("begin:after", "score:after", "record:before", "mlflow:after", "alerts:after")
_FIRST = datetime.date(2026, 1, 5)
_ROWS = 120


def _run(folder: Path, night: datetime.date, stop: str = "none:none") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "tests.reliability.stopped_night", stop),
            *("--input", str(folder / "in"), "--output", str(folder / "scores"), "--date_col", "day"),
            *("--date", night.isoformat(), "--alert_to", str(folder / "alerts.jsonl")),
            # Each night has more rejects than this.
            *("--alert_reject_share", "0.01"),
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=1_200,
        check=False,
    )


def _deliver(folder: Path, night: datetime.date) -> None:
    path = folder / "in" / f"day={night}" / "part.parquet"
    path.parent.mkdir(parents=True)
    reviews = make_reviews(_ROWS).assign(review_id=[f"{night}-{i}" for i in range(_ROWS)])
    reviews.loc[:3, "text"] = None
    reviews.to_parquet(path)


def test_a_night_that_is_killed_and_run_again_is_one_night(model: TinyModel, tmp_path) -> None:
    nights = [_FIRST + datetime.timedelta(days=number) for number in range(len(_STOPS))]
    for stop, night in zip(_STOPS, nights, strict=True):
        _deliver(tmp_path, night)
        assert _run(tmp_path, night, stop).returncode == -signal.SIGKILL, stop
        done = _run(tmp_path, night)
        assert done.returncode == 0, (stop, done.stderr)

    folder = tmp_path / "scores-monitoring"
    found = history.load_nights(folder)
    assert found["night"].dt.date.tolist() == nights
    assert found[["batches", "input_rows", "rejected_rows", "alerts"]].drop_duplicates().values.tolist() == [
        [1, _ROWS, 4, 1]
    ]
    raised = history.load_alerts(folder)
    assert [(f"{at:%Y-%m-%d}", kind) for at, kind in zip(raised["night"], raised["kind"], strict=True)] == [
        (str(night), "rejects") for night in nights
    ]
    sent = [json.loads(line)["key"] for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert sent == raised["key"].tolist()
    assert (
        len(list((folder / "reports").glob("*.html")))
        == len(list((folder / "profiles").glob("*")))
        == len(nights)
    )
    runs = mlflow.search_runs(experiment_names=["nightly"])
    assert sorted(runs["tags.sentiment.night"]) == [night.isoformat() for night in nights]
    assert len(pd.read_parquet(tmp_path / "scores")) == len(nights) * (_ROWS - 4)
