"""Make the application of the service: one module per API, and one form of error for all of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response
from fastapi.security import HTTPBasic, HTTPBearer
from starlette.exceptions import HTTPException

from ... import __version__
from ..problems import MEDIA_TYPE, Problem
from ..service import Service
from . import domino, invocations, operations, sentiment
from .documentation import ANSWER_HEADERS, add_pages, describe_problems

# They only describe the credentials; `guard.Guard` checks tokens before it reads anything else of a request.
_CREDENTIALS = (HTTPBearer(auto_error=False), HTTPBasic(auto_error=False))
_GUARD_STATUSES = (400, 408, 413, 415, 500)
_SCORING_STATUSES = (422, 429, 503, 504)
_HTTP_CODES = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}


def create_app(service: Service, needs_token: bool) -> FastAPI:
    """Make the application without its guard; `needs_token` is for its description."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="sentiment",
        summary="Sentiment of product reviews: the prediction of the nightly table, for one review or a few.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    for kind in (Problem, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_problem)
    extra = ((429,) if service.config.rate_limit else ()) + ((401,) if needs_token else ())
    answered: dict[int | str, Any] = {200: {"headers": ANSWER_HEADERS}}
    guarded = APIRouter(
        dependencies=[Depends(one) for one in _CREDENTIALS] if needs_token else [],
        responses=answered | describe_problems(*_GUARD_STATUSES, *extra),
    )
    scoring = APIRouter(responses=describe_problems(*_SCORING_STATUSES))
    for api in (sentiment, invocations, domino):
        api.add_routes(scoring, service)
    guarded.include_router(scoring)
    operations.add_routes(guarded, service)
    add_pages(app, guarded, "sentiment")
    probes = APIRouter(responses=answered | describe_problems(*_GUARD_STATUSES))
    operations.add_probes(probes, service)
    for router in (guarded, probes):
        app.include_router(router)
    return app


async def _answer_problem(request: Request, error: Exception) -> Response:
    """Answer any error without a word of the request. The guard logs where an unexpected one was raised."""
    problem = error if isinstance(error, Problem) else Problem("failed")
    if isinstance(error, HTTPException):  # Starlette's own: no such path, no such method
        problem = Problem(_HTTP_CODES.get(error.status_code, "malformed"))
        problem.headers |= error.headers or {}
    state = request.scope["state"]
    state["problem"] = problem.code
    content = problem.render(state["request_id"])
    return Response(content, problem.kind.status, problem.headers, MEDIA_TYPE)
