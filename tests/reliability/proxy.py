"""Stand between a client and an S3 server, count its requests, and disturb one of them."""

import contextlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESET, LOST, BUSY = "reset", "answer lost", "503"
KILL_BEFORE, KILL_AFTER = "SIGKILL before", "SIGKILL after"
KINDS = (RESET, LOST, BUSY, KILL_BEFORE, KILL_AFTER)
_BUSY_BODY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
# Headers of one connection, which the proxy makes itself.
_OWN_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})
_SECONDS = 60


@dataclass(frozen=True)
class Disturbance:
    """What happens to the request number `at`, counted from 0."""

    kind: str
    at: int


@dataclass
class Proxy:
    """The requests that came through, as `PUT /bucket/key`, and the one to disturb.

    `kill` ends the client.
    """

    server: str
    disturbance: Disturbance | None
    url: str = ""
    requests: list[str] = field(default_factory=list)
    kill: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, request: str) -> str | None:
        """Count a request; return what is to happen to it."""
        with self._lock:
            self.requests.append(request)
            number = len(self.requests) - 1
            if self.disturbance is not None and self.disturbance.at == number:
                return self.disturbance.kind
            return None


@contextlib.contextmanager
def start_proxy(server_url: str, disturbance: Disturbance | None) -> Iterator[Proxy]:
    """Start a proxy of an HTTP server on a free port."""
    proxy = Proxy(server_url.partition("://")[2], disturbance)

    class Handler(_Handler):
        pass

    Handler.proxy = proxy
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # type: ignore[method-assign]  # of clients that were killed
    proxy.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join(_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if self.parse_request():
            self._pass_on()

    def _pass_on(self) -> None:
        body = self._read_body()
        kind = self.proxy.count(f"{self.command} {self.path}")
        if kind == KILL_BEFORE:
            self.proxy.kill()
        if kind in (RESET, KILL_BEFORE):
            self._reset()
            return
        if kind == BUSY:
            self._answer(503, "Slow Down", [("Content-Type", "application/xml")], _BUSY_BODY)
            return
        client = http.client.HTTPConnection(self.proxy.server, timeout=_SECONDS)
        try:
            client.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                # The signature covers the date and the host that the client has seen.
                if name.lower() not in _OWN_HEADERS:
                    client.putheader(name, value)
            if body or "content-length" in self.headers or self.command in ("PUT", "POST"):
                client.putheader("Content-Length", str(len(body)))
            client.endheaders(body or None)
            answer = client.getresponse()
            content = answer.read()
        finally:
            client.close()
        if kind == KILL_AFTER:
            self.proxy.kill()
        if kind in (LOST, KILL_AFTER):
            self._reset()
            return
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OWN_HEADERS]
        length = answer.headers["Content-Length"] if self.command == "HEAD" else None
        self._answer(answer.status, answer.reason, headers, content, length)

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _answer(
        self, status: int, reason: str, headers: list[tuple[str, str]], body: bytes, length: str | None = None
    ) -> None:
        self.send_response_only(status, reason)
        for name, value in headers:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", length if length is not None else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        """Reset the connection: without lingering, closing sends RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Detached, because `ThreadingHTTPServer` would first shut the connection down in order.
        os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        pass
