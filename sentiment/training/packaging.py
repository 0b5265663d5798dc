"""A fine-tuned encoder as an MLflow pyfunc that carries its own inference code."""

import contextlib
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
from packaging.requirements import Requirement

import sentiment

from .. import schema
from ..config import FinetuneConfig
from ..inference.predictor import DEFAULT_BUDGET_TOKENS
from ..inference.pyfunc import ENCODER_ARTIFACT, UNNAMED
from ..inference.tokenization import cut_tokenizer
from ..registry import TEXT_COL_KEY, import_mlflow
from .encoders import Encoder

MODEL_NAME = "model"
_CARRIED = ("schema.py", "inference")
_EXAMPLE = [
    "Works as promised, and the battery lasts all week.",
    "Broke after two days. I want my money back!",
    None,
]


@dataclass(frozen=True)
class LoggedModel:
    """What MLflow made of it: the registry's version, and a URI that always means this model."""

    version: str
    uri: str
    registered_uri: str


def save_encoder(encoder: Encoder, folder: Path, max_length: int) -> None:
    """Write config.json, model.safetensors and a tokenizer.json that truncates at `max_length` tokens."""
    encoder.model.save_pretrained(folder)
    with tempfile.TemporaryDirectory() as full:
        encoder.tokenizer.save_pretrained(full)
        cut_tokenizer(Path(full), folder, max_length)


def log_model(folder: Path, encoder: Encoder, config: FinetuneConfig, text_col: str) -> LoggedModel:
    """Log the encoder in `folder` to the active run as a pyfunc, and register it.

    The model holds: the encoder as its only artifact; the modules of inference under a package name that
    is a digest of them; exact requirements; a signature; an input example; what it was trained on.
    """
    mlflow = import_mlflow()
    with _carried_code() as code:
        logged = mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(code.entry_point),
            code_paths=[str(code.package)],
            artifacts={ENCODER_ARTIFACT: str(folder)},
            model_config={"threads": 0, "budget_tokens": DEFAULT_BUDGET_TOKENS},
            pip_requirements=list_requirements(),
            signature=make_signature(),
            input_example=pd.DataFrame({schema.TEXT: _EXAMPLE}),
            registered_model_name=config.registered_model_name,
            metadata={
                TEXT_COL_KEY: text_col,
                "base_model": encoder.name,
                "license": encoder.licence,
                "max_length": config.max_length,
                "labels": ",".join(schema.LABELS),
                "sentiment_version": sentiment.__version__,
            },
            tags={"license": encoder.licence, "base_model": encoder.name},
        )
    version = str(logged.registered_model_version)
    return LoggedModel(version, logged.model_uri, f"models:/{config.registered_model_name}/{version}")


def make_signature() -> Any:
    """Any value in a column `text`, or in the one column of a list; the predictor's columns out.

    Both are optional and of any type, so that MLflow never refuses a row: the model rejects it, with its
    reason, and no error of MLflow's quotes the data. The column of a list comes first because MLflow
    takes a name of 0 for the position of the column.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    inputs = [ColSpec(AnyType(), name, required=False) for name in (UNNAMED, schema.TEXT)]
    nullable = {schema.LABEL, schema.SCORE, schema.REJECT_REASON}
    outputs = [
        ColSpec(DataType[kind], name, required=name not in nullable)
        for name, kind in schema.PREDICTION_TYPES.items()
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def list_requirements() -> list[str]:
    """What `setup.py` says the extra `inference` needs, at exactly the versions installed here."""
    needed = [Requirement(line) for line in metadata.requires("sentiment") or ()]
    names = sorted(
        need.name for need in needed if need.marker and need.marker.evaluate({"extra": "inference"})
    )
    # A build tag such as +cpu names a wheel of this machine, not a version.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


@dataclass(frozen=True)
class _CarriedCode:
    package: Path
    entry_point: Path


@contextlib.contextmanager
def _carried_code() -> Iterator[_CarriedCode]:
    """A copy of the inference modules as an importable package `sentiment_model_<digest>`.

    A name of its own keeps a model on the code it was logged with: `sentiment` itself may be installed
    beside it, in another version, and two models may share a process.
    """
    source = Path(sentiment.__file__).parent
    with tempfile.TemporaryDirectory(prefix="sentiment-code-") as root:
        staged = Path(root) / "staged"
        staged.mkdir()
        (staged / "__init__.py").write_text('"""The inference code that this model was logged with."""\n')
        for name in _CARRIED:
            if (source / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source / name, staged / name, ignore=ignore)
            else:
                shutil.copy(source / name, staged / name)
        package = staged.rename(Path(root) / f"sentiment_model_{_digest(staged)}")
        entry_point = Path(root) / "sentiment_model.py"
        entry_point.write_text(
            '"""Entry point of the model, run by mlflow.pyfunc.load_model."""\n\n'
            "from mlflow.models import set_model\n\n"
            f"from {package.name}.inference.pyfunc import SentimentModel\n\n"
            "set_model(SentimentModel())\n"
        )
        sys.path.insert(0, root)  # MLflow runs the entry point when it logs it
        try:
            yield _CarriedCode(package, entry_point)
        finally:
            sys.path.remove(root)
            # Later loads in this process must find the model's own copy, not this folder.
            for name in [n for n in sys.modules if n.partition(".")[0] == package.name]:
                del sys.modules[name]


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
