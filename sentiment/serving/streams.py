"""Long lists, a line each: scored as they come, answered in their order, never held whole."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .. import schema
from .champion import ServedModel
from .guard import is_deeper
from .payloads import load_json
from .problems import Problem
from .service import Service

_IN_FLIGHT = 64
"""Lines of one stream that are scored at a time; the next is read when the first of them is answered."""
_ID = "id"


async def answer_lines(
    service: Service, model: ServedModel, chunks: AsyncIterator[bytes], state: dict[str, Any]
) -> AsyncIterator[bytes]:
    """Yield a line of JSON for each line that is not empty, in order.

    What cannot be read, and what ran out of time, is answered `{"error": code}`, and the rest goes on.
    `state` is told the texts and characters.
    """
    waiting: list[asyncio.Task[dict[str, Any]]] = []
    state.update(texts=0, chars=0)
    try:
        async for line in _split_lines(chunks, service.config.max_body_bytes):
            waiting.append(asyncio.ensure_future(_answer_line(service, model, line, state)))
            while waiting and (waiting[0].done() or len(waiting) >= _IN_FLIGHT):
                yield _write(await waiting.pop(0))
        while waiting:
            yield _write(await waiting.pop(0))
    finally:
        for task in waiting:
            task.cancel()


async def _answer_line(
    service: Service, model: ServedModel, line: bytes | None, state: dict[str, Any]
) -> dict[str, Any]:
    state["texts"] += 1
    if line is None:
        return {"error": "too_large"}
    if is_deeper(line, service.config.max_json_depth):
        return {"error": "too_deep"}
    try:
        value = load_json(line)
    except (ValueError, RecursionError):
        return {"error": "malformed"}
    answer: dict[str, Any] = {}
    if isinstance(value, dict):
        if not {schema.TEXT} <= value.keys() <= {schema.TEXT, _ID}:
            return {"error": "invalid"}
        answer = {_ID: value[_ID]} if _ID in value else {}
        value = value[schema.TEXT]
    state["chars"] += len(value) if isinstance(value, str) else 0
    try:
        predictions = (await service.score([value], model, is_patient=True)).predictions
    except Problem as problem:
        return answer | {"error": problem.code}
    service.metrics.note_predictions(predictions)
    return answer | predictions[0]


async def _split_lines(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes | None]:
    """Lines without their ends; None for one that is longer than `max_bytes`, of which no more is kept."""
    kept = bytearray()
    is_too_long = False
    async for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            kept += line
            if is_too_long or len(kept) > max_bytes:
                yield None
            elif kept.strip():
                yield bytes(kept)
            kept.clear()
            is_too_long = False
        kept += rest
        if len(kept) > max_bytes:
            kept.clear()
            is_too_long = True
    if is_too_long:
        yield None
    elif kept.strip():
        yield bytes(kept)


class LineResponse(Response):
    """Sends lines while they are made.

    Not Starlette's StreamingResponse: that one waits for the client to go, and takes away what comes
    meanwhile, the rest of the body.
    """

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__()
        self._lines = lines
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _write(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"
