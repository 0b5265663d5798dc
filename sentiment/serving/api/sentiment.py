"""POST /v1/sentiment: score a list of texts, explain one text, or score lines of JSON as they come."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field, RootModel
from starlette.requests import ClientDisconnect

from ... import schema
from ..champion import ServedModel
from ..guard import NDJSON
from ..problems import ClientGoneError, Problem
from ..service import Service
from . import requests
from .documentation import ANSWER_HEADERS, describe_body
from .explanations import Explanation, explain
from .requests import EXAMPLE, JSON, Body, Prediction, hide_probabilities

_TEXTS_EXAMPLE = {"texts": [EXAMPLE, "Broke after two days. I want my money back!"], "top_k": 2}
_LINES_EXAMPLE = f'{{"id": 1, "text": "{EXAMPLE}"}}\n"Broke after two days. I want my money back!"\n'


# So many lines of one stream are scored at a time. The next one is read when the first of them is answered.
_IN_FLIGHT = 64
_ID = "id"


class LabelScore(BaseModel):
    label: str
    score: float = Field(ge=0, le=1)


class DetailedPrediction(Prediction):
    scores: list[LabelScore] | None = Field(default=None, description="with top_k: best first")
    explanation: Explanation | None = Field(default=None, description="with explain")


class SentimentAnswer(BaseModel):
    predictions: list[DetailedPrediction]
    model_version: str
    request_id: str


def _check_switch(value: Any) -> Any:
    """Refuse 1 and 0, which are true and false for Python, and so for a literal."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _read_whole(value: Any) -> Any:
    """Return 2.0 as 2: it is an integer for JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_SWITCH = BeforeValidator(_check_switch)
# More than the model has labels means all of them.
_LabelCount = Annotated[int, Field(ge=1), BeforeValidator(_read_whole)]


def make_body_class(max_texts: int) -> type[RootModel[Any]]:
    """Return the class of bodies with at most `max_texts` texts, or one text to explain."""

    class Texts(Body):
        """A value that is no text is a reject, in its place."""

        texts: list[Any] = Field(max_length=max_texts)
        top_k: _LabelCount | None = None
        explain: Annotated[Literal[False], _SWITCH] = False

    class ExplainedText(Body):
        """One text whose words are weighed."""

        texts: list[Any] = Field(min_length=1, max_length=1)
        top_k: _LabelCount | None = None
        explain: Annotated[Literal[True], _SWITCH]

    class LimitedBody(RootModel[Texts | ExplainedText]):
        pass

    return LimitedBody


def add_routes(router: APIRouter, service: Service) -> None:
    """Add the route of this API."""
    body_class = make_body_class(service.config.max_texts)
    bodies: dict[str, tuple[type[Any], Any]] = {
        JSON: (body_class, _TEXTS_EXAMPLE),
        NDJSON: (str, _LINES_EXAMPLE),
    }
    lines = {"headers": ANSWER_HEADERS, "content": {NDJSON: {"schema": {"type": "string"}}}}

    @router.post(
        "/v1/sentiment",
        response_model=SentimentAnswer,
        responses={200: lines},
        openapi_extra=describe_body(bodies),
    )
    async def score_texts(request: Request) -> Any:
        """Score a list of texts, or lines of `application/x-ndjson` one by one as they come.

        A line is a JSON string, null, or `{"text": …, "id": …}`, and is answered by a line, in order.
        """
        served = requests.require_model(request, service)
        if requests.check_media_type(request, JSON, NDJSON) == NDJSON:
            # Below version 2.4 of ASGI a StreamingResponse listens for the end of the connection, and so
            # consumes the rest of a body that is still being sent.
            request.scope["asgi"] = {**request.scope.get("asgi", {}), "spec_version": "2.4"}
            return StreamingResponse(_answer_lines(request, service, served), media_type=NDJSON)
        body = (await requests.read_json(request, service, body_class)).root
        answer = await requests.score(request, service, served, body.texts)
        details = [hide_probabilities(prediction) for prediction in answer.predictions]
        for detail, prediction in zip(details, answer.predictions, strict=True):
            if body.top_k is not None:
                detail["scores"] = _list_scores(served, prediction, body.top_k)
            if body.explain:
                detail["explanation"] = await explain(service, served, body.texts[0], prediction)
        state = request.scope["state"]
        versions = {"model_version": served.reference.version, "request_id": state["request_id"]}
        return JSONResponse({"predictions": details, **versions})


def _list_scores(served: ServedModel, prediction: Mapping[str, Any], top_k: int) -> list[dict[str, Any]]:
    """Return the `top_k` likeliest labels, best first; none of a reject."""
    probabilities = prediction[schema.PROBABILITIES] or ()
    pairs = [(value, name) for value, name in zip(probabilities, served.model.labels, strict=False)]
    pairs.sort(key=lambda pair: -pair[0])
    return [{schema.LABEL: name, schema.SCORE: value} for value, name in pairs[:top_k]]


async def _answer_lines(request: Request, service: Service, served: ServedModel) -> AsyncIterator[bytes]:
    """Yield a line of JSON for each line that is not blank, in order.

    A line that cannot be read, or whose time runs out, is answered `{"error": code}`, and the rest goes on.
    Texts and characters are noted for the log. Raises ClientGoneError if the client disconnects.
    """
    state, max_bytes = request.scope["state"], service.config.max_body_bytes
    waiting: list[asyncio.Task[bytes]] = []
    state.update(texts=0, chars=0)
    try:
        async for line in _split_lines(request.stream(), max_bytes):
            if not line.strip() and len(line) <= max_bytes:
                continue
            waiting.append(asyncio.ensure_future(_answer_line(service, served, line, state)))
            while waiting and (waiting[0].done() or len(waiting) >= _IN_FLIGHT):
                yield await waiting.pop(0)
        while waiting:
            yield await waiting.pop(0)
    except ClientDisconnect:
        raise ClientGoneError from None
    finally:
        for task in waiting:
            task.cancel()


async def _split_lines(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """Yield lines without their ends. A longer line is cut off somewhere past `max_bytes`."""
    kept = bytearray()
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        kept += first
        for line in others:
            yield bytes(kept)
            kept[:] = line
        del kept[max_bytes + 1 :]
    yield bytes(kept)


async def _answer_line(service: Service, served: ServedModel, line: bytes, state: dict[str, Any]) -> bytes:
    state["texts"] += 1
    answer: dict[str, Any] = {}
    try:
        if len(line) > service.config.max_body_bytes:
            raise Problem("too_large")
        value = requests.load_json(line, service.config.max_json_depth)
        if isinstance(value, dict):
            if not {schema.TEXT} <= value.keys() <= {schema.TEXT, _ID}:
                raise Problem("invalid")
            answer = {_ID: value[_ID]} if _ID in value else {}
            value = value[schema.TEXT]
        state["chars"] += len(value) if isinstance(value, str) else 0
        predictions = (await service.queue.score(served.model, [value], is_patient=True)).predictions
        service.metrics.note_predictions(predictions)
        answer |= hide_probabilities(predictions[0])
    except Problem as problem:
        answer |= {"error": problem.code}
    return json.dumps(answer).encode() + b"\n"
