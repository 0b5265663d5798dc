"""`make month-demo`: thirty nights of real reviews in Spark, with events planted on known nights.

Each event must be reported on its night, and no other night may have an alert; else it ends in 1. The nights
share one Spark session, while the nightly job starts one per night.
"""

import argparse
import datetime
import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from jobs import nightly
from sentiment.config import DEFAULT_MODEL_URI, NightlyConfig, ScoreConfig
from sentiment.evaluation.profile import PROFILE_FILE, describe_texts, make_profile
from sentiment.models import copies, registry
from sentiment.models.artifacts import find_artifact
from sentiment.models.loading import load_model
from sentiment.models.predictions import predict_each
from sentiment.monitoring import alerts, history, night, quality, steps
from sentiment.tables.runs import run_scoring
from sentiment.tables.session import build_session
from sentiment.tables.store.opening import open_store
from tests.factories import ROOT

from . import deliveries
from .deliveries import FIRST, NIGHTS, PROMOTION, SHIFT, Month

FOLDER = ROOT / "var" / "month-demo"
DATA = Path(os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data"))
NAME = "sentiment_month"
# Reviews that stand for the test set of the model, and are not delivered.
KNOWN_ROWS = 400


def load_reviews() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return usual reviews and others: Amazon and clothing, else the sample and joined texts of it."""
    if (DATA / "amazon_dated.parquet").exists():
        found = []
        for name in ("amazon_dated", "clothing"):
            reviews = pd.read_parquet(DATA / f"{name}.parquet")
            text = (reviews["title"].fillna("") + " " + reviews["text"].fillna("")).str.strip()
            reviews = reviews.assign(text=text, review_id=[f"{name}-{i}" for i in range(len(reviews))])
            found.append(reviews[reviews["text"] != ""].drop_duplicates("text"))
        return found[0], found[1]
    from sentiment.training.data.sample import load_sample

    sample = load_sample().drop_duplicates("text").reset_index(drop=True)
    # Of one class, so that texts, labels and scores all differ clearly from the first such night on. What
    # differs only a little would drift on a later night, and be an alert of its own.
    negative = sample[sample["label"] == 0].reset_index(drop=True)
    several = [" ".join(negative["text"].iloc[i : i + 2]).upper() for i in range(len(negative) - 2)]
    joined = negative.iloc[: len(several)].assign(
        text=several, review_id=[f"j{i}" for i in range(len(several))]
    )
    return sample, joined


def make_versions(uri: str, known: pd.DataFrame) -> None:
    """Register the model twice under a name of its own: the second version stands for a promoted one.

    Its test set is replaced by the profile of `known`, as if the model had been trained on such reviews: the
    demo's model was trained on sentences, and each night of reviews would differ from these.
    """
    reference = registry.resolve_model(uri)
    try:
        rows = predict_each(load_model(reference), known["text"].tolist())
        profile = make_profile(pd.concat([rows, describe_texts(known["text"].tolist())], axis=1))
        path = find_artifact(reference.folder, PROFILE_FILE)
        if path is None:
            raise SystemExit(f"{uri}: has no {PROFILE_FILE}; fine-tune the model again")
        path.write_text(json.dumps(profile.as_dict()))
        registry.open_experiment("month-demo")
        for _ in range(2):
            with mlflow.start_run():
                mlflow.log_artifacts(str(reference.folder), "model")
                version = mlflow.register_model(mlflow.get_artifact_uri("model"), NAME).version
            registry.record_model(NAME, str(version))
    finally:
        copies.release(reference.folder)


def run_month(uri: str, seed: int) -> int:
    """Run the nights, print what each one reported, and return an exit code."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    usual, shifted = (rows.sample(frac=1, random_state=seed) for rows in load_reviews())
    make_versions(uri, usual.tail(KNOWN_ROWS))
    usual = usual.head(len(usual) - KNOWN_ROWS)
    versions = sorted(int(v.version) for v in mlflow.MlflowClient().search_model_versions(f"name='{NAME}'"))[
        -2:
    ]
    month = Month(usual, shifted, FOLDER / "reviews", np.random.default_rng(seed))
    spark = build_session("month_demo")

    def score(champion: night.Champion, **options: Any) -> dict[str, Any]:
        values = {"input": str(month.folder), "output": str(FOLDER / "scores"), "model_uri": champion.uri}
        config = ScoreConfig(**{**values, **options})
        now = datetime.datetime.now(datetime.UTC)
        with open_store(config.output) as store:
            return run_scoring(config, store, lambda: spark, now, lambda *_: None).as_dict()

    started = time.monotonic()
    for number in range(NIGHTS):
        day = FIRST + datetime.timedelta(days=number)
        month.deliver(number)
        month.write_labels(FOLDER / "labels.parquet")
        config = NightlyConfig(
            input=str(month.folder),
            output=str(FOLDER / "scores"),
            model_uri=f"models:/{NAME}/{versions[number >= PROMOTION]}",
            labels=str(FOLDER / "labels.parquet"),
            experiment="month-demo",
            date=day.isoformat(),
        )
        doors = nightly.open_doors(config, day, FOLDER)
        doors = replace(doors, plan=lambda champion: score(champion, dry_run=True), score=score)
        channels = [alerts.FileChannel(FOLDER / "alerts.jsonl")]
        runner = steps.Steps(print)
        result = night.run_night(
            day, FOLDER / "monitoring", doors, channels, quality.Limits(max_reject_share=0.02), runner
        )
        raised = "; ".join(f"{alert.kind}: {alert.message}" for alert in result.alerts)
        row = result.row
        print(
            f"{day:%a %d %B}: {row['input_rows']:4} rows, version {row['model_version']}, "
            f"{row['drifted_figures']} figures drifted. {raised[:200]}",
            flush=True,
        )
    spark.stop()
    return _judge(versions, time.monotonic() - started)


def _judge(versions: list[int], seconds: float) -> int:
    nights = history.load_nights(FOLDER / "monitoring")
    problems = list(deliveries.list_unexpected(history.load_alerts(FOLDER / "monitoring")))
    expected = [str(versions[number >= PROMOTION]) for number in range(NIGHTS)]
    if nights["model_version"].tolist() != expected:
        problems.append("the promotion is not in the rows of its night")
    if nights["drifted_figures"][SHIFT] == 0:
        problems.append("the first night of the other domain shows no drift")
    print(f"\n{NIGHTS} nights in {seconds / 60:.1f} minutes; reports: {FOLDER / 'monitoring' / 'reports'}")
    for problem in problems:
        print(f"NOT AS EXPECTED: {problem}")
    return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model_uri", default=DEFAULT_MODEL_URI)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    registry.use_tracking(ROOT)
    return run_month(arguments.model_uri, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
