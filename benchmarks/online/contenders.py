"""Describe the services that are compared: ours, and its peers as their documentation shows them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import WORK
from ..measuring import encoders, packaged, preparation

OURS = "ours"
FRAMEWORK = "litserve"
# They get fewer requests, of the same lengths, once.
SLOW = ("mlflow_pyfunc", "mlflow_transformers", "fastapi_pipeline")


@dataclass(frozen=True)
class Models:
    """One encoder in its forms: a folder of transformers, our model, where that is registered, the flavor."""

    encoder: Path
    ours: Path
    flavor: Path
    tracking_uri: str
    registered_uri: str


@dataclass(frozen=True)
class Contender:
    """A service: its command (with `{port}`), how a text is asked, and the path that is ready with 200."""

    name: str
    command: tuple[str, ...]
    path: str
    make_body: Callable[[str], Any]
    ready_path: str


@dataclass(frozen=True)
class Batching:
    """Settings of LitServe: rows of a batch, how long it waits for them, processes that share the cores."""

    max_batch_size: int
    batch_timeout: float
    workers_per_device: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items())


# They are tried; the best one at 16 clients is compared with.
BATCHINGS = (Batching(8, 0.01, 1), Batching(16, 0.05, 1), Batching(32, 0.02, 1), Batching(8, 0.01, 2))


def make_models(folder: Path) -> Models:
    """Make the models that are served; the batch benchmark's own encoder and caches are used."""
    encoder = encoders.build_distilbert(WORK / "encoders" / "distilbert")
    cache = WORK / "cache" / "distilbert"
    flavor = preparation.save_mlflow_model(encoder, cache)
    ours = packaged.package(encoder, cache)
    return Models(encoder, ours, flavor, *packaged.register(ours, folder))


def make_ours(models: Models, extra: tuple[str, ...] = ()) -> Contender:
    """Return the service as `python score.py --serve` starts it, every review by the encoder.

    It may let requests wait as long as its peers, which have no bound, let them; its default is to refuse
    what would wait longer than half a second.
    """
    model = ("--model_uri", models.registered_uri, "--cascade", "off", "--max_wait_seconds", "60")
    command = (sys.executable, "score.py", "--serve", "--port", "{port}", *model, *extra)
    return Contender(OURS, command, "/v1/sentiment", lambda text: {"texts": [text]}, "/readyz")


def make_litserve(models: Models, batching: Batching) -> Contender:
    settings = (str(value) for value in vars(batching).values())
    command = _run("benchmarks.online.litserve_server", models.registered_uri, "{port}", *settings)
    return Contender(FRAMEWORK, command, "/predict", lambda text: {"text": text}, "/health")


def make_slow(models: Models) -> list[Contender]:
    """Return `mlflow models serve` on our model and on a pipeline in torch, and the pipeline in FastAPI."""
    fastapi = _run("benchmarks.online.fastapi_server", str(models.encoder), "{port}")
    bodies: tuple[Callable[[str], Any], ...] = (
        lambda text: {"dataframe_split": {"columns": ["text"], "data": [[text]]}},  # as its input example
        lambda text: {"inputs": [text]},
        lambda text: {"text": text},
    )
    return [
        Contender(SLOW[0], _serve_mlflow(str(models.ours)), "/invocations", bodies[0], "/ping"),
        Contender(SLOW[1], _serve_mlflow(str(models.flavor)), "/invocations", bodies[1], "/ping"),
        Contender(SLOW[2], fastapi, "/predict", bodies[2], "/health"),
    ]


def _serve_mlflow(model: str) -> tuple[str, ...]:
    command = _run("mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local")
    return (*command, "--host", "127.0.0.1", "--port", "{port}")


def _run(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
