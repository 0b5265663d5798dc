"""Guard every route: the host, token, rate, size and time of a request. Nothing here uses a model."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..config import ServeConfig
from ..process.telemetry import Telemetry
from .logs import describe, log_event
from .metrics import Metrics
from .problems import MEDIA_TYPE, ClientGoneError, Problem
from .tokens import TokenFile

# These paths need no token, and no Host that is ours: a kubelet asks by the address of the pod, a balancer
# by HTTP/1.0 without Host. Their answers reveal only whether the process lives and is ready, so a page whose
# name resolves to loopback learns no more than from an open port. /metrics needs both: it names models,
# labels and counts.
OPEN_PATHS = frozenset({"/ping", "/health", "/healthz", "/readyz"})
NDJSON = "application/x-ndjson"
UNROUTED = "unrouted"
# State of a request that its span has as attributes, next to those of OpenTelemetry's conventions.
_SPAN_FIELDS = ("problem", "texts", "chars", "model_version", "model_seconds")
# Another method is logged as `_OTHER`, because it is text of the caller.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
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
    """Check requests before an ASGI application gets them, add headers to its answers, and log one line each.

    `app` is cancelled if the client disconnects; a stream gets ClientGoneError instead. `app` writes to
    `scope["state"]` what the log needs: `problem`, `texts`, `chars`, `model_version`, `model_seconds`.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        config: ServeConfig,
        tokens: TokenFile | None,
        allowed_hosts: frozenset[str] | None,
        rate_limit: RateLimitItem | None,
        telemetry: Telemetry,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._config = config
        self._tokens = tokens
        self._allowed_hosts = allowed_hosts
        self._rate_limit = rate_limit
        self._telemetry = telemetry
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        with self._telemetry.open_span("request", headers=exchange.headers) as span:
            try:
                await self._answer(exchange, receive)
            except ClientGoneError:
                exchange.state["problem"] = "client_gone"
            except Problem as problem:
                await exchange.refuse(problem)
            # The edge of a request: the caller gets an answer, the log the place, neither any of the content.
            except Exception as error:  # noqa: BLE001
                log_event("failed", logging.ERROR, request_id=exchange.request_id, **describe(error))
                await exchange.refuse(Problem("failed"))
            finally:
                seconds = time.monotonic() - exchange.started
                self._metrics.note_request(
                    exchange.route, exchange.status, seconds, exchange.state.get("problem")
                )
                _describe_span(span, exchange)
                _log_request(exchange, seconds)

    async def _answer(self, exchange: "_Exchange", receive: Receive) -> None:
        headers = exchange.headers
        if exchange.path not in OPEN_PATHS:
            self._check_host(headers.get("host", ""))
            exchange.state["token"] = self._check_token(headers.get("authorization", ""))
            self._check_rate(exchange.state["token"] or "")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem("unsupported_encoding")
        if headers.get("content-type", "").partition(";")[0].strip().lower() == NDJSON:
            # A stream may be of any length. Its pauses are limited, and how long its client does not read.
            exchange.is_body_read = True
            await self._app(exchange.scope, self._limit_time(receive), self._limit_time(exchange.send))
            return
        body = await self._read_body(exchange, receive)
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
        if stated.isdigit() and int(stated) > self._config.max_body_bytes:
            raise Problem("too_large")
        try:
            body = await asyncio.wait_for(self._collect(receive), self._config.body_seconds)
        except TimeoutError:
            raise Problem("slow_body") from None
        exchange.is_body_read = True
        return body

    async def _collect(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > self._config.max_body_bytes:
                raise Problem("too_large")
            if not message.get("more_body"):
                return bytes(body)

    def _limit_time(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call_in_time(*arguments: Any) -> Any:
            try:
                return await asyncio.wait_for(call(*arguments), self._config.body_seconds)
            except TimeoutError:
                raise ClientGoneError from None

        return call_in_time


class _Exchange:
    """Hold one request and the state of its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        # The first of several headers of one name counts, as for the routes: what is limited is what is read.
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.state["request_id"] = self.request_id
        self.started = time.monotonic()
        self.status = 499  # nginx's code for a client that disconnected
        self.is_body_read = False
        self.is_answered = False
        self.is_complete = False
        self._send = send

    @property
    def route(self) -> str:
        """Return the template of the path, never the path itself, which the caller wrote."""
        return getattr(self.scope.get("route"), "path", UNROUTED)

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


async def _run_while_connected(app: ASGIApp, exchange: _Exchange, body: bytes, receive: Receive) -> None:
    """Run `app` on a body that was read. Raises ClientGoneError if the client disconnects first."""

    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    is_gone = asyncio.Event()

    async def replay() -> Message:
        if messages:
            return messages.pop()
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def await_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone.set()

    answering = asyncio.ensure_future(app(exchange.scope, replay, exchange.send))
    watching = asyncio.ensure_future(await_disconnect())
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and not exchange.is_complete:
            raise ClientGoneError
        await answering
    finally:
        watching.cancel()
        answering.cancel()


def _describe_span(span: Any, exchange: _Exchange) -> None:
    state = exchange.state
    method = exchange.scope["method"] if exchange.scope["method"] in _METHODS else "_OTHER"
    span.update_name(f"{method} {exchange.route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": exchange.route,
            "http.response.status_code": exchange.status,
            "sentiment.request_id": exchange.request_id,
            **{f"sentiment.{name}": state[name] for name in _SPAN_FIELDS if state.get(name) is not None},
        }
    )


def _log_request(exchange: _Exchange, seconds: float) -> None:
    state = exchange.state
    log_event(
        "request",
        request_id=exchange.request_id,
        route=exchange.route,
        code=exchange.status,
        seconds=round(seconds, 4),
        model_seconds=round(state["model_seconds"], 4) if "model_seconds" in state else None,
        problem=state.get("problem"),
        texts=state.get("texts"),
        chars=state.get("chars"),
        token=state.get("token"),
        model_version=state.get("model_version"),
    )
