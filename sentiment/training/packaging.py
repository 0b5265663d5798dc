"""Package an encoder with a head as an MLflow pyfunc together with its inference code."""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from packaging.requirements import Requirement

import sentiment

from .. import schema
from ..inference.engines import AUTO, REFERENCE
from ..inference.pyfunc import ENCODER_ARTIFACT, UNNAMED
from ..inference.rejects import MAX_TEXT_CHARS
from ..inference.settings import Settings, load_settings, save_settings
from ..inference.tokenization import HEAD
from ..inference.vocabulary import make_vocabulary
from ..models.integrity import make_record
from ..models.registry import LABELS_KEY, PACKAGE_PREFIX, TEXT_COL_KEY, import_mlflow, record_model
from .encoders import Encoder, save_tokenizer

MODEL_NAME = "model"
# Arguments of `Predictor`, and `output` of the pyfunc. A caller can override only the options listed here.
_OPTIONS = {
    "engine": AUTO,
    "cascade": AUTO,
    "device": AUTO,
    "threads": 0,
    "streams": 1,
    "budget_tokens": 0,
    "max_text_chars": MAX_TEXT_CHARS,
    "min_score": None,
    "target_accuracy": None,
    "probabilities": False,
    "output": None,
}
_EXAMPLE = [
    "Works as promised, and the battery lasts all week.",
    "Broke after two days. I want my money back!",
    None,
]


class ModelConfig(Protocol):
    """Offer what a packaged model takes from the configuration of its job; `max_length` must be known."""

    @property
    def registered_model_name(self) -> str: ...
    @property
    def alias(self) -> str | None: ...
    @property
    def max_length(self) -> int | None: ...
    @property
    def signing_key(self) -> str | None: ...


@dataclass(frozen=True)
class LoggedModel:
    """Hold the version of a model in the registry, its URI in the run, and its URI in the registry."""

    version: str
    uri: str
    registered_uri: str


def save_encoder(encoder: Encoder, folder: Path, max_length: int, truncation: str = HEAD) -> None:
    """Write a model folder: config.json, model.safetensors, tokenizer.json, vocabulary.json, inference.json.

    The model runs on the reference engine until `quantization.quantize` adds a faster one.
    """
    encoder.model.save_pretrained(folder)
    config = encoder.model.config
    settings = Settings(
        cpu_engine=REFERENCE,
        cpu_engine_reason="no other engine was tried",
        pad_id=config.pad_token_id,
        hidden_size=config.hidden_size,
        labels=encoder.labels,
        truncation=truncation,
    )
    save_settings(settings, folder)
    save_tokenizer(encoder, folder, max_length)
    make_vocabulary(folder, encoder.tokenizer.unk_token_id)
    _apply_umask(folder)


def _apply_umask(folder: Path) -> None:
    """Give the files the permissions of the umask; safetensors writes them for their owner only."""
    umask = os.umask(0)
    os.umask(umask)
    for file in folder.iterdir():
        file.chmod(0o666 & ~umask)


def log_model(folder: Path, encoder: Encoder, config: ModelConfig, text_col: str) -> LoggedModel:
    """Log the encoder in `folder` to the active run as a pyfunc, register it, and record its files.

    The model contains the folder as its only artifact, the inference code, exact requirements, a signature,
    an input example and metadata on its training. Raises ModelIntegrityError if the stored files differ from
    the files that were logged.
    """
    mlflow = import_mlflow()
    settings = load_settings(folder)
    with _carried_code() as code:
        logged = mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(code.entry_point),
            code_paths=[str(code.package)],
            artifacts={ENCODER_ARTIFACT: str(folder)},
            model_config=_OPTIONS,
            pip_requirements=list_requirements(settings.cpu_engine),
            signature=make_signature(settings.labels),
            input_example=pd.DataFrame({schema.TEXT: _EXAMPLE}),
            registered_model_name=config.registered_model_name,
            metadata=_describe_training(encoder, settings, config.max_length, text_col),
            tags={"license": encoder.licence, "base_model": encoder.name},
        )
        given = _digest_logged(folder, code)
    version = str(logged.registered_model_version)
    record_model(config.registered_model_name, version, signing_key=config.signing_key, given=given)
    return LoggedModel(version, logged.model_uri, f"models:/{config.registered_model_name}/{version}")


def _describe_training(
    encoder: Encoder, settings: Settings, max_length: int | None, text_col: str
) -> dict[str, Any]:
    """Return the metadata of a model."""
    return {
        TEXT_COL_KEY: text_col,
        "base_model": encoder.name,
        "adopted_from": encoder.adopted_from or "",
        "license": encoder.licence,
        "max_length": max_length,
        "truncation": settings.truncation,
        "engine": settings.cpu_engine,
        "engine_reason": settings.cpu_engine_reason,
        "gated_on": settings.gated_on or "",
        LABELS_KEY: list(settings.labels),
        "sentiment_version": sentiment.__version__,
    }


def make_signature(labels: Sequence[str]) -> Any:
    """Return the signature: input in a column `text` or the unnamed column of a list, output as `predict`.

    Both input columns are optional and of any type, so that the model itself rejects bad values: errors of
    MLflow would show data. The unnamed column comes first, because MLflow interprets its name, 0, as a
    position.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    inputs = [ColSpec(AnyType(), name, required=False) for name in (UNNAMED, schema.TEXT)]
    nullable = {schema.LABEL, schema.SCORE, schema.REJECT_REASON, schema.EXPECTED}
    outputs = [
        ColSpec(DataType[kind], name, required=name not in nullable)
        for name, kind in schema.list_prediction_types(labels).items()
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def list_requirements(cpu_engine: str) -> list[str]:
    """Return the requirements of a model with this engine, pinned to the installed versions.

    They are the extra `inference` of setup.py, and for the reference engine also `torch`.
    """
    extras = ("inference", "torch") if cpu_engine == REFERENCE else ("inference",)
    needed = [Requirement(line) for line in metadata.requires("sentiment") or ()]
    names = {
        need.name
        for need in needed
        for extra in extras
        if need.marker and need.marker.evaluate({"extra": extra})
    }
    # A build tag such as +cpu is dropped, because it belongs to the wheel of this machine.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in sorted(names)]


@dataclass(frozen=True)
class _CarriedCode:
    package: Path
    entry_point: Path


def _digest_logged(folder: Path, code: _CarriedCode) -> dict[str, str]:
    """Return the SHA-256 of each file of code and artifacts that is logged, by its path in the model."""
    name = code.entry_point.name
    given = {name: make_record(code.entry_point.parent)[name]}
    for place, root in ((f"artifacts/{folder.name}", folder), (f"code/{code.package.name}", code.package)):
        given |= {f"{place}/{path}": digest for path, digest in make_record(root).items()}
    return given


@contextlib.contextmanager
def _carried_code() -> Iterator[_CarriedCode]:
    """Yield a copy of the inference modules as an importable package `sentiment_model_<digest>`.

    With its own package name, a model always uses this code, even next to another version of `sentiment` or
    in one process with another model.
    """
    source = Path(sentiment.__file__).parent
    with tempfile.TemporaryDirectory(prefix="sentiment-code-") as root:
        staged = Path(root) / "staged"
        staged.mkdir()
        (staged / "__init__.py").write_text(
            '"""Hold the inference code with which this model was logged."""\n'
        )
        # `copyfile` does not copy permissions, so the files of the model get those of the umask.
        shutil.copyfile(source / "schema.py", staged / "schema.py")
        ignore = shutil.ignore_patterns("__pycache__")
        copy = shutil.copyfile
        shutil.copytree(source / "inference", staged / "inference", ignore=ignore, copy_function=copy)
        package = staged.rename(Path(root) / f"{PACKAGE_PREFIX}{_digest(staged)}")
        entry_point = Path(root) / "sentiment_model.py"
        entry_point.write_text(
            '"""Entry point of the model, run by mlflow.pyfunc.load_model."""\n\n'
            "from mlflow.models import set_model\n\n"
            f"from {package.name}.inference.pyfunc import SentimentModel\n\n"
            "set_model(SentimentModel())\n"
        )
        sys.path.insert(0, root)  # MLflow runs the entry point while it logs the model
        try:
            yield _CarriedCode(package, entry_point)
        finally:
            sys.path.remove(root)
            # A later load in this process must import the copy in the model, not the one in this folder.
            for name in [n for n in sys.modules if n.partition(".")[0] == package.name]:
                del sys.modules[name]


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
