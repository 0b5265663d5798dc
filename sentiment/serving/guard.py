"""Guard every route: credentials, size, speed and form of a request. Nothing here knows a model."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from .logs import describe, log_event
from .metrics import Metrics
from .problems import MEDIA_TYPE, ClientGoneError, Problem
from .tokens import TokenFile

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/ping", "/health", "/readyz"})
"""For whoever watches over the process: they say nothing but whether it lives."""
NDJSON = "application/x-ndjson"
UNROUTED = "unrouted"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NESTING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
"""Strings and brackets. The last quote is optional so that one pass does, whatever the bytes are."""
_DISCARD_BYTES = 32_000_000
_DISCARD_SECONDS = 2.0
"""How much of a refused body is read and thrown away, so that its sender gets to see the answer."""
_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)


class Guard:
    """An ASGI application around another one.

    In this order: the Host header, the token, its rate, the encoding, the size and the time of the body, its
    nesting. Then `app` runs, and is cancelled if the client goes. Every answer gets its ids and security
    headers, every request one line of log. What `app` knows of a request it notes in `scope["state"]`:
    `problem`, `texts`, `chars`, `model_version`, `model_seconds`.
    """

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        tokens: TokenFile | None,
        allowed_hosts: frozenset[str] | None,
        rate_limit: RateLimitItem | None,
        max_body_bytes: int,
        max_json_depth: int,
        body_seconds: float,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tokens = tokens
        self._token_problem: str | None = None
        self._allowed_hosts = allowed_hosts
        self._rate_limit = rate_limit
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._max_body_bytes = max_body_bytes
        self._max_json_depth = max_json_depth
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            await self._answer(exchange, receive)
        except ClientGoneError:
            exchange.state["problem"] = "client_gone"
        except Problem as problem:
            await exchange.refuse(problem)
        # The edge of a request: its caller gets an answer, the log the place, neither what was in it.
        except Exception as error:  # noqa: BLE001
            log_event("failed", logging.ERROR, request_id=exchange.request_id, **describe(error))
            await exchange.refuse(Problem("failed"))
        finally:
            self._note(exchange)

    async def _answer(self, exchange: "_Exchange", receive: Receive) -> None:
        headers = exchange.headers
        self._check_host(headers.get("host", ""))
        if exchange.path not in OPEN_PATHS:
            exchange.state["token"] = self._check_token(headers.get("authorization", ""))
            self._check_rate(exchange.state["token"] or "")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem("unsupported_encoding")
        if exchange.media_type == NDJSON:
            exchange.is_body_read = True
            await self._app(exchange.scope, self._limit_pauses(receive), self._limit_stalls(exchange.send))
            return
        body = await self._read_body(exchange, receive)
        if exchange.media_type == "application/json" and is_deeper(body, self._max_json_depth):
            raise Problem("too_deep")
        await _run_while_connected(self._app, exchange, body, receive)

    def _check_host(self, host: str) -> None:
        """Refuse a Host that is not ours: a page of another site may resolve its name to loopback."""
        name = re.sub(r":\d*$", "", host).lower()
        if self._allowed_hosts is not None and name not in self._allowed_hosts:
            raise Problem("wrong_host")

    def _check_token(self, authorization: str) -> str | None:
        if self._tokens is None:
            return None
        name = self._tokens.find(authorization)
        if self._tokens.problem != self._token_problem:
            self._token_problem = self._tokens.problem
            log_event("tokens_refused" if self._token_problem else "tokens_read")
        if name is None:
            raise Problem("unauthorized")
        return name

    def _check_rate(self, name: str) -> None:
        if self._rate_limit is None or self._limiter.hit(self._rate_limit, name):
            return
        window = self._limiter.get_window_stats(self._rate_limit, name)
        raise Problem("rate_limited", retry_seconds=window.reset_time - time.time())

    async def _read_body(self, exchange: "_Exchange", receive: Receive) -> bytes:
        stated = exchange.headers.get("content-length", "")
        try:
            if stated.isdigit() and int(stated) > self._max_body_bytes:
                raise Problem("too_large")
            body = await asyncio.wait_for(self._collect(receive), self._body_seconds)
        except asyncio.TimeoutError:
            raise Problem("slow_body") from None
        except Problem as problem:
            if problem.code == "too_large":
                await exchange.refuse(problem)
                await _discard(receive)
            raise
        exchange.is_body_read = True
        return body

    async def _collect(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise Problem("too_large")
            if not message.get("more_body"):
                return bytes(body)

    def _limit_pauses(self, receive: Receive) -> Receive:
        """Of a stream only the pauses are limited: it may be as long as it likes."""

        async def receive_soon() -> Message:
            try:
                return await asyncio.wait_for(receive(), self._body_seconds)
            except asyncio.TimeoutError:
                return {"type": "http.disconnect"}

        return receive_soon

    def _limit_stalls(self, send: Send) -> Send:
        """Close the stream of a client that does not read."""

        async def send_soon(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self._body_seconds)
            except asyncio.TimeoutError:
                raise ClientGoneError from None

        return send_soon

    def _note(self, exchange: "_Exchange") -> None:
        state = exchange.state
        seconds = time.monotonic() - exchange.started
        self._metrics.note_request(exchange.route, exchange.status, seconds)
        if "problem" in state:
            self._metrics.note_problem(state["problem"])
        log_event(
            "request",
            request_id=exchange.request_id,
            route=exchange.route,
            method=exchange.method,
            code=exchange.status,
            problem=state.get("problem"),
            texts=state.get("texts"),
            chars=state.get("chars"),
            seconds=round(seconds, 4),
            model_seconds=round(state["model_seconds"], 4) if "model_seconds" in state else None,
            token=state.get("token"),
            model_version=state.get("model_version"),
        )


class _Exchange:
    """One request and what has become of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        # Of several of a name the first counts, as for the routes: what is limited is what is read.
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(list(scope.get("headers", ())))
        }
        self.media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        given = self.headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.state["request_id"] = self.request_id
        self.started = time.monotonic()
        self.status = 499  # what nginx calls a client that went
        self.is_body_read = False
        self.is_answered = False
        self.is_complete = False
        self._send = send

    @property
    def route(self) -> str:
        """The template of the path, never the path itself, which is the caller's."""
        return getattr(self.scope.get("route"), "path", UNROUTED)

    @property
    def method(self) -> str | None:
        """The method, if it is one of HTTP's: any word may stand in its place."""
        method: str = self.scope["method"]
        return method if method in _METHODS else None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_answered = True
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._make_headers()]}
        elif message["type"] == "http.response.body":
            self.is_complete = not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with the problem, unless there is an answer already."""
        self.state["problem"] = problem.code
        if self.is_answered:
            return
        body = problem.render(self.request_id)
        headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
        if not self.is_body_read:
            headers["connection"] = "close"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": problem.kind.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    def _make_headers(self) -> list[tuple[bytes, bytes]]:
        policy = _DOCS_POLICY if self.path.startswith("/docs") else _POLICY
        values = {"x-request-id": self.request_id, "content-security-policy": policy, **_HEADERS}
        if "model_version" in self.state:
            values["x-model-version"] = self.state["model_version"]
        return [(name.encode(), value.encode()) for name, value in values.items()]


async def _run_while_connected(app: App, exchange: _Exchange, body: bytes, receive: Receive) -> None:
    """Run `app` on a body that was read; if the client goes before it is answered, end it there."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    is_gone = asyncio.Event()

    async def replay() -> Message:
        for message in messages:
            return message
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone.set()

    answering = asyncio.ensure_future(app(exchange.scope, replay, exchange.send))
    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and not exchange.is_complete:
            answering.cancel()
            await asyncio.wait({answering})
            raise ClientGoneError
        await answering
    finally:
        watching.cancel()
        if not answering.done():
            answering.cancel()


async def _discard(receive: Receive) -> None:
    async def read() -> None:
        n_bytes = 0
        while n_bytes < _DISCARD_BYTES:
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    try:
        await asyncio.wait_for(read(), _DISCARD_SECONDS)
    except asyncio.TimeoutError:
        return


def is_deeper(body: bytes, limit: int) -> bool:
    """Return whether brackets are nested deeper than the limit, in JSON or in anything else."""
    depth = 0
    for found in _NESTING.finditer(body):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth > limit:
                return True
        elif found[0] in (b"]", b"}"):
            depth -= 1
    return False
