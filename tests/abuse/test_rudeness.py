"""Abuse of the service by single clients, during which a well-behaved caller goes on being answered."""

import base64
import contextlib
import gzip
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping

import pytest

from tests.factories import TOKEN, make_reviews
from tests.servers import HOST, Server

from .clients import asking
from .conftest import LIMITS

pytestmark = [
    pytest.mark.abuse,
    pytest.mark.promise("R4", "what the rude send, while another caller is answered"),
]

CLOSED = 0  # the status of a connection that ended without an answer
OPEN = -1  # the status of one that has neither ended nor been answered
_BEFORE_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
_MAX_TIMES_P95, _MAX_ADDED_SECONDS = 5.0, 0.25
_MAX_WORST_SECONDS = 2.0
_N_SLOW, _N_CONNECTIONS = 200, 600
_GRACE_SECONDS = 3.0  # beyond the limit of the service, for two cores that others use too


@pytest.fixture(autouse=True)
def bystander(server: Server) -> Iterator[None]:
    """Check that the abuse of a test harms neither another caller nor the service."""
    texts = make_reviews(50)["text"].tolist()
    with asking(server, texts, pause_seconds=_PAUSE_SECONDS) as run:
        run.wait_for_answers()
        time.sleep(_BEFORE_SECONDS)
        began = time.monotonic()
        yield
        ended = time.monotonic()
        time.sleep(0.3)
    answers = run.read()
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


@pytest.mark.quick
def test_a_body_over_the_limit_is_413_stated_and_in_chunks(server: Server) -> None:
    size = LIMITS["max_body_bytes"] + 1
    assert _post(server, b"x" * size) == 413
    assert _post(server, b"", {"Content-Length": str(10**12)}) in (413, CLOSED)
    chunks = [b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * (size // 0x8000 + 1)
    assert _send(server, [_head(server, {"Transfer-Encoding": "chunked"}), *chunks]) == 413
    endless = [_head(server, {"Transfer-Encoding": "chunked"}), *chunks * 50]
    assert _send(server, endless) in (413, CLOSED)


@pytest.mark.quick
def test_a_gzip_bomb_is_415_and_is_not_opened(server: Server) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < LIMITS["max_body_bytes"]
    before = server.read_memory_bytes()
    for encoding in ("gzip", "GZIP", "deflate", "br", "gzip, identity", "identity, gzip"):
        assert _post(server, bomb, {"Content-Encoding": encoding}) == 415, encoding
    lines = {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}
    assert _post(server, bomb, lines) == 415
    assert server.read_memory_bytes() - before < 20_000_000


@pytest.mark.quick
def test_json_nested_ten_thousand_deep_is_400(server: Server) -> None:
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


def test_two_hundred_sockets_with_a_byte_of_head_at_a_time_are_closed(server: Server) -> None:
    sockets = [_connect(server) for _ in range(_N_SLOW)]
    head = iter(b"POST /v1/sentiment HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 10_000)
    _drip(sockets, head, LIMITS["header_seconds"])


def test_a_body_that_never_ends_is_408_or_closed(server: Server) -> None:
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


@pytest.mark.quick
def test_without_the_right_token_everything_is_401(server: Server) -> None:
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
    for path in ("/ping", "/health", "/healthz", "/readyz"):
        assert _ask(server, "GET", path, {}) == 200, path


def test_of_six_hundred_connections_some_are_closed_at_once_and_the_rest_soon(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_connect(server)) for _ in range(_N_CONNECTIONS)]
        time.sleep(0.5)
        n_closed = sum(_peek(found) == CLOSED for found in sockets)
        n_over = _N_CONNECTIONS - LIMITS["max_connections"]
        assert n_over <= n_closed < _N_CONNECTIONS, f"{n_closed} were closed at once"
        _wait_until_closed(sockets, LIMITS["header_seconds"])
    assert _ask(server, "GET", "/version", server.headers) == 200


def test_a_header_of_1_mb_is_4xx_or_closed(server: Server) -> None:
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


@pytest.mark.quick
def test_what_is_no_http_utf8_or_json_is_400(server: Server) -> None:
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


def test_too_many_texts_are_422_and_one_too_long_for_the_body_is_413(server: Server) -> None:
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


def test_a_name_that_is_not_ours_in_host_is_400(server: Server) -> None:
    for host in ("evil.example.org", "localhost.evil.example.org", "127.0.0.1.nip.io", "", "[::]", "0.0.0.0"):
        for path in ("/version", "/metrics", "/docs"):
            assert _ask(server, "GET", path, server.headers, host=host) == 400, (host, path)
    assert _ask(server, "GET", "/version", server.headers, host=f"localhost:{server.port}") == 200


def test_hundreds_of_thousands_of_wrong_keys_rows_and_columns_hold_nobody_up(server: Server) -> None:
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


def test_two_content_types_do_not_get_around_the_limits(server: Server) -> None:
    size = LIMITS["max_body_bytes"]
    first = _head(server, {"Content-Length": str(size * 20)}).rstrip(b"\r\n")
    both = first + b"\r\nContent-Type: application/x-ndjson\r\n\r\n"
    assert _send(server, [both, *([b" " * size] * 20)]) in (400, 413, 415, CLOSED)
    deep = b'{"texts": ' + b"[" * 100 + b"]" * 100 + b"}"
    head = _head(server, {"Content-Length": str(len(deep))}).rstrip(b"\r\n")
    assert _send(server, [head + b"\r\nContent-Type: text/plain\r\n\r\n" + deep]) in (400, 415)


def test_long_texts_to_explain_hold_nobody_up(server: Server) -> None:
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
    """Return the head of a POST of JSON, unless the headers replace that."""
    fields = {"Host": "localhost", "Content-Type": "application/json", **server.headers, **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _connect(server: Server) -> socket.socket:
    return socket.create_connection((HOST, server.port), timeout=20)


def _send(server: Server, parts: Iterable[bytes]) -> int:
    """Return the status; a request refused while it is being sent may be answered or cut off."""
    with _connect(server) as found:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                found.sendall(part)
        return _read_status(found)


def _read_status(found: socket.socket, seconds: float = 20) -> int:
    """Return the status of the answer, CLOSED if there is none, OPEN after so many seconds."""
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
    """Return CLOSED or OPEN, without waiting; an answer that closes the connection is CLOSED."""
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
