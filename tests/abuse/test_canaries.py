"""A text that must not be seen goes down every path that ends in an error, and is seen nowhere.

The tests look for it in the log, in the answer with its headers, on /metrics, on the consoles of programs.
"""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.factories import CANARY, ROOT, TOKEN, TinyModel, save_stub_model
from tests.servers import HOST, Server, start_server

pytestmark = [
    pytest.mark.abuse,
    pytest.mark.promise("S2", "a canary text down every path of an error"),
]
_TRACES = (
    CANARY,
    CANARY.lower(),
    "Quince",
    base64.b64encode(CANARY.encode()).decode()[:20],
    urllib.parse.quote(CANARY),
)
_CODE = """
def meet(texts):
    if any("SLEEPS" in text for text in texts):
        time.sleep(2)
    for text in texts:
        if "FAILS" in text:
            raise ValueError("cannot read " + text)
"""
_CSV, _LINES, _JSON = "text/csv", "application/x-ndjson", "application/json"


class Answer:
    """An answer with its headers, as it was sent."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.status = int(raw.split(b" ", 2)[1]) if raw.startswith(b"HTTP/") else 0


def _post(
    body: Any,
    status: int,
    media_type: str = _JSON,
    path: str = "/v1/sentiment",
    headers: Mapping[str, str] | None = None,
) -> tuple[bytes, int]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _ask("POST", path, status, content, {"Content-Type": media_type, **(headers or {})})


def _get(path: str, status: int, headers: Mapping[str, str] | None = None) -> tuple[bytes, int]:
    return _ask("GET", path, status, b"", headers or {})


def _ask(method: str, path: str, status: int, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, int]:
    fields = {
        "Host": "localhost",
        "Authorization": f"Bearer {TOKEN}",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body, status


def _list_requests() -> dict[str, tuple[bytes, int]]:
    """Return requests that hold the canary, and the status of their answers."""
    texts = {"texts": [CANARY]}
    return {
        "JSON that breaks off": _post(f'{{"texts": ["{CANARY}'.encode(), 400),
        "JSON that is no UTF-8": _post(b'{"texts": ["' + CANARY.encode() + b'\xff"]}', 400),
        "JSON that is nested too deep": _post(b"[" * 50 + json.dumps(CANARY).encode() + b"]" * 50, 400),
        "an unknown key": _post({**texts, CANARY: 1}, 422),
        "a key of a text": _post({"texts": [{CANARY: CANARY}]}, 200),
        "a value of the wrong type": _post({"texts": CANARY}, 422),
        "top_k": _post({**texts, "top_k": CANARY}, 422),
        "explain": _post({**texts, "explain": CANARY}, 422),
        "the body itself": _post(json.dumps(CANARY).encode(), 422),
        "too many texts": _post({"texts": [CANARY] * 300}, 422),
        "a body that is too large": _post({"texts": [CANARY * 200_000]}, 413),
        "two texts to explain": _post({"texts": [CANARY, CANARY], "explain": True}, 422),
        "a frame without the column": _post(
            {"dataframe_split": {"columns": [CANARY], "data": [[CANARY]]}}, 422, path="/invocations"
        ),
        "records without the key": _post({"dataframe_records": [{CANARY: CANARY}]}, 422, path="/invocations"),
        "a form that MLflow has not": _post({CANARY: [CANARY]}, 422, path="/invocations"),
        "params of the wrong type": _post(
            {"instances": [CANARY], "params": CANARY}, 422, path="/invocations"
        ),
        "a body that is not Domino's": _post(
            {"data": {"sentence": CANARY, CANARY: 1}}, 422, path="/models/x/latest/model"
        ),
        "the path of Domino's": _post({"data": {}}, 422, path=f"/models/{CANARY}/latest/model"),
        "CSV without the column": _post(f"{CANARY}\n{CANARY}\n".encode(), 422, _CSV, "/invocations"),
        "CSV that does not parse": _post(f'text\n"{CANARY}\n'.encode(), 422, _CSV, "/invocations"),
        "CSV with rows too long": _post(f"text\na\n{CANARY},{CANARY}\n".encode(), 422, _CSV, "/invocations"),
        "CSV that is no UTF-8": _post(b"text\n" + CANARY.encode() + b"\xff\n", 422, _CSV, "/invocations"),
        "lines that are no JSON": _post(f'{CANARY}\n"{CANARY}\n'.encode(), 200, _LINES),
        "lines of another shape": _post(f'{{"{CANARY}": 1}}\n["{CANARY}"]\n'.encode(), 200, _LINES),
        "a line over which the model fails": _post(f'"{CANARY} FAILS"\n'.encode(), 200, _LINES),
        "another media type": _post(CANARY.encode(), 415, "text/plain"),
        "the media type": _post(texts, 415, f"text/{CANARY}"),
        "the parameters of the media type": _post(b"{", 400, f"application/json; charset={CANARY}"),
        "Content-Encoding": _post(texts, 415, headers={"Content-Encoding": CANARY}),
        "Host": _post(texts, 400, headers={"Host": f"{CANARY}.example.org"}),
        "X-Request-Id, and a blank": _post(b"{", 400, headers={"X-Request-Id": f"{CANARY} {CANARY}"}),
        "another header": _post(b"{", 400, headers={"X-Other": CANARY, CANARY: "1", "Cookie": CANARY}),
        "a wrong token": _post(texts, 401, headers={"Authorization": f"Bearer {CANARY}"}),
        "a wrong password": _post(
            texts,
            401,
            headers={"Authorization": "Basic " + base64.b64encode(f"x:{CANARY}".encode()).decode()},
        ),
        "an unknown path": _post(texts, 404, path=f"/{CANARY}/{CANARY}"),
        "the query": _post(b"{", 400, path=f"/v1/sentiment?{CANARY}={CANARY}"),
        "a file of the docs": _get(f"/docs/files/{CANARY}", 404),
        "a path out of the docs": _get(f"/docs/files/../{CANARY}", 404),
        "a page's query": _get(f"/docs?{CANARY}", 200),
        "the query of /metrics": _get(f"/metrics?{CANARY}={CANARY}", 200),
        "a method that the path has not": _ask("PUT", "/v1/sentiment", 405, CANARY.encode(), {}),
        "a method that nobody has": _ask(CANARY.upper(), "/v1/sentiment", 405, b"", {}),
        "what is no HTTP": (f"{CANARY}\r\n{CANARY}: {CANARY}\r\n\r\n".encode(), 400),
        "a header that is too long": _get("/version", 400, {"X-Long": CANARY * 50_000}),
    }


@pytest.fixture(scope="module")
def stub(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save a model that fails over FAILS, with the text in its message, and sleeps over SLEEPS."""
    return save_stub_model(tmp_path_factory.mktemp("stub"), _CODE)


@pytest.fixture(scope="module")
def server(model: TinyModel, stub: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _serve(model, stub, tmp_path_factory.mktemp("server")) as server:
        yield server


def _serve(model: TinyModel, stub: str, folder: Path, **options: Any) -> Server:
    return start_server(
        model.tracking_uri,
        folder,
        TOKEN,
        model_uri=stub,
        allow_unverified=True,
        reload_seconds=0,
        request_seconds=1,
        max_wait_seconds=0.02,
        **options,
    )


@pytest.mark.quick
@pytest.mark.parametrize("name", _list_requests())
def test_the_canary_in_a_request_is_seen_nowhere(name: str, server: Server) -> None:
    request, status = _list_requests()[name]
    answer = _send(server, request)
    assert answer.status == status, answer.raw[:500]
    _check_unseen(server, answer)


@pytest.mark.quick
def test_the_canary_over_which_the_model_fails_is_seen_nowhere(server: Server) -> None:
    request, status = _post({"texts": [f"{CANARY} FAILS {i}" for i in range(30)]}, 500)
    answer = _send(server, request)
    assert answer.status == status, answer.raw[:500]
    assert b"application/problem+json" in answer.raw, answer.raw[:500]
    server.wait_for_event("failed", 5, error="ModelError")
    _check_unseen(server, answer)
    request, status = _post({"texts": [f"{CANARY} FAILS", "great"]}, 200)
    answer = _send(server, request)
    assert b"model_failed" in answer.raw
    _check_unseen(server, answer)


def test_the_canary_that_waits_past_its_deadline_is_seen_nowhere(server: Server) -> None:
    answer = _send(server, _post({"texts": [f"{CANARY} SLEEPS"]}, 504)[0])
    assert answer.status == 504, answer.raw[:500]
    _check_unseen(server, answer)
    time.sleep(2)  # what sleeps holds a thread


def test_the_canary_that_is_refused_in_an_overload_is_seen_nowhere(server: Server) -> None:
    request = _post({"texts": [f"{CANARY} SLEEPS {'on ' * 200}"] * 60}, 504)[0]
    sleepers = [threading.Thread(target=_send, args=(server, request)) for _ in range(4)]
    for sleeper in sleepers:
        sleeper.start()
        time.sleep(0.05)
    answer = _send(server, _post({"texts": [CANARY * 40]}, 429)[0])
    for sleeper in sleepers:
        sleeper.join()
    assert answer.status == 429, answer.raw[:500]
    _check_unseen(server, answer)
    time.sleep(2)


def test_the_canary_of_a_caller_who_hangs_up_is_seen_nowhere(server: Server) -> None:
    request, _ = _post({"texts": [f"{CANARY} SLEEPS"]}, 200)
    for part in (request, request[: len(request) - 5]):
        with socket.create_connection((HOST, server.port)) as found:
            found.sendall(part)
            time.sleep(0.3)
    server.wait_for_event("request", 10, problem="client_gone")
    _check_unseen(server)


def test_the_canary_in_a_file_that_score_py_cannot_read_is_seen_nowhere(
    model: TinyModel, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.txt"
    path.write_bytes(CANARY.encode() + b"\xff\n")
    _check_program([sys.executable, "score.py", "--eval_path", str(path)], exit_code=3)


def test_the_canary_over_which_predict_sentiment_fails_is_seen_nowhere(stub: str) -> None:
    code = f"""
import sys, decimal
import score
class Odd:
    def __str__(self): return {CANARY!r}
    __repr__ = __str__
odd = [Odd(), {CANARY!r}.encode(), {{ {CANARY!r}: 1 }}, float("nan"), decimal.Decimal(1)]
found = score.predict_sentiment(odd)
assert all(one["reject_reason"] for one in found), found
assert score.predict_sentiment(Odd())["label"] is None
try:
    print(score.predict_sentiment([{CANARY!r} + " FAILS"] * 30))
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(7)
"""
    environment = {"SENTIMENT_MODEL_URI": stub, "SENTIMENT_ALLOW_UNVERIFIED": "1"}
    _check_program([sys.executable, "-c", code], exit_code=7, environment=environment)


def test_the_canary_with_debug_is_seen_nowhere(model: TinyModel, stub: str, tmp_path: Path) -> None:
    """Send all requests to a service whose libraries log more."""
    requests = [request for request, _ in _list_requests().values()]
    requests.append(_post({"texts": [f"{CANARY} FAILS {i}" for i in range(30)]}, 500)[0])
    with _serve(model, stub, tmp_path, debug=True) as server:
        _check_unseen(server, *[_send(server, request) for request in requests])


def _check_program(command: list[str], exit_code: int, environment: Mapping[str, str] | None = None) -> None:
    found = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
    )
    assert found.returncode == exit_code, (found.returncode, found.stdout[-2000:], found.stderr[-2_000:])
    assert not _find_traces(found.stdout + found.stderr), found.stdout + found.stderr


def _check_unseen(server: Server, *answers: Answer) -> None:
    metrics = _send(server, _get("/metrics", 200)[0])
    assert metrics.status == 200
    for what, found in (
        ("the log", server.read_log()),
        ("/metrics", metrics.raw.decode("latin-1")),
        *(("the answer", answer.raw.decode("latin-1")) for answer in answers),
    ):
        traces = _find_traces(found)
        assert not traces, f"{what}: {[found[max(0, at - 200) : at + 100] for at in traces[:2]]}"


def _find_traces(found: str) -> list[int]:
    folded = found.lower()
    return [folded.find(trace.lower()) for trace in _TRACES if trace.lower() in folded]


def _send(server: Server, request: bytes) -> Answer:
    received = []
    with socket.create_connection((HOST, server.port), timeout=20) as found:
        with contextlib.suppress(ConnectionError):
            found.sendall(request)
        with contextlib.suppress(ConnectionError):
            while part := found.recv(65_536):
                received.append(part)
    return Answer(b"".join(received))
