"""What answers over HTTP: our service, and its peers as their documentation shows them."""

import sys
from dataclasses import dataclass

from .online_models import Models
from .online_processes import Contender

OURS = "ours"
FRAMEWORK = "litserve"
MLFLOW_PYFUNC = "mlflow_pyfunc"
MLFLOW_TRANSFORMERS = "mlflow_transformers"
FASTAPI = "fastapi_pipeline"
SLOW = (MLFLOW_PYFUNC, MLFLOW_TRANSFORMERS, FASTAPI)
"""Those that get fewer requests, of the same lengths, once."""


@dataclass(frozen=True)
class Batching:
    """Settings of LitServe: rows of a batch, how long it waits for them, processes that share the cores."""

    max_batch_size: int
    batch_timeout: float
    workers: int

    @property
    def words(self) -> str:
        batch = f"max_batch_size={self.max_batch_size} batch_timeout={self.batch_timeout}"
        return f"{batch} workers_per_device={self.workers}"


BATCHINGS = (Batching(8, 0.01, 1), Batching(16, 0.05, 1), Batching(32, 0.02, 1), Batching(8, 0.01, 2))
"""Those that are tried; the best at 16 clients is what is compared with."""


def make_ours(models: Models, extra: tuple[str, ...] = ()) -> Contender:
    """The service as `python score.py --serve` starts it, every review by the encoder.

    It may let requests wait as long as its peers, which have no bound, let them; its default is to refuse
    what would wait longer than half a second.
    """
    arguments = ("--model_uri", models.registered_uri, "--cascade", "off", "--max_wait_seconds", "60", *extra)
    return Contender(
        OURS,
        lambda port: (sys.executable, "score.py", "--serve", "--port", str(port), *arguments),
        "/v1/sentiment",
        lambda text: {"texts": [text]},
        "/readyz",
    )


def make_litserve(models: Models, batching: Batching) -> Contender:
    settings = (str(batching.max_batch_size), str(batching.batch_timeout), str(batching.workers))
    return Contender(
        FRAMEWORK,
        lambda port: (
            *(sys.executable, "-m", "tests.bench.online_litserve", models.registered_uri, str(port)),
            *settings,
        ),
        "/predict",
        lambda text: {"text": text},
        "/health",
    )


def make_mlflow_pyfunc(models: Models) -> Contender:
    """`mlflow models serve` on our model, in the form that its own input example has."""
    return Contender(
        MLFLOW_PYFUNC,
        lambda port: _serve_mlflow(str(models.ours), port),
        "/invocations",
        lambda text: {"dataframe_split": {"columns": ["text"], "data": [[text]]}},
        "/ping",
    )


def make_mlflow_transformers(models: Models) -> Contender:
    """`mlflow models serve` on a text-classification pipeline in torch, float32."""
    return Contender(
        MLFLOW_TRANSFORMERS,
        lambda port: _serve_mlflow(str(models.flavor), port),
        "/invocations",
        lambda text: {"inputs": [text]},
        "/ping",
    )


def make_fastapi(models: Models) -> Contender:
    return Contender(
        FASTAPI,
        lambda port: (sys.executable, "-m", "tests.bench.online_fastapi", str(models.encoder), str(port)),
        "/predict",
        lambda text: {"text": text},
        "/health",
    )


def _serve_mlflow(model: str, port: int) -> tuple[str, ...]:
    command = (sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model)
    return (*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port))
