"""Make what the app reads: a published table with its reviews, and the results of nights."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment import schema
from sentiment.monitoring import history
from sentiment.tables.store.manifests import MANIFEST
from tests.factories import make_manifest, make_reviews

_FIGURES = ("score", "label", "n_tokens", "rejects")
FIRST_NIGHT = datetime.date(2024, 1, 1)


def make_store(folder: Path, n: int = 60) -> tuple[Path, Path]:
    """Publish n scores of three months in a store, and write their reviews; return both paths."""
    random = np.random.default_rng(0)
    reviews = make_reviews(n).drop(columns="label")
    dates = [FIRST_NIGHT + datetime.timedelta(days=i * 90 // n) for i in range(n)]
    reviews = reviews.assign(
        category=[("phones", "kettles", "shoes")[i % 3] for i in range(n)],
        review_date=pd.Series(dates, dtype=object),
    )
    scores = random.uniform(0.5, 1, n)
    scored = pd.DataFrame(
        {
            "review_id": reviews["review_id"],
            schema.LABEL: np.where(np.arange(n) % 2, schema.POSITIVE, schema.NEGATIVE),
            schema.SCORE: scores,
            schema.UNSURE: scores < 0.6,
            schema.N_TOKENS: np.full(n, 9),
            schema.TRUNCATED: np.full(n, False),
            schema.STAGE: schema.ENCODER,
            schema.TEXT_DIGEST: np.arange(n),
            schema.MODEL_VERSION: "1",
            schema.SCORED_AT: pd.to_datetime(dates, utc=True),
            schema.SEQUENCE: 1,
        }
    )
    batch = folder / "scores" / "model=1" / "batch=2024-01-01-0123456789ab"
    batch.mkdir(parents=True)
    pq.write_table(pa.Table.from_pandas(scored, preserve_index=False), batch / "part-0.parquet")
    (batch / MANIFEST).write_text(make_manifest(1, scored_rows=n, rejected_rows=0).to_json())
    reviews.to_parquet(folder / "reviews.parquet", index=False)
    return folder / "scores", folder / "reviews.parquet"


def make_nights(folder: Path, n: int = 40) -> Path:
    """Write n nights with figures, alerts and realised accuracy."""
    random = np.random.default_rng(1)
    for i in range(n):
        night = FIRST_NIGHT + datetime.timedelta(days=i)
        is_bad = i % 30 == 29
        rows, accuracy = int(random.normal(20_000, 1_500)), random.normal(0.92, 0.005)
        names = [(name, against) for name in _FIGURES for against in ("model", "trailing")]
        figures = [_make_figure(name, against, random, is_bad) for name, against in names]
        history.write_rows(folder, history.FIGURES, night, figures)
        history.write_rows(folder, history.ALERTS, night, [_make_alert(night)] if is_bad else [])
        if i < n - 14:
            realised = {"realised_accuracy": accuracy + random.normal(0, 0.004), "realised_rows": 500}
            history.write_rows(folder, history.REALISED, night, [realised])
        history.write_rows(folder, history.NIGHTS, night, [_make_night(night, rows, accuracy, is_bad)])
    return folder


def _make_night(night: datetime.date, rows: int, accuracy: float, is_bad: bool) -> dict[str, Any]:
    rejected = rows // (20 if is_bad else 200)
    return {
        "status": history.ALERT if is_bad else history.OK,
        "model_version": "1",
        "input_rows": rows,
        "scored_rows": rows - rejected,
        "rejected_rows": rejected,
        "skipped_rows": 0,
        "reject_share": rejected / rows,
        "unsure_share": 0.08 + (night.day % 7) / 100,
        "volume_ratio": rows / 20_000,
        "freshness_hours": 5.0,
        "late_files": 0,
        "bad_files": int(is_bad),
        "estimated_accuracy": accuracy,
        "estimated_low": accuracy - 0.01,
        "estimated_high": accuracy + 0.01,
        "drifted_figures": 3 * int(is_bad),
        "alerts": int(is_bad),
        "seconds": rows / 100,
        "run_id": f"run-{night:%Y%m%d}",
        "rejects": {schema.BLANK_TEXT: rejected - 1, schema.NULL_TEXT: 1},
    }


def _make_figure(name: str, against: str, random: np.random.Generator, is_bad: bool) -> dict[str, Any]:
    effect = abs(random.normal(0.02, 0.01)) + 0.2 * is_bad
    return {
        "figure": name,
        "against": against,
        "value": 0.5,
        "effect": effect,
        "min_effect": 0.1,
        "is_drifted": effect > 0.1,
        "is_alarm": is_bad,
    }


def _make_alert(night: datetime.date) -> dict[str, Any]:
    return {
        "key": f"rejects-{night}",
        "kind": "rejects",
        "subject": "reject_share",
        "severity": "critical",
        "message": "5.0 % of the rows were rejected, expected at most 1.0 %.",
        "advice": "Look at the reject reasons of this night.",
    }
