"""S2: a text that must not be seen goes down every path that ends in an error, and is then looked for.

Looked for in the log, in the answer with its headers, on /metrics, on the consoles of the programs. The model
is a stub that fails, or sleeps, over a text that says so, with the text in its message.
"""

import base64
import contextlib
import json
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.parse
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.matrix import Case
from tests.servers import HOST, Server, make_environment

from .cells import TOKEN, World

CANARY = "Zanzibar-Quince-Canary"
_TRACES = (
    CANARY,
    CANARY.lower(),
    "Quince",
    base64.b64encode(CANARY.encode()).decode()[:20],
    urllib.parse.quote(CANARY),
)
_STUB = '''
"""Fails over FAILS and sleeps over SLEEPS."""
import time

import mlflow
import pandas as pd


class Stub(mlflow.pyfunc.PythonModel):
    engine = "none"
    budget_tokens = 512
    instruction_set = "avx512_vnni"
    engine_warning = None

    def row_cost(self, n_tokens):
        return n_tokens

    def predict(self, context, model_input, params=None):
        return pd.DataFrame(self.predict_columns(model_input["text"].tolist()))

    def predict_columns(self, texts):
        if any(isinstance(text, str) and "SLEEPS" in text for text in texts):
            time.sleep(2)
        for text in texts:
            if isinstance(text, str) and "FAILS" in text:
                raise ValueError("cannot read " + text)
        is_text = [isinstance(text, str) for text in texts]
        return {
            "label": ["positive" if found else None for found in is_text],
            "score": [0.75 if found else None for found in is_text],
            "n_tokens": [2 + len(str(text)) // 4 for text in texts],
            "truncated": [False for found in is_text],
            "stage": ["encoder" if found else None for found in is_text],
            "reject_reason": [None if found else "not_text" for found in is_text],
        }


mlflow.models.set_model(Stub())
'''
_CSV, _LINES, _JSON = "text/csv", "application/x-ndjson", "application/json"


class Answer:
    """All that came back, as it was sent."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.status = int(raw.split(b" ", 2)[1]) if raw.startswith(b"HTTP/") else 0


def list_cases() -> list[Case]:
    """S2: requests one by one, the paths that need a plight of the service, and programs."""
    requests = [
        Case(f"the canary in {name} is seen nowhere", _make_check(name), is_quick=True)
        for name in _list_requests()
    ]
    return [
        *requests,
        Case("the canary over which the model fails is seen nowhere", _check_failing_model, is_quick=True),
        Case("the canary that waits past its deadline is seen nowhere", _check_deadline),
        Case("the canary that is refused in an overload is seen nowhere", _check_overload),
        Case("the canary of a caller who hangs up is seen nowhere", _check_hanging_up),
        Case("the canary in a file that score.py cannot read is seen nowhere", _check_eval_path),
        Case("the canary over which predict_sentiment fails is seen nowhere", _check_function),
        Case("the canary with --debug is seen nowhere", _check_debug),
    ]


def _list_requests() -> dict[str, tuple[bytes, int]]:
    """Requests that hold the canary, and the status of their answers."""
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
        "a method that nobody has": _ask(CANARY.upper(), "/v1/sentiment", 400, b"", {}),
        "what is no HTTP": (f"{CANARY}\r\n{CANARY}: {CANARY}\r\n\r\n".encode(), 400),
        "a header that is too long": _get("/version", 400, {"X-Long": CANARY * 50_000}),
    }


def _make_check(name: str) -> Callable[[World, Path], None]:
    def check(world: World, folder: Path) -> None:
        request, status = _list_requests()[name]
        server = _serve(world)
        answer = _send(server, request)
        assert answer.status == status, answer.raw[:500]
        _check_unseen(server, answer)

    return check


def _check_failing_model(world: World, folder: Path) -> None:
    server = _serve(world)
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


def _check_deadline(world: World, folder: Path) -> None:
    server = _serve(world)
    answer = _send(server, _post({"texts": [f"{CANARY} SLEEPS"]}, 504)[0])
    assert answer.status == 504, answer.raw[:500]
    _check_unseen(server, answer)
    time.sleep(2)  # what sleeps holds a thread


def _check_overload(world: World, folder: Path) -> None:
    server = _serve(world)
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


def _check_hanging_up(world: World, folder: Path) -> None:
    server = _serve(world)
    request, _ = _post({"texts": [f"{CANARY} SLEEPS"]}, 200)
    for part in (request, request[: len(request) - 5]):
        with socket.create_connection((HOST, server.port)) as found:
            found.sendall(part)
            time.sleep(0.3)
    server.wait_for_event("request", 10, problem="client_gone")
    _check_unseen(server)


def _check_eval_path(world: World, folder: Path) -> None:
    path = folder / "reviews.txt"
    path.write_bytes(CANARY.encode() + b"\xff\n")
    _check_program([sys.executable, "score.py", "--eval_path", str(path)], world, exit_code=3)


def _check_function(world: World, folder: Path) -> None:
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
    environment = {"SENTIMENT_MODEL_URI": _make_stub(world), "SENTIMENT_ALLOW_UNVERIFIED": "1"}
    _check_program([sys.executable, "-c", code], world, exit_code=7, environment=environment)


def _check_debug(world: World, folder: Path) -> None:
    """The last one: libraries say more then."""
    server = _serve(world, debug=True)
    answers = []
    for request, _ in _list_requests().values():
        answers.append(_send(server, request))
    answers.append(_send(server, _post({"texts": [f"{CANARY} FAILS {i}" for i in range(30)]}, 500)[0]))
    _check_unseen(server, *answers)


def _check_program(
    command: list[str], world: World, exit_code: int, environment: Mapping[str, str] | None = None
) -> None:
    found = subprocess.run(
        command,
        cwd=ROOT,
        env={**make_environment(world.tracking_uri), **(environment or {})},
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


def _serve(world: World, **options: Any) -> Server:
    return world.serve(
        token=TOKEN,
        model_uri=_make_stub(world),
        allow_unverified=True,
        reload_seconds=0,
        request_seconds=1,
        max_wait_seconds=0.02,
        **options,
    )


def _make_stub(world: World) -> str:
    folder = world.folder / "stub"
    if "stub" not in world.kept:
        from sentiment import registry

        folder.mkdir(parents=True)
        (folder / "stub.py").write_text(textwrap.dedent(_STUB))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow would rather have type hints, which check every element
            registry.import_mlflow().pyfunc.save_model(
                folder / "model",
                python_model=str(folder / "stub.py"),
                pip_requirements=["pandas"],
                model_config={"engine": "none", "threads": 1, "device": "cpu", "cascade": "off"},
            )
        world.kept["stub"] = str(folder / "model")
    return str(world.kept["stub"])


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


def _send(server: Server, request: bytes) -> Answer:
    received = []
    with socket.create_connection((HOST, server.port), timeout=20) as found:
        with contextlib.suppress(ConnectionError):
            found.sendall(request)
        with contextlib.suppress(ConnectionError):
            while part := found.recv(65_536):
                received.append(part)
    return Answer(b"".join(received))
