"""The models that are served, made once: ours in a registry of its own, and MLflow's transformers flavor."""

import hashlib
import multiprocessing
import multiprocessing.connection
import os
from dataclasses import dataclass
from pathlib import Path

from . import encoders, ours, preparation
from .corpus import ROOT
from .trials import prepare_process

NAME = "bench_online"


@dataclass(frozen=True)
class Models:
    """One encoder in its forms: a folder of transformers, our model, the registry that has it, the flavor."""

    encoder: Path
    ours: Path
    tracking_uri: str
    flavor: Path

    @property
    def registered_uri(self) -> str:
        return f"models:/{NAME}/1"


def prepare(folder: Path) -> Models:
    """Make what is not there, in a process of its own, which leaves this one without torch."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    log = folder / "logs" / "models.log"
    process = context.Process(target=_prepare, args=(folder, send, log))
    process.start()
    send.close()
    try:
        models: Models = receive.recv()
    except EOFError:
        raise RuntimeError(f"making the models failed; see {log}") from None
    finally:
        process.join()
    return models


def _prepare(folder: Path, send: "multiprocessing.connection.Connection", log: Path) -> None:
    prepare_process(log)
    # The batch benchmark's own encoder and caches: who has run it has them.
    encoder = encoders.build_distilbert(folder.parent / "encoders" / "distilbert")
    cache = folder.parent / "cache" / "distilbert"
    flavor = preparation.save_mlflow_model(encoder, cache)
    model = ours.package(encoder, cache)
    send.send(Models(encoder, model, _register(model, folder), flavor))


def _register(model: Path, folder: Path) -> str:
    """A tracking store in which the model is a version, with a record of its files."""
    from sentiment import registry

    database = folder / f"registry-{_digest(model)}.db"
    uri = f"sqlite:///{database}"
    if database.exists():
        return uri
    partial = database.with_suffix(f".{os.getpid()}")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{partial}"
    registry.use_tracking(folder)
    client = registry.import_mlflow().MlflowClient()
    client.create_registered_model(NAME)
    version = client.create_model_version(NAME, source=model.as_uri())
    registry.record_model(NAME, str(version.version), model)
    partial.rename(database)
    return uri


def _digest(model: Path) -> str:
    """Of the model's place and of the code that records it."""
    digest = hashlib.sha256(str(model).encode())
    for name in ("registry.py", "integrity.py"):
        digest.update((ROOT / "sentiment" / name).read_bytes())
    return digest.hexdigest()[:16]
