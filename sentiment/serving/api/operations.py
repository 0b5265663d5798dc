"""GET /ping, /health, /healthz, /readyz, /version and /metrics: what an operator and a balancer need."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

import sentiment

from ...models.registry import import_mlflow
from ..metrics import CONTENT_TYPE
from ..service import Service
from .documentation import ANSWER_HEADERS, describe_problems
from .requests import require_model


def add_probes(router: APIRouter, service: Service) -> None:
    """Add the routes that need no token."""

    @router.get("/ping", name="ping")
    @router.get("/health", name="health")
    @router.get("/healthz", name="healthz")
    async def say_alive() -> dict[str, str]:
        """Answer while the process lives."""
        return {"status": "ok"}

    @router.get("/readyz", responses=describe_problems(503))
    async def say_ready() -> dict[str, str]:
        """Answer 200 if a model is loaded and warm, and the service is not stopping."""
        service.require_model()
        return {"status": "ready"}


def add_routes(router: APIRouter, service: Service) -> None:
    """Add the routes that need a token."""

    @router.get("/version", responses=describe_problems(503))
    async def say_version(request: Request) -> dict[str, str]:
        """Return the versions of this package, of MLflow and of the model."""
        served = require_model(request, service)
        return {
            "version": sentiment.__version__,
            "mlflow_version": str(import_mlflow().__version__),
            "model_uri": served.reference.uri,
            "model_version": served.reference.version,
            "engine": served.model.engine,
            "instruction_set": served.model.instruction_set,
        }

    text = {"headers": ANSWER_HEADERS, "content": {"text/plain": {}}}

    @router.get("/metrics", response_class=Response, responses={200: text})
    async def show_metrics() -> Response:
        """Return the page that Prometheus reads."""
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)
