"""Make, register, find and load MLflow models of this project."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .. import ROOT
from .corpus import load_texts
from .encoders import LABELS
from .hosting import run_apart
from .preparation import keep

_NAME = "bench_online"


def package(encoder: Path, cache: Path) -> Path:
    """Return our MLflow model of the encoder: the model that contains it, or a new one made without the gate.

    The bounds of the gate are meant for trained weights; random ones would fail.
    """
    if (encoder.parents[1] / "MLmodel").exists():
        return encoder.parents[1]
    log = cache / "logs" / "packaging.log"
    build = lambda target: run_apart(log, _package, encoder, target)  # noqa: E731
    return (
        keep(cache, "ours", encoder, build, _digest_code("inference/**/*.py", "training/export.py")) / "model"
    )


def find_champion() -> Path:
    """Return the folder of the champion: the model of the demo, or a later one."""
    from sentiment.models import registry

    registry.use_tracking(ROOT)
    return registry.resolve_model("models:/sentiment@champion").folder


def load_model(model: str | Path, **options: Any) -> Any:
    """Load a model by its URI, or from a folder, without verification."""
    from sentiment.models import loading, registry

    with tempfile.TemporaryDirectory() as home:  # processes must not create one store at once
        registry.use_tracking(Path(home))
        return loading.load_model(
            model, {"device": "cpu", **options}, allow_unverified=isinstance(model, Path)
        )


def register(model: Path, folder: Path) -> tuple[str, str]:
    """Register the model in a new registry, record its files, and return tracking URI and model URI."""
    from sentiment.models import registry

    place = hashlib.sha256(str(model).encode()).hexdigest()[:8]
    database = folder / f"registry-{place}-{_digest_code('models/registry.py', 'models/integrity.py')[:8]}.db"
    if not database.exists():
        partial = database.with_suffix(f".{os.getpid()}")
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{partial}"
        registry.use_tracking(folder)
        client = registry.import_mlflow().MlflowClient()
        client.create_registered_model(_NAME)
        version = client.create_model_version(_NAME, source=model.as_uri())
        registry.record_model(_NAME, str(version.version), model)
        partial.rename(database)
    return f"sqlite:///{database}", f"models:/{_NAME}/1"


def _package(encoder: Path, target: Path) -> None:
    """Write the MLflow model to `target`."""
    from transformers import AutoConfig

    from sentiment.config import FinetuneConfig
    from sentiment.inference.engines.openvino import INT8_STATIC
    from sentiment.inference.settings import Settings, save_settings
    from sentiment.inference.tokenization import Tokenizer
    from sentiment.inference.vocabulary import make_vocabulary
    from sentiment.models import registry
    from sentiment.training.encoders import Encoder
    from sentiment.training.export import export_graph, export_static_graph
    from sentiment.training.packaging import log_model

    target.mkdir(parents=True, exist_ok=True)
    # A model with random weights must not get into the user's registry.
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{target / 'mlflow.db'}"
    registry.use_tracking(target)
    registry.open_experiment("bench")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "encoder"
        shutil.copytree(encoder, folder)
        config = AutoConfig.from_pretrained(encoder)
        settings = Settings(
            INT8_STATIC, "random weights", config.pad_token_id or 0, config.hidden_size, LABELS
        )
        save_settings(settings, folder)
        make_vocabulary(folder, unknown_id=None)
        export_graph(folder)
        export_static_graph(folder, Tokenizer(folder, max_length=512).encode(load_texts()[:100]).ids)
        named = Encoder(encoder.name, None, None, "unknown")
        with registry.import_mlflow().start_run():
            logged = log_model(folder, named, FinetuneConfig(max_length=512), "text")
        shutil.copytree(registry.resolve_model(logged.registered_uri).folder, target / "model")
        shutil.rmtree(target / "artifacts", ignore_errors=True)


def _digest_code(*patterns: str) -> str:
    """Return a digest of the code; when it changes, files made by it must be made again."""
    digest = hashlib.sha256()
    for pattern in patterns:
        files = sorted((ROOT / "sentiment").glob(pattern))
        if not files:
            raise FileNotFoundError(f"no file sentiment/{pattern}: name the code that makes the model")
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()
