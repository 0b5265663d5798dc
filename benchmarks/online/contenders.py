"""Describe the compared services: ours, and its peers as in their documentation."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import WORK
from ..measuring import encoders, packaged, preparation

OURS = "ours"
FRAMEWORK = "litserve"
# These get fewer requests, of the same lengths, and are measured once.
SLOW = ("mlflow_pyfunc", "mlflow_transformers", "fastapi_pipeline")


@dataclass(frozen=True)
class Models:
    """Hold one encoder in all formats: transformers folder, our model with its registry, MLflow flavor."""

    encoder: Path
    ours: Path
    flavor: Path
    tracking_uri: str
    registered_uri: str


@dataclass(frozen=True)
class Contender:
    """Describe a service: its command (with `{port}`), the body of a request, and the path for readiness."""

    name: str
    command: tuple[str, ...]
    path: str
    make_body: Callable[[str], Any]
    ready_path: str


@dataclass(frozen=True)
class Batching:
    """Hold settings of LitServe: rows per batch, seconds to wait for them, and number of processes."""

    max_batch_size: int
    batch_timeout: float
    workers_per_device: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items())


# The best of these at 16 clients is used in the comparison.
BATCHINGS = (Batching(8, 0.01, 1), Batching(16, 0.05, 1), Batching(32, 0.02, 1), Batching(8, 0.01, 2))


def make_models(folder: Path) -> Models:
    """Make the models to serve, from the encoder and the caches of the batch benchmark."""
    encoder = encoders.build_distilbert(WORK / "encoders" / "distilbert")
    cache = WORK / "cache" / "distilbert"
    flavor = preparation.save_mlflow_model(encoder, cache)
    ours = packaged.package(encoder, cache)
    return Models(encoder, ours, flavor, *packaged.register(ours, folder))


def make_ours(models: Models, extra: tuple[str, ...] = ()) -> Contender:
    """Describe our service as `python score.py --serve` starts it, but without the cascade.

    Requests may wait as long as at the peers, which have no limit; by default our service rejects a request
    that would wait longer than half a second.
    """
    model = ("--model_uri", models.registered_uri, "--cascade", "off", "--max_wait_seconds", "60")
    command = (sys.executable, "score.py", "--serve", "--port", "{port}", *model, *extra)
    return Contender(OURS, command, "/v1/sentiment", lambda text: {"texts": [text]}, "/readyz")


def make_litserve(models: Models, batching: Batching) -> Contender:
    settings = (str(value) for value in vars(batching).values())
    command = _run("benchmarks.online.litserve_server", models.registered_uri, "{port}", *settings)
    return Contender(FRAMEWORK, command, "/predict", lambda text: {"text": text}, "/health")


def make_slow(models: Models) -> list[Contender]:
    """Describe `mlflow models serve` with our model and with a pipeline, and the pipeline in FastAPI."""
    fastapi = _run("benchmarks.online.fastapi_server", str(models.encoder), "{port}")
    bodies: tuple[Callable[[str], Any], ...] = (
        lambda text: {"dataframe_split": {"columns": ["text"], "data": [[text]]}},  # like its input example
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
