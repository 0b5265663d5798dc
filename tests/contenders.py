"""Small registered models whose mistakes, speed and labels a test chooses, and reviews that show them."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sentiment import schema
from sentiment.models import registry

LABELS = ("bad", "fair", "good")
CATEGORIES = ("books", "garden", "music", "toys")

_CODE = """
import time
import zlib

import mlflow

LABELS = {labels!r}
COLUMNS = {columns!r}


def find_class(text):
    _, number, category, true = text.split()
    number = int(number)
    noise = zlib.crc32(text.encode()) % 1000 / 1000
    is_wrong = {wrong}
    return (LABELS.index(true) + is_wrong) % len(LABELS)


class Model(mlflow.pyfunc.PythonModel):
    labels, columns = LABELS, COLUMNS
    engine, instruction_set, engine_warning, budget_tokens = "int8", "avx2", None, 512

    def row_cost(self, n_tokens):
        return n_tokens

    def predict(self, context, model_input, params=None):
        raise NotImplementedError

    def predict_columns(self, texts):
        time.sleep({seconds})
        classes = [find_class(text) for text in texts]
        other = (1 - {score}) / (len(LABELS) - 1)
        n = len(texts)
        return {{
            "label": [LABELS[i] for i in classes],
            "score": [{score}] * n,
            "unsure": [{score} < 0.5] * n,
            "n_tokens": [8] * n,
            "truncated": [False] * n,
            "stage": ["encoder"] * n,
            "reject_reason": [None] * n,
            "probabilities": [[{score} if i == k else other for k in range(len(LABELS))] for i in classes],
        }}


mlflow.models.set_model(Model())
"""


@dataclass(frozen=True)
class Traits:
    """What a model is like: `wrong` is an expression of `noise` (0 to 1), `number` and `category`."""

    wrong: str = "noise < 0.1"
    score: float = 0.9
    # Longer than the pauses of a busy machine, so that the latency ratio of equal models is near 1.
    seconds: float = 0.005
    labels: tuple[str, ...] = LABELS
    gated_on: str | None = "avx2"
    min_score: float = 0.5
    text_col: str = "text"


def register_contender(folder: Path, name: str, traits: Traits) -> str:
    """Register a model with a record of its files; return its URI."""
    mlflow = registry.import_mlflow()
    folder.mkdir(parents=True)
    columns = (*schema.PREDICTION_COLUMNS, schema.PROBABILITIES)
    code = _CODE.format(
        labels=traits.labels,
        columns=columns,
        wrong=traits.wrong,
        score=traits.score,
        seconds=traits.seconds,
    )
    (folder / "contender.py").write_text(code)
    settings = {"cpu_engine": "int8", "gated_on": traits.gated_on, "min_score": traits.min_score}
    (folder / "encoder").mkdir()
    (folder / "encoder" / "inference.json").write_text(json.dumps(settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow prefers type hints, which check every element
        mlflow.pyfunc.save_model(
            folder / "model",
            python_model=str(folder / "contender.py"),
            artifacts={"encoder": str(folder / "encoder")},
            pip_requirements=["pandas"],
            model_config={"engine": "auto", "probabilities": False},
            metadata={registry.TEXT_COL_KEY: traits.text_col},
        )
    version = str(mlflow.register_model((folder / "model").as_uri(), name).version)
    registry.record_model(name, version)
    return f"models:/{name}/{version}"


def make_test_reviews(n: int = 1_200) -> pd.DataFrame:
    """Return n labelled reviews of the form that these models read."""
    rows = []
    for i in range(n):
        label, category = LABELS[i % len(LABELS)], CATEGORIES[i // len(LABELS) % len(CATEGORIES)]
        rows.append({"text": f"review {i} {category} {label}", "label": label, "category": category})
    return pd.DataFrame(rows)
