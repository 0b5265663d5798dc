"""`python score.py --serve` as a process: started, asked, stopped; and `score.py` as a platform has it."""

import contextlib
import http.client
import http.server
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from sentiment.models import registry
from tests.e2e.conftest import run_python
from tests.factories import CANARY, ROOT, make_reviews
from tests.hostile import damage_version, register_copy
from tests.servers import start_server


@contextlib.contextmanager
def serve(tracking_uri, folder, **options):
    """Serve until the block ends, and check that each line of the log is JSON."""
    with start_server(tracking_uri, folder, **options) as found:
        yield found
    for line in found.read_log().splitlines():
        assert json.loads(line)["event"]


def check_equal(found, expected):
    """Equal but for the last digits of a score, which a mini-batch's company may change."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert {**one, "score": 0} == {**other, "score": 0}
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)


def wait_for(found, seconds=20):
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def served(tiny_model, tmp_path_factory):
    with serve(tiny_model.tracking_uri, tmp_path_factory.mktemp("served"), reload_seconds=0) as found:
        yield found


def test_it_answers_what_predict_sentiment_answers(served, use_tiny_model):
    import score

    score._load_champion.cache_clear()
    texts = [*make_reviews(200)["text"], None, "", "lone \ud800 surrogate", 7]
    status, found = served.ask("/v1/sentiment", {"texts": texts})
    assert status == 200
    expected = score.predict_sentiment(texts)
    check_equal(found["predictions"], expected)
    assert {p["reject_reason"] for p in expected} == {
        *(None, "null_text", "blank_text", "undecodable_text", "not_text"),
    }


def test_callers_at_once_get_the_answers_they_get_alone(served):
    texts = make_reviews(48)["text"].tolist()
    alone = [served.ask("/v1/sentiment", {"texts": [text]})[1]["predictions"] for text in texts]
    together = [None] * len(texts)

    def ask(i):
        together[i] = served.ask("/v1/sentiment", {"texts": [texts[i]]})[1]["predictions"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, predictions in enumerate(alone):
        check_equal(together[i], predictions)


def test_mlflows_own_server_answers_the_same(served, use_tiny_model):
    from mlflow.pyfunc import load_model
    from mlflow.pyfunc.scoring_server import init
    from starlette.testclient import TestClient

    theirs = TestClient(init(load_model(use_tiny_model.uri)))
    for body in (
        {"dataframe_split": {"columns": ["text"], "data": [["great phone"], [None], ["awful"]]}},
        {"dataframe_records": [{"text": "great phone"}, {"text": None}]},
        {"inputs": ["great phone", "awful"]},
        {"inputs": {"text": ["great phone", "awful"]}},
        {"instances": ["great phone", "awful"]},
    ):
        expected = theirs.post("/invocations", json=body).json()
        assert served.ask("/invocations", body) == (200, expected)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_answer_http_1_0_without_host(served, path):
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"


@pytest.mark.reliability
def test_spans_and_metrics_reach_the_collector_before_the_process_ends(tiny_model, tmp_path, monkeypatch):
    received = {}

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received[self.path] = received.get(self.path, b"") + body
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    try:
        with serve(tiny_model.tracking_uri, tmp_path, reload_seconds=0) as served:
            assert served.ask("/v1/sentiment", {"texts": [f"great {CANARY}", None]})[0] == 200
    finally:
        collector.shutdown()
        collector.server_close()
    assert b"POST /v1/sentiment" in received["/v1/traces"]
    assert b"http.server.request.duration" in received["/v1/metrics"]
    assert b"sentiment.predictions" in received["/v1/metrics"]
    assert CANARY.encode() not in b"".join(received.values())


def test_it_needs_neither_torch_nor_spark(served):
    maps = Path(f"/proc/{served.process.pid}/maps").read_text()
    assert "/torch/" not in maps
    assert "openvino" in maps


def test_told_to_stop_it_ends_what_runs_and_says_that_it_is_not_ready(tiny_model, tmp_path):
    with serve(tiny_model.tracking_uri, tmp_path, reload_seconds=0) as served:
        answers = []

        def ask():
            answers.append(served.ask("/v1/sentiment", {"texts": [f"great {i} " * 200 for i in range(200)]}))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: thread.is_alive() and served.process.poll() is None)
        time.sleep(0.05)
        served.process.send_signal(signal.SIGTERM)
        thread.join(30)
        assert answers[0][0] == 200
        assert len(answers[0][1]["predictions"]) == 200
        assert served.process.wait(30) in (0, -signal.SIGTERM)
        assert served.list_events("draining")


def test_a_client_that_goes_takes_its_texts_along(served):
    address = served.url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=10)
    body = json.dumps({"texts": [f"{CANARY} {i} " * 300 for i in range(250)]})
    connection.request("POST", "/v1/sentiment", body, {"content-type": "application/json"})
    time.sleep(0.05)
    connection.close()
    wait_for(lambda: any(line["problem"] == "client_gone" for line in served.list_events("request")))
    assert CANARY not in served.read_log()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--host", "0.0.0.0"), 2, "without tokens"),
        (("--tokens_file", "/nowhere"), 2, "cannot read"),
        (("--rate_limit", "often"), 2, "rate_limit"),
        (("--max_texts", "0"), 2, "max_texts"),
        (("--model_uri", "models:/nobody@champion"), 4, "no model at"),
    ],
)
def test_what_it_cannot_start_with_is_one_line_and_a_code(tiny_model, arguments, code, words):
    command = ("score.py", "--serve", "--port", "0", *arguments)
    ended = run_python(*command, MLFLOW_TRACKING_URI=tiny_model.tracking_uri)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr
    assert ended.stdout == ""


def test_a_port_that_is_taken_is_said(served, tiny_model):
    command = ("score.py", "--serve", "--port", served.port)
    ended = run_python(*command, MLFLOW_TRACKING_URI=tiny_model.tracking_uri)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "cannot listen" in ended.stderr


HARNESS = """
# What Domino's harness does: import the file once from somewhere else, call the function for each request.
import importlib.util, json, sys, time
spec = importlib.util.spec_from_file_location("model_api", sys.argv[1])
module = importlib.util.module_from_spec(spec)
started = time.monotonic()
spec.loader.exec_module(module)
imported = time.monotonic() - started
warming = module.warm_up()
function = module.predict_sentiment
warming.join()
results, seconds = [], []
for line in sys.stdin:
    body = json.loads(line)
    started = time.monotonic()
    result = function(**body["data"]) if "data" in body else function(*body["parameters"])
    seconds.append(time.monotonic() - started)
    json.dumps(result)
    results.append(result)
heavy = sorted({"torch", "transformers", "datasets"} & set(sys.modules))
print(json.dumps({"results": results, "imported": imported, "seconds": seconds, "heavy": heavy}))
"""


def test_as_a_domino_model_api_it_is_imported_once_and_called_for_each_request(tiny_model, tmp_path):
    bodies = [
        {"data": {"sentence": "great phone"}},
        {"parameters": ["great phone"]},
        {"data": {"sentence": ["great phone", None, ""]}},
        {"parameters": [[]]},
    ]
    # No variables of a project, another folder, no network: the place of the model is all it is given.
    ended = subprocess.run(
        [sys.executable, "-c", HARNESS, str(ROOT / "score.py")],
        input="\n".join(json.dumps(body) for body in bodies),
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "MLFLOW_TRACKING_URI": tiny_model.tracking_uri,
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    one, positional, several, none = found["results"]
    assert one == positional == several[0]
    assert {"label", "score"} <= one.keys()
    assert [p["reject_reason"] for p in several] == [None, "null_text", "blank_text"]
    assert none == []
    assert found["heavy"] == []
    assert max(found["seconds"]) < 2


def test_predictions_are_captured_where_dominos_client_is_without_their_text(tiny_model, tmp_path):
    package = tmp_path / "domino_data_capture"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "data_capture_client.py").write_text(
        "import json, os\n"
        "class DataCaptureClient:\n"
        "    def __init__(self, feature_names, predict_names, metadata_names=None):\n"
        "        self.names = [feature_names, predict_names, metadata_names]\n"
        "    def capturePrediction(self, feature_values, prediction_values, metadata_values=None,\n"
        "                          event_id=None, timestamp=None, prediction_probability=None,\n"
        "                          sample_weight=None):\n"
        "        values = [feature_values, prediction_values, metadata_values]\n"
        "        pairs = [dict(zip(*both, strict=True)) for both in zip(self.names, values)]\n"
        "        with open(os.environ['CAPTURED'], 'a') as file:\n"
        "            print(json.dumps([pairs, event_id, timestamp]), file=file)\n"
    )
    code = f"import json, score; print(json.dumps(score.predict_sentiment(['great {CANARY}', None])))"
    ended = run_python(
        *("-c", code),
        MLFLOW_TRACKING_URI=tiny_model.tracking_uri,
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
        CAPTURED=str(tmp_path / "captured"),
    )
    assert ended.returncode == 0, ended.stderr
    answered = json.loads(ended.stdout)
    (line,) = (tmp_path / "captured").read_text().splitlines()
    (features, predictions, metadata), event_id, timestamp = json.loads(line)
    assert set(features) == {"chars", "n_tokens", "truncated", "score"}
    assert features["chars"] == len(f"great {CANARY}")
    assert predictions == {"label": answered[0]["label"]}
    assert set(metadata) == {"stage", "unsure"}
    assert datetime.fromisoformat(timestamp).utcoffset() == timedelta(0)
    # The caller can report the right label later, by the id that was captured.
    assert [prediction["event_id"] for prediction in answered] == [event_id, None]
    assert CANARY not in line


def test_real_reviews_are_answered_as_the_model_answers_them(served, shared_data, use_tiny_model):
    import score

    score._load_champion.cache_clear()
    texts = pd.read_parquet(next(iter(sorted(shared_data.glob("*.parquet"))))).iloc[:200]
    column = next(name for name in ("text", "content", "review") if name in texts.columns)
    values = texts[column].tolist()
    status, found = served.ask("/v1/sentiment", {"texts": values})
    assert status == 200
    check_equal(found["predictions"], score.predict_sentiment(values))


def test_importing_score_loads_nothing_of_a_model():
    spec = importlib.util.spec_from_file_location("score_again", ROOT / "score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module._load_champion.cache_info().currsize == 0


def test_the_requests_of_readme_and_guide_work_as_printed(served):
    pages = [ROOT / "README.md", ROOT / "docs" / "serving.md"]
    lines = [line for page in pages for line in page.read_text().splitlines() if "localhost:8080" in line]
    commands = [line for line in lines if line.startswith(("curl", "printf"))]
    assert len(commands) == 6
    for command in commands:
        command = command.replace("localhost:8080", served.url).replace("curl -s", "curl -sf")
        ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, command
        for line in ended.stdout.splitlines():
            assert "error" not in json.loads(line)
        assert '"label"' in ended.stdout


def test_a_champion_changed_under_load_fails_no_request(tiny_model, use_tiny_model, tmp_path):
    """Eight callers go on asking while a second version takes over, and a damaged third one is refused."""
    uris = [register_copy(tiny_model.uri, tmp_path / str(n), "changing") for n in (1, 2, 3)]
    registry.set_alias("changing", "champion", "1")
    damage_version(uris[2], "changed_byte", tmp_path / "canary")
    text = make_reviews(1)["text"].tolist()
    options = {"model_uri": "models:/changing@champion", "reload_seconds": 0.1}
    with serve(tiny_model.tracking_uri, tmp_path / "server", **options) as served:
        answers, is_over = [], threading.Event()

        def ask():
            while not is_over.is_set():
                answers.append(served.ask("/v1/sentiment", {"texts": text}))

        callers = [threading.Thread(target=ask) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_for(lambda: len(answers) > 40)
        registry.set_alias("changing", "champion", "2")
        wait_for(lambda: answers[-1][1].get("model_version") == "2", 60)
        registry.set_alias("changing", "champion", "3")
        wait_for(lambda: served.list_events("champion_refused"), 60)
        seen = len(answers)
        wait_for(lambda: len(answers) > seen + 40)
        is_over.set()
        for caller in callers:
            caller.join()
    assert {status for status, _ in answers} == {200}
    assert [found["model_version"] for _, found in answers[-8:]] == ["2"] * 8
    assert {found["model_version"] for _, found in answers} == {"1", "2"}
    for _, found in answers:
        check_equal(found["predictions"], answers[0][1]["predictions"])
