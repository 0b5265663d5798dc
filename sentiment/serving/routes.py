"""The paths of the service: each reads a body, asks for predictions, and answers in its caller's words.

Those that score make their responses themselves: FastAPI would check each answer against its own description,
which is for tests to do.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBasic, HTTPBearer
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

import sentiment

from .. import schema
from ..models.registry import import_mlflow
from . import payloads
from .batching import Answer
from .champion import ServedModel
from .documentation import ANSWER_HEADERS, add_documentation, describe_body, list_problems
from .explanations import METHOD, cut_parts, list_variants, weigh_parts
from .guard import NDJSON
from .handlers import add_handlers
from .metrics import CONTENT_TYPE
from .payloads import describe_schema
from .problems import ClientGoneError, Problem
from .service import Service
from .streams import LineResponse, answer_lines

Parsed = TypeVar("Parsed", bound=BaseModel)

HARNESS_VERSION = "0.1"
"""What Domino's own answers say."""
CSV = "text/csv"
JSON = "application/json"
_EXAMPLE = "The battery lasts all week, and the screen is a joy to read on."
_OTHER_EXAMPLE = "Broke after two days. I want my money back!"
_SPLIT_EXAMPLE = {"dataframe_split": {"columns": ["text"], "data": [[_EXAMPLE]]}}
_TEXTS_EXAMPLE = {"texts": [_EXAMPLE, _OTHER_EXAMPLE], "top_k": 2}
# They describe; `guard.Guard` is who looks at tokens, before anything of a request is read.
_BEARER = HTTPBearer(auto_error=False)
_BASIC = HTTPBasic(auto_error=False)
_GUARD_STATUSES = (400, 408, 413, 415, 500)
_SCORING_STATUSES = (422, 429, 503, 504)


def create_app(service: Service, needs_token: bool) -> FastAPI:
    """Make the application, without its guard; `needs_token` is for its description."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="sentiment",
        summary="Sentiment of product reviews: the nightly table's answer, for one review or a few.",
        version=sentiment.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    add_handlers(app)
    credentials = [Depends(_BEARER), Depends(_BASIC)] if needs_token else []
    answered: dict[int | str, dict[str, Any]] = {200: {"headers": ANSWER_HEADERS}}
    probes = APIRouter(responses=answered | list_problems(*_GUARD_STATUSES))
    rates = (429,) if service.config.rate_limit else ()
    denials = (*rates, 401) if needs_token else rates
    router = APIRouter(
        dependencies=credentials, responses=answered | list_problems(*_GUARD_STATUSES, *denials)
    )
    _add_sentiment(router, service)
    _add_invocations(router, service)
    _add_domino(router, service)
    _add_operations(router, service)
    add_documentation(app, router, "sentiment")
    app.include_router(router)
    _add_probes(probes, service)
    app.include_router(probes)
    return app


def _add_sentiment(router: APIRouter, service: Service) -> None:
    body_class = payloads.make_sentiment_body(service.config.max_texts)

    @router.post(
        "/v1/sentiment",
        response_model=payloads.SentimentAnswer,
        responses=list_problems(*_SCORING_STATUSES)
        | {200: {"headers": ANSWER_HEADERS, "content": {NDJSON: {"schema": {"type": "string"}}}}},
        openapi_extra=describe_body(
            {
                JSON: (
                    describe_schema(body_class),
                    _TEXTS_EXAMPLE,
                ),
                NDJSON: ({"type": "string"}, f'{{"id": 1, "text": "{_EXAMPLE}"}}\n"{_OTHER_EXAMPLE}"\n'),
            }
        ),
    )
    async def score_texts(request: Request) -> Any:
        """Score a list of texts, or lines of `application/x-ndjson` one by one as they come.

        A line is a JSON string, null, or `{"text": …, "id": …}`, and is answered by a line, in order.
        """
        model = _require_model(request, service)
        if _check_media_type(request, JSON, NDJSON) == NDJSON:
            chunks = _read_chunks(request)
            return LineResponse(answer_lines(service, model, chunks, request.scope["state"]))
        body = (await _read_json(request, body_class)).root
        answer = await _score(request, service, model, body.texts)
        details: list[dict[str, Any]] = [dict(prediction) for prediction in answer.predictions]
        for detail in details:
            if body.top_k is not None:
                detail["scores"] = payloads.list_scores(detail, body.top_k)
            if body.explain:
                detail["explanation"] = await _explain(service, model, body.texts[0], detail)
        request_id = request.scope["state"]["request_id"]
        return JSONResponse(
            {"predictions": details, "model_version": model.version, "request_id": request_id}
        )


def _add_invocations(router: APIRouter, service: Service) -> None:
    @router.post(
        "/invocations",
        response_model=payloads.InvocationsAnswer,
        responses=list_problems(*_SCORING_STATUSES),
        openapi_extra=describe_body(
            {
                JSON: (
                    describe_schema(payloads.InvocationsBody),
                    _SPLIT_EXAMPLE,
                ),
                CSV: ({"type": "string"}, f'text\n"{_EXAMPLE}"\n'),
            }
        ),
    )
    async def score_invocations(request: Request) -> Any:
        """Score as MLflow's scoring server does: its four JSON forms, or CSV with a column `text`."""
        model = _require_model(request, service)
        if _check_media_type(request, JSON, CSV) == CSV:
            values = _read_csv(await request.body())
        else:
            values = (await _read_json(request, payloads.InvocationsBody)).list_values()
        answer = await _score(request, service, model, values)
        return JSONResponse({"predictions": answer.predictions})


def _add_domino(router: APIRouter, service: Service) -> None:
    @router.post(
        "/models/{model_id}/latest/model",
        response_model=payloads.DominoAnswer,
        responses=list_problems(*_SCORING_STATUSES),
        openapi_extra=describe_body(
            {JSON: (describe_schema(payloads.DominoBody), {"data": {"sentence": _EXAMPLE}})}
        ),
    )
    async def score_domino(request: Request, model_id: str) -> Any:
        """Score as a Domino Model API does: the arguments of `predict_sentiment` by name or by position."""
        started = time.monotonic()
        model = _require_model(request, service)
        _check_media_type(request, JSON)
        argument = (await _read_json(request, payloads.DominoBody)).argument
        values = argument if isinstance(argument, list) else [argument]
        answer = await _score(request, service, model, values)
        return JSONResponse(
            {
                "result": answer.predictions if isinstance(argument, list) else answer.predictions[0],
                "release": _describe_release(model),
                "request_id": request.scope["state"]["request_id"],
                "timing": (time.monotonic() - started) * 1000,
                "model_time_in_ms": round(answer.model_seconds * 1000),
            }
        )


def _add_probes(router: APIRouter, service: Service) -> None:
    @router.get("/ping", name="ping")
    @router.get("/health", name="health")
    async def say_alive() -> dict[str, str]:
        """Say that the process lives."""
        return {"status": "ok"}

    @router.get("/readyz", responses=list_problems(503))
    async def say_ready() -> dict[str, str]:
        """Say whether requests are welcome: a model is loaded and warm, and the service is not stopping."""
        service.require_model()
        return {"status": "ready"}


def _add_operations(router: APIRouter, service: Service) -> None:
    @router.get("/version", responses=list_problems(503))
    async def say_version(request: Request) -> dict[str, str]:
        """Say what runs: this package, MLflow, and the model."""
        model = _require_model(request, service)
        return {
            "version": sentiment.__version__,
            "mlflow_version": str(import_mlflow().__version__),
            "model_uri": model.reference.uri,
            "model_version": model.version,
            "engine": model.model.engine,
            "instruction_set": model.model.instruction_set,
        }

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"headers": ANSWER_HEADERS, "content": {"text/plain": {}}}},
    )
    async def show_metrics() -> Response:
        """Show what Prometheus reads."""
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)


def _require_model(request: Request, service: Service) -> ServedModel:
    model = service.require_model()
    request.scope["state"]["model_version"] = model.version
    return model


def _check_media_type(request: Request, *known: str) -> str:
    """Return the body's Content-Type, if it is one of these. Raises Problem `unsupported_media_type`."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in known:
        raise Problem("unsupported_media_type", f"expected Content-Type {' or '.join(known)}")
    return found


async def _read_chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes. Raises ClientGoneError if the client leaves before its end."""
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise ClientGoneError from None


async def _read_json(request: Request, body_class: type[Parsed]) -> Parsed:
    """Return the body as a `body_class`. Raises Problem `malformed` or `invalid`."""
    try:
        content = payloads.load_json(await request.body())
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of ten thousand digits
        raise Problem("malformed") from None
    try:
        return body_class.model_validate(content)
    except ValidationError as error:
        raise Problem("invalid", errors=payloads.describe_errors(error)) from None


def _read_csv(body: bytes) -> list[Any]:
    try:
        return payloads.read_csv(body)
    except ValueError:
        raise Problem("invalid", "expected CSV in UTF-8 with a header and a column `text`") from None


async def _score(
    request: Request, service: Service, model: ServedModel, values: Sequence[Any]
) -> "Answer[ServedModel]":
    """Predictions, with what the log says of the request."""
    if len(values) > service.config.max_texts:
        raise Problem("invalid", f"expected at most {service.config.max_texts} texts, found {len(values)}")
    state = request.scope["state"]
    state["texts"] = len(values)
    state["chars"] = sum(len(value) for value in values if isinstance(value, str))
    answer = await service.score(values, model)
    state["model_seconds"] = answer.model_seconds
    service.metrics.note_predictions(answer.predictions)
    return answer


async def _explain(
    service: Service, model: ServedModel, text: Any, whole: Mapping[str, Any]
) -> dict[str, Any] | None:
    if whole[schema.LABEL] is None:
        return None
    parts = cut_parts(text)
    # One request in the queue's eyes: it has a share like the others, and no more.
    without = (await service.score(list_variants(text, parts), model, is_patient=True)).predictions
    return {"method": METHOD, "words": weigh_parts(text, dict(whole), parts, without)}


def _describe_release(model: ServedModel) -> dict[str, Any]:
    name, _, version = model.reference.pinned_uri.removeprefix("models:/").partition("/")
    is_registered = version.isdigit()
    return {
        "model_version": model.version,
        "harness_version": HARNESS_VERSION,
        "model_version_number": int(version) if is_registered else None,
        "registered_model_name": name if is_registered else None,
        "registered_model_version": version if is_registered else None,
    }
