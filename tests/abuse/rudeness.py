"""R4: what the rude do to a service, and a well-behaved caller beside them who goes on being answered."""

import base64
import contextlib
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tests.conftest import make_reviews
from tests.matrix import Case
from tests.servers import HOST, Server

from .cells import LIMITS, TOKEN, World
from .clients import asking

CLOSED = 0
"""Of a connection that ended without an answer."""
OPEN = -1
"""Of one that has neither ended nor been answered."""
_BEFORE_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
_MAX_TIMES_P95, _MAX_ADDED_SECONDS = 5.0, 0.25
_MAX_WORST_SECONDS = 2.0
_N_SLOW, _N_CONNECTIONS = 200, 600
_GRACE_SECONDS = 3.0
"""Beyond the limit of the service, for two cores that others use too."""

Attack = Callable[[Server], None]


def list_cases() -> list[Case]:
    """R4: each abuse of its own; the quick ones take no waiting."""
    quick = {
        "a body over the limit is 413, stated and in chunks": _send_large_bodies,
        "a gzip bomb is 415, and is not opened": _send_gzip_bomb,
        "JSON nested ten thousand deep is 400": _send_deep_json,
        "without the right token everything is 401": _try_tokens,
        "what is no HTTP, UTF-8 or JSON is 400": _send_malformed,
    }
    slow = {
        "two hundred sockets with a byte of head at a time are closed": _drip_heads,
        "a body that never ends is 408 or closed": _drip_body,
        "of six hundred connections some are closed at once and the rest soon": _open_connections,
        "a header of 1 MB is 4xx or closed": _send_large_header,
        "too many texts are 422, one too long for the body is 413": _send_too_much,
        "a name that is not ours in Host is 400": _send_hosts,
        "hundreds of thousands of wrong keys, rows and columns hold nobody up": _send_many_mistakes,
        "two Content-Types do not get around the limits": _send_two_media_types,
        "long texts to explain hold nobody up": _explain_long_texts,
    }
    return [
        *(Case(name, _make_check(attack), is_quick=True) for name, attack in quick.items()),
        *(Case(name, _make_check(attack)) for name, attack in slow.items()),
    ]


def _make_check(attack: Attack) -> Callable[[World, Path], None]:
    def check(world: World, folder: Path) -> None:
        server = world.serve(**LIMITS)
        texts = make_reviews(50)["text"].tolist()
        with asking(server, texts, pause_seconds=_PAUSE_SECONDS) as bystander:
            bystander.wait_for_answers()
            time.sleep(_BEFORE_SECONDS)
            began = time.monotonic()
            attack(server)
            ended = time.monotonic()
            time.sleep(0.3)
        answers = bystander.read()
        assert server.is_alive, server.read_log()[-2_000:]
        assert answers.statuses == {200}, f"the bystander got {answers.statuses}"
        before, during = answers.between(0, began), answers.between(began, max(ended, began + 0.2))
        limit = before.percentile(0.95) * _MAX_TIMES_P95 + _MAX_ADDED_SECONDS
        said = (
            f"the bystander waited: p95 {before.percentile(0.95):.3f} s before, "
            f"{during.percentile(0.95):.3f} s during, {during.percentile(1):.3f} s at worst"
        )
        assert during.percentile(0.95) <= limit, said
        assert during.percentile(1) <= _MAX_WORST_SECONDS, said
        assert not server.list_events("failed"), server.list_events("failed")[:3]

    return check


# The abuses.


def _send_large_bodies(server: Server) -> None:
    size = LIMITS["max_body_bytes"] + 1
    assert _post(server, b"x" * size) == 413
    assert _post(server, b"", {"Content-Length": str(10**12)}) in (413, CLOSED)
    chunks = [b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * (size // 0x8000 + 1)
    assert _send(server, [_head(server, {"Transfer-Encoding": "chunked"}), *chunks]) == 413
    endless = [_head(server, {"Transfer-Encoding": "chunked"}), *chunks * 50]
    assert _send(server, endless) in (413, CLOSED)


def _send_gzip_bomb(server: Server) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < LIMITS["max_body_bytes"]
    before = server.read_memory_bytes()
    for encoding in ("gzip", "GZIP", "deflate", "br", "gzip, identity", "identity, gzip"):
        assert _post(server, bomb, {"Content-Encoding": encoding}) == 415, encoding
    lines = {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}
    assert _post(server, bomb, lines) == 415
    assert server.read_memory_bytes() - before < 20_000_000


def _send_deep_json(server: Server) -> None:
    n = 10_000
    for body in (
        b"[" * n,
        b"[" * n + b"]" * n,
        b'{"texts":' + b'[{"a":' * n + b"1" + b"}]" * n + b"}",
        b'{"texts": ["' + b"\\" * (2 * n) + b'", ' + b"[" * n + b"]" * n + b"]}",
    ):
        for path in ("/v1/sentiment", "/invocations", "/models/x/latest/model"):
            assert _post(server, body, path=path) == 400, (path, body[:40])
    lines = {"Content-Type": "application/x-ndjson"}
    for depth in (100, 400, 900, 990, n):
        line = b'{"text": null, "id": ' + b"[" * depth + b"]" * depth + b"}"
        assert _post(server, line + b'\n"the battery"\n', lines) == 200


def _drip_heads(server: Server) -> None:
    sockets = [_connect(server) for _ in range(_N_SLOW)]
    head = iter(b"POST /v1/sentiment HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 10_000)
    _drip(sockets, head, LIMITS["header_seconds"])


def _drip_body(server: Server) -> None:
    sockets = []
    for headers in ({"Content-Length": "100000"}, {"Transfer-Encoding": "chunked"}):
        found = _connect(server)
        found.sendall(_head(server, headers))
        sockets.append(found)
    # Of lines, which may go on for as long as they come, one that does not come.
    with _connect(server) as stalled:
        lines = {"Content-Type": "application/x-ndjson", "Content-Length": "100000"}
        stalled.sendall(_head(server, lines) + b'"great"\n"gre')
        _drip(sockets, iter(b"1\r\n" * 1_000), LIMITS["body_seconds"])
        assert _read_status(stalled) == 200
        _wait_until_closed([stalled], LIMITS["body_seconds"])


def _try_tokens(server: Server) -> None:
    wrong = [
        {},
        {"Authorization": "Bearer wrong-token-of-many-chars"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer " + "x" * 20_000},
        {"Authorization": _basic("someone", TOKEN)},
        {"Authorization": _basic(TOKEN, "wrong")},
        {"Authorization": "Basic \xff\xfe"},
        {"Authorization": TOKEN},
    ]
    for headers in wrong:
        for method, path in (("POST", "/v1/sentiment"), ("POST", "/invocations"), ("GET", "/metrics")):
            assert _ask(server, method, path, headers) == 401, (headers, path)
    for path in ("/version", "/docs", "/openapi.json", "/docs/files/swagger-ui.css", "/nothing", "//ping"):
        assert _ask(server, "GET", path, {}) == 401, path
    for path in ("/ping", "/health", "/readyz"):
        assert _ask(server, "GET", path, {}) == 200, path


def _open_connections(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_connect(server)) for _ in range(_N_CONNECTIONS)]
        time.sleep(0.5)
        n_closed = sum(_peek(found) == CLOSED for found in sockets)
        n_over = _N_CONNECTIONS - LIMITS["max_connections"]
        assert n_over <= n_closed < _N_CONNECTIONS, f"{n_closed} were closed at once"
        _wait_until_closed(sockets, LIMITS["header_seconds"])
    assert _ask(server, "GET", "/version", server.headers) == 200


def _send_large_header(server: Server) -> None:
    headers = dict(server.headers)
    assert _ask(server, "GET", "/version", headers | {"X-Long": "x" * 1_000_000}) in (400, 431, CLOSED)
    many = headers | {f"X-{i}": "x" for i in range(50_000)}
    assert _ask(server, "GET", "/version", many) in (400, 431, CLOSED)
    assert _ask(server, "GET", "/" + "x" * 1_000_000, headers) in (400, 414, CLOSED)
    chunked = _head(server, {"Transfer-Encoding": "chunked"})
    for endless in (b"2\r\n{}\r\n0\r\n" + b"X-Late: x\r\n" * 50_000, b"2;" + b"x" * 1_000_000):
        before = server.read_memory_bytes()
        # A piece at a time, as no attacker has to send a head at one go.
        pieces = [endless[i : i + 4_096] for i in range(0, len(endless), 4_096)]
        assert _send(server, [chunked, *pieces]) in (400, CLOSED), endless[:20]
        assert server.read_memory_bytes() - before < 20_000_000


def _send_malformed(server: Server) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        assert _send(server, [data]) in (400, 401, 501, CLOSED), data[:60]
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", **server.headers}
    assert _ask(server, "GET", "/v1/sentiment", upgrade) in (400, 404, 405, 426)
    both = _head(server, {"Transfer-Encoding": "chunked", "Content-Length": "5"})
    assert _send(server, [both, b"5\r\nhello\r\n0\r\n\r\n"]) in (400, CLOSED)
    late = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items()).encode()
    chunked = b"POST /v1/sentiment HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert _send(server, [chunked + b"2\r\n{}\r\n0\r\n" + late + b"\r\n"]) == 401, "a token after the body"
    for body in (
        b'{"texts": ["\xff\xfe"]}',
        b'{"texts": [' + b"9" * 100_000 + b"]}",
        b'{"texts": [NaN]}',
        b'{"texts": [Infinity]}',
        b'{"texts": ["the]}',
        b"\x00",
        b"",
        '{"texts": []}'.encode("utf-16"),
    ):
        assert _post(server, body) == 400, body[:60]
    assert _post(server, b'{"texts": [1e999, -0, 1E400]}') == 200
    assert _post(server, b'{"texts": ["\\ud800 great"], "explain": true}') == 200


def _send_too_much(server: Server) -> None:
    many = json.dumps({"texts": ["great"] * (LIMITS["max_texts"] + 1)}).encode()
    assert _post(server, many) == 422
    assert _post(server, json.dumps({"instances": ["great"] * 10_000}).encode(), path="/invocations") == 422
    sentences = json.dumps({"data": {"sentence": ["great"] * 10_000}}).encode()
    assert _post(server, sentences, path="/models/x/latest/model") == 422
    csv = {"Content-Type": "text/csv"}
    assert _post(server, b"text\n" + b"great\n" * 20_000, csv, "/invocations") == 422
    assert _post(server, json.dumps({"texts": ["great " * 350_000]}).encode()) == 413
    longest = json.dumps({"texts": ["x" * (LIMITS["max_text_chars"] + 1), "great"]}).encode()
    assert _post(server, longest) == 200


def _send_hosts(server: Server) -> None:
    for host in ("evil.example.org", "localhost.evil.example.org", "127.0.0.1.nip.io", "", "[::]", "0.0.0.0"):
        for path in ("/version", "/ping", "/docs"):
            assert _ask(server, "GET", path, server.headers, host=host) == 400, (host, path)
    assert _ask(server, "GET", "/version", server.headers, host=f"localhost:{server.port}") == 200


def _send_many_mistakes(server: Server) -> None:
    keys = ("{" + ",".join(f'"{i}":1' for i in range(18_000)) + "}").encode()
    records = json.dumps({"dataframe_records": [{}] * 45_000}).encode()
    wide = b"text" + b"," * 190_000 + b"\n"
    tall = b"text\n" + b",\n" * 90_000
    csv = {"Content-Type": "text/csv"}
    for body in (
        keys,
        records,
        b'{"instances": ' + keys + b"}",
        json.dumps({"inputs": [[]] * 45_000}).encode(),
    ):
        for path in ("/v1/sentiment", "/invocations", "/models/x/latest/model"):
            assert _post(server, body, path=path) == 422, (path, body[:40])
    assert _post(server, wide, csv, "/invocations") == 200
    for body in (tall, b'text\n"' + b"x\n" * 90_000, b"text\n" * 35_000):
        assert _post(server, body, csv, "/invocations") == 422, body[:40]
    lines = {"Content-Type": "application/x-ndjson"}
    assert _post(server, b"{\n" * 20_000, lines) == 200


def _send_two_media_types(server: Server) -> None:
    size = LIMITS["max_body_bytes"]
    first = _head(server, {"Content-Length": str(size * 20)}).rstrip(b"\r\n")
    both = first + b"\r\nContent-Type: application/x-ndjson\r\n\r\n"
    assert _send(server, [both, *([b" " * size] * 20)]) in (400, 413, 415, CLOSED)
    deep = b'{"texts": ' + b"[" * 100 + b"]" * 100 + b"}"
    head = _head(server, {"Content-Length": str(len(deep))}).rstrip(b"\r\n")
    assert _send(server, [head + b"\r\nContent-Type: text/plain\r\n\r\n" + deep]) in (400, 415)


def _explain_long_texts(server: Server) -> None:
    text = "the battery is great " * 2_300  # as long as the limit lets it be
    body = json.dumps({"texts": [text], "explain": True}).encode()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_connect(server)) for _ in range(4)]
        for found in sockets:
            found.sendall(_head(server, {"Content-Length": str(len(body))}) + body)
        assert {_read_status(found, 60) for found in sockets} <= {200, 429, 504}


# Sockets.


def _post(
    server: Server, body: bytes, headers: Mapping[str, str] | None = None, path: str = "/v1/sentiment"
) -> int:
    headers = {"Content-Length": str(len(body)), **(headers or {})}
    return _send(server, [_head(server, headers, path), body])


def _ask(server: Server, method: str, path: str, headers: Mapping[str, str], host: str = "localhost") -> int:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return _send(server, ["\r\n".join([*lines, "", ""]).encode("latin-1")])


def _head(server: Server, headers: Mapping[str, str], path: str = "/v1/sentiment") -> bytes:
    """Of a POST of JSON, unless the headers say otherwise."""
    fields = {"Host": "localhost", "Content-Type": "application/json", **server.headers, **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _connect(server: Server) -> socket.socket:
    return socket.create_connection((HOST, server.port), timeout=20)


def _send(server: Server, parts: Iterable[bytes]) -> int:
    """The status of the answer; what is refused while it is being sent may be answered or cut off."""
    with _connect(server) as found:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                found.sendall(part)
        return _read_status(found)


def _read_status(found: socket.socket, seconds: float = 20) -> int:
    """The status of the answer, once all of it has come or a moment has passed; CLOSED, OPEN."""
    found.settimeout(seconds)
    try:
        data = b""
        while b"\r\n" not in data:
            received = found.recv(65_536)
            if not received:
                return CLOSED
            data += received
        return int(data.split(b" ", 2)[1])
    except ConnectionError:
        return CLOSED
    except TimeoutError:
        return OPEN


def _peek(found: socket.socket) -> int:
    """CLOSED or OPEN, without waiting; an answer that closes the connection is CLOSED."""
    found.setblocking(False)
    try:
        while True:
            if not found.recv(65_536):
                return CLOSED
    except BlockingIOError:
        return OPEN
    except ConnectionError:
        return CLOSED


def _drip(sockets: list[socket.socket], data: Iterator[int], limit: float) -> None:
    """Send a byte at a time on each until all are closed, which must be within `limit` seconds or so."""
    began = time.monotonic()
    waiting = list(sockets)
    while waiting:
        byte = bytes([next(data)])
        for found in list(waiting):
            try:
                found.setblocking(True)
                found.sendall(byte)
            except ConnectionError:
                waiting.remove(found)
                continue
            if _peek(found) == CLOSED:
                waiting.remove(found)
        assert time.monotonic() - began < limit + _GRACE_SECONDS, f"{len(waiting)} are still open"
        time.sleep(0.1)
    assert time.monotonic() - began >= limit / 2, "closed at once: nothing was tried"
    for found in sockets:
        found.close()


def _wait_until_closed(sockets: list[socket.socket], limit: float) -> None:
    deadline = time.monotonic() + limit + _GRACE_SECONDS
    while any(_peek(found) == OPEN for found in sockets):
        assert time.monotonic() < deadline, "some are still open"
        time.sleep(0.1)
