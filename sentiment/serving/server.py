"""Run the service as a process: check the configuration, load the model, listen, and stop in order."""

import asyncio
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import limits
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..config import ServeConfig
from ..errors import ConfigError
from ..models import loading, registry
from ..process.telemetry import Telemetry, open_telemetry
from .api import create_app
from .champion import Champion, ServedModel, load_served_model
from .guard import Guard
from .logs import log_event, start_logging
from .service import Service, count_streams
from .tokens import TokenFile

TOKENS_VARIABLE = "SENTIMENT_TOKENS_FILE"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MAX_HEAD_BYTES = 32_768
_KEEP_ALIVE_SECONDS = 30


def serve(config: ServeConfig, environment: Mapping[str, str] = os.environ, debug: bool = False) -> None:
    """Serve until SIGTERM or SIGINT. Tracking must be set (`registry.use_tracking`).

    Raises ConfigError for a configuration that admits strangers or an address that cannot be used, and a
    ModelError if no model can be loaded.
    """
    # The threads of the queue tokenise in parallel. Threads of the tokenizer would wait for busy cores.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    champion = Champion(config.model_uri, _make_loader(config), registry.find_version)
    guard, service = assemble(config, champion, environment)
    bound = _bind(config)
    start_logging(debug=debug)
    champion.start()
    server = _Server(_make_settings(config, guard), service)
    server.run(sockets=[bound])


def assemble(
    config: ServeConfig,
    champion: Champion,
    environment: Mapping[str, str] = os.environ,
    telemetry: Telemetry | None = None,
) -> tuple[Guard, Service]:
    """Make the application and its service; without `telemetry`, the environment states where to send it.

    Raises ConfigError for a configuration that admits strangers.
    """
    tokens = _read_tokens(config, environment)
    rate_limit = _read_rate(config.rate_limit)
    telemetry = telemetry or open_telemetry("sentiment.serving", environment)
    service = Service(config, champion, telemetry)
    app = create_app(service, needs_token=tokens is not None)
    guard = Guard(app, service.metrics, config, tokens, _list_hosts(config), rate_limit, telemetry)
    return guard, service


class _Server(uvicorn.Server):
    """Log when the service listens, and fail /readyz before it stops, so that balancers notice."""

    def __init__(self, settings: uvicorn.Config, service: Service) -> None:
        super().__init__(settings)
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            log_event("ready", host=host, port=port, pid=os.getpid())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.is_draining = True
        log_event("draining", signal=signal.Signals(sig).name)
        super().handle_exit(sig, frame)


class _BoundedProtocol(H11Protocol):
    """Close connections beyond a number, and those whose request head does not come in time."""

    header_seconds = 5.0
    max_connections = 512
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle:
            self._stop_timer()
        elif self._head_timer is None and (cycle is None or cycle.response_complete):
            # The first bytes of the next request on a connection that was kept.
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _make_settings(config: ServeConfig, app: Any) -> uvicorn.Config:
    protocol = type(
        "Protocol",
        (_BoundedProtocol,),
        {"header_seconds": config.header_seconds, "max_connections": config.max_connections},
    )
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(config.drain_seconds)),
    )


# Options of a model that the configuration may replace.
_MODEL_OPTIONS = ("engine", "cascade", "max_text_chars", "min_score", "target_accuracy")


def _make_loader(config: ServeConfig) -> Callable[[str], ServedModel]:
    given = {name: getattr(config, name) for name in _MODEL_OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    loading.silence_engine_warning()  # the service logs it as an event
    return partial(
        load_served_model,
        options=options | {"streams": count_streams(config), "probabilities": True},
        allow_unverified=config.allow_unverified,
        verify_key=config.verify_key or loading.find_verify_key(),
    )


def _read_tokens(config: ServeConfig, environment: Mapping[str, str]) -> TokenFile | None:
    path = config.tokens_file or environment.get(TOKENS_VARIABLE)
    if path:
        return TokenFile(Path(path))
    if not _is_loopback(config.host) and not config.insecure:
        raise ConfigError(
            f"host: {config.host} is open to others without tokens; pass a file of lines name:token by "
            f"--tokens_file or {TOKENS_VARIABLE}, or --insecure to admit everyone"
        )
    return None


def _read_rate(rate: str | None) -> limits.RateLimitItem | None:
    if rate is None:
        return None
    try:
        return limits.parse(rate)
    except ValueError as error:
        raise ConfigError(
            f"rate_limit: expected a number and a time, such as 600/minute, found {rate!r}"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _list_hosts(config: ServeConfig) -> frozenset[str] | None:
    """Return the names that a Host header may have; None for any, where tokens keep strangers out."""
    named = [name.strip().lower() for name in (config.allowed_hosts or "").split(",") if name.strip()]
    if not named and not _is_loopback(config.host):
        return None
    return frozenset((*_LOOPBACK_NAMES, config.host.lower(), *named))


def _bind(config: ServeConfig) -> socket.socket:
    """Open the listening socket before a model is loaded."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((config.host, config.port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"host, port: cannot listen on {config.host}:{config.port} ({error.strerror})"
        ) from error
    return bound
