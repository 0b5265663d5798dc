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
from ..inference.engines import AUTO, REFERENCE
from ..inference.pyfunc import ENCODER_ARTIFACT, UNNAMED
from ..inference.rejects import MAX_TEXT_CHARS
from ..inference.settings import Settings, load_settings, save_settings
from ..inference.tokenization import HEAD, cut_tokenizer
from ..models.integrity import make_record
from ..models.registry import PACKAGE_PREFIX, TEXT_COL_KEY, import_mlflow, record_model
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
    """Hold what MLflow made of it: the registry's version, and a URI that always means this model."""

    version: str
    uri: str
    registered_uri: str


def save_encoder(encoder: Encoder, folder: Path, max_length: int, truncation: str = HEAD) -> None:
    """Write a model folder that runs the reference engine: `quantization.quantize` makes it faster.

    It holds config.json, model.safetensors, a tokenizer.json that says `max_length`, and inference.json.
    """
    encoder.model.save_pretrained(folder)
    config = encoder.model.config
    settings = Settings(
        cpu_engine=REFERENCE,
        cpu_engine_reason="no other engine was tried",
        pad_id=config.pad_token_id or 0,
        hidden_size=config.hidden_size,
        truncation=truncation,
    )
    save_settings(settings, folder)
    with tempfile.TemporaryDirectory() as full:
        encoder.tokenizer.save_pretrained(full)
        cut_tokenizer(Path(full), folder, max_length)


def log_model(folder: Path, encoder: Encoder, config: FinetuneConfig, text_col: str) -> LoggedModel:
    """Log the encoder in `folder` to the active run as a pyfunc, and register it.

    The model holds: the model folder as its only artifact; the modules of inference under a package name that
    is a digest of them; exact requirements; a signature; an input example; what it was trained on.
    The registry gets a record of its files. Raises ModelIntegrityError if the store has not kept them.
    """
    mlflow = import_mlflow()
    settings = load_settings(folder)
    with _carried_code() as code:
        logged = mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(code.entry_point),
            code_paths=[str(code.package)],
            artifacts={ENCODER_ARTIFACT: str(folder)},
            model_config={
                "engine": AUTO,
                "cascade": config.cascade,
                "device": AUTO,
                "threads": 0,
                "streams": 1,
                "budget_tokens": 0,
                "max_text_chars": MAX_TEXT_CHARS,
            },
            pip_requirements=list_requirements(settings.cpu_engine),
            signature=make_signature(),
            input_example=pd.DataFrame({schema.TEXT: _EXAMPLE}),
            registered_model_name=config.registered_model_name,
            metadata={
                TEXT_COL_KEY: text_col,
                "base_model": encoder.name,
                "license": encoder.licence,
                "max_length": config.max_length,
                "truncation": settings.truncation,
                "engine": settings.cpu_engine,
                "engine_reason": settings.cpu_engine_reason,
                "gated_on": settings.gated_on or "",
                "labels": ",".join(schema.LABELS),
                "sentiment_version": sentiment.__version__,
            },
            tags={"license": encoder.licence, "base_model": encoder.name},
        )
        given = _digest_given(folder, code)
    version = str(logged.registered_model_version)
    record_model(config.registered_model_name, version, signing_key=config.signing_key, given=given)
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


def list_requirements(cpu_engine: str) -> list[str]:
    """List what `setup.py` states for a model with this engine, at exactly the versions installed here.

    The extra `inference`, and `torch` too where torch has to run the encoder.
    """
    extras = ("inference", "torch") if cpu_engine == REFERENCE else ("inference",)
    needed = [Requirement(line) for line in metadata.requires("sentiment") or ()]
    names = {
        need.name
        for need in needed
        for extra in extras
        if need.marker and need.marker.evaluate({"extra": extra})
    }
    # A build tag such as +cpu names a wheel of this machine, not a version.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in sorted(names)]


@dataclass(frozen=True)
class _CarriedCode:
    package: Path
    entry_point: Path


def _digest_given(folder: Path, code: _CarriedCode) -> dict[str, str]:
    """Return the digest of all that runs or is computed with in the model, by its path there."""
    roots = {f"artifacts/{folder.name}": folder, f"code/{code.package.name}": code.package}
    given = {
        f"{place}/{path}": digest
        for place, root in roots.items()
        for path, digest in make_record(root).items()
    }
    name = code.entry_point.name
    return {**given, name: make_record(code.entry_point.parent)[name]}


@contextlib.contextmanager
def _carried_code() -> Iterator[_CarriedCode]:
    """Yield a copy of the inference modules as an importable package `sentiment_model_<digest>`.

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
        package = staged.rename(Path(root) / f"{PACKAGE_PREFIX}{_digest(staged)}")
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
