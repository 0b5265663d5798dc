"""The service over HTTP: what callers send, what they get, and what they are refused."""

import base64
import json
import logging
import threading
import time

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sentiment import schema
from sentiment.config import ServeConfig
from sentiment.errors import ConfigError, ModelLoadError
from sentiment.models import registry
from sentiment.process.telemetry import make_telemetry
from sentiment.serving.champion import Champion
from sentiment.serving.logs import LOGGER
from sentiment.serving.problems import KINDS
from sentiment.serving.server import _make_loader
from tests.factories import CANARY, TOKEN

from .conftest import WordModel, make_served_model

GOOD = {
    "label": "positive",
    "score": 0.75,
    "unsure": False,
    "n_tokens": 4,
    "truncated": False,
    "stage": "encoder",
    "reject_reason": None,
}


def post(client, texts, **more):
    return client.post("/v1/sentiment", json={"texts": texts, **more})


def stream(client, *lines):
    body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    headers = {"content-type": "application/x-ndjson"}
    answer = client.post("/v1/sentiment", content=body.encode(), headers=headers)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


# What callers get.


def test_each_text_has_its_prediction_in_order_and_each_reject_its_reason(start_service):
    answer = post(start_service(), ["good phone", "awful", None, 7, ["good"], ""])
    found = answer.json()
    assert answer.status_code == 200
    assert found["predictions"][0] == GOOD
    assert [p["label"] for p in found["predictions"]] == [
        "positive",
        "negative",
        None,
        None,
        None,
        "negative",
    ]
    assert [p["reject_reason"] for p in found["predictions"][2:5]] == ["null_text", "not_text", "not_text"]
    assert found["model_version"] == answer.headers["x-model-version"] == "7"
    assert found["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("stage", schema.STAGES)
def test_each_stage_of_a_model_can_be_answered(start_service, stage):
    class Model(WordModel):
        def predict_one(self, text):
            label, score, unsure, n_tokens, truncated, _, reason = super().predict_one(text)
            return (label, score, unsure, n_tokens, truncated, stage, reason)

    found = post(start_service(model=Model()), ["good phone"])
    assert (found.status_code, found.json()["predictions"][0]["stage"]) == (200, stage)


def test_top_k_adds_the_labels_best_first(start_service):
    client = start_service()
    both = post(client, ["good", None], top_k=2).json()["predictions"]
    assert both[0]["scores"] == [{"label": "positive", "score": 0.75}, {"label": "negative", "score": 0.25}]
    assert both[1]["scores"] == []
    assert len(post(client, ["good"], top_k=1).json()["predictions"][0]["scores"]) == 1


def test_explain_weighs_each_word_by_what_the_label_loses_without_it(start_service):
    found = post(start_service(), ["a good phone"], explain=True).json()["predictions"][0]["explanation"]
    assert found["method"] == "occlusion"
    assert [(w["word"], w["start"], w["end"]) for w in found["words"]] == [
        ("a", 0, 1),
        ("good", 2, 6),
        ("phone", 7, 12),
    ]
    assert [w["weight"] for w in found["words"]] == pytest.approx([0, 0.5, 0])


def test_a_reject_has_no_explanation(start_service):
    assert post(start_service(), [None], explain=True).json()["predictions"][0]["explanation"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["id", "text"], "data": [[1, "good phone"], [2, None], [3]]}},
        {"dataframe_records": [{"text": "good phone", "id": 1}, {"text": None}, {"text": None}]},
        {"instances": ["good phone", None, None]},
        {"instances": [{"text": "good phone"}, {"text": None}, None]},
        {"inputs": ["good phone", None, None]},
        {"inputs": {"text": ["good phone", None, None]}, "params": {}},
    ],
)
def test_invocations_reads_each_of_mlflows_forms(start_service, body):
    found = start_service().post("/invocations", json=body).json()["predictions"]
    assert found[0] == GOOD
    assert [p["reject_reason"] for p in found] == [None, "null_text", "null_text"]


def test_invocations_reads_csv_and_takes_only_an_empty_field_for_null(start_service):
    body = 'id,text\n1,"good, phone"\n2,\n3,NA\n'
    answer = start_service().post(
        "/invocations", content=body, headers={"content-type": "text/csv; charset=utf-8"}
    )
    assert [p["label"] for p in answer.json()["predictions"]] == ["positive", None, "negative"]


@pytest.mark.parametrize("header", ["text", "id,text", "\ntext"])
def test_a_blank_line_of_csv_keeps_its_place(start_service, header):
    line = "good phone" if header.strip() == "text" else "1,good phone"
    body = f"{header}\n{line}\n\n{line}\n\n"
    answer = start_service().post("/invocations", content=body, headers={"content-type": "text/csv"})
    reasons = [p["reject_reason"] for p in answer.json()["predictions"]]
    assert reasons == [None, "null_text", None, "null_text"]


@pytest.mark.parametrize("body", [{"data": {"sentence": "good phone"}}, {"parameters": ["good phone"]}])
def test_dominos_bodies_have_dominos_answer(start_service, body):
    answer = start_service().post("/models/5f/latest/model", json=body)
    found = answer.json()
    assert found["result"] == GOOD
    assert found["release"] == {
        "model_version": "7",
        "harness_version": "0.1",
        "model_version_number": 7,
        "registered_model_name": "sentiment",
        "registered_model_version": "7",
    }
    assert found["request_id"]
    assert found["timing"] > 0
    assert isinstance(found["model_time_in_ms"], int)


def test_a_list_of_sentences_has_a_list_of_results(start_service):
    body = {"data": {"sentence": ["good phone", None]}}
    found = start_service().post("/models/5f/latest/model", json=body).json()["result"]
    assert [p["label"] for p in found] == ["positive", None]


def test_lines_are_answered_by_lines_in_order(start_service):
    lines = [{"text": f"good {i}" if i % 2 else f"bad {i}", "id": i} for i in range(300)]
    found = stream(start_service(), *lines)
    assert [line["id"] for line in found] == list(range(300))
    assert all((line["label"] == "positive") == bool(line["id"] % 2) for line in found)


def test_a_line_that_cannot_be_read_is_said_to_be_and_the_rest_goes_on(start_service):
    client = start_service(max_body_bytes=200)
    lines = ["nonsense", '"good"', "", "null", '{"texts": []}', '"' + "x" * 300 + '"', "[" * 5000, '"good"']
    found = stream(client, *lines)
    codes = [line.get("error") or line["label"] or line["reject_reason"] for line in found]
    assert codes == ["malformed", "positive", "null_text", "invalid", "too_large", "too_large", "positive"]


def test_a_text_longer_than_the_limit_is_the_reject_that_it_is_in_the_table(start_service, use_tiny_model):
    champion = Champion(
        use_tiny_model.uri, _make_loader(ServeConfig(max_text_chars=10)), registry.find_version
    )
    champion.start()
    found = post(start_service(champion=champion), ["good", "good " * 3]).json()["predictions"]
    assert [p["reject_reason"] for p in found] == [None, schema.TOO_LONG_TEXT]


def test_a_text_that_breaks_the_model_is_a_reject_and_its_neighbours_are_scored(start_service):
    found = post(start_service(), ["good", "breaks", "bad"]).json()["predictions"]
    assert [p["label"] for p in found] == ["positive", None, "negative"]
    assert found[1]["reject_reason"] == schema.MODEL_FAILED


def test_probes_version_metrics_and_docs(start_service):
    client = start_service()
    assert client.get("/ping").json() == client.get("/health").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    version = client.get("/version").json()
    assert (version["model_version"], version["engine"]) == ("7", "int8")
    assert version["instruction_set"] == "avx512_vnni"
    post(client, ["good", None])
    page = client.get("/metrics").text
    for line in (
        'sentiment_requests_total{code="200",route="/v1/sentiment"} 1.0',
        'sentiment_rejects_total{reason="null_text"} 1.0',
        'sentiment_predictions_total{label="positive",stage="encoder"} 1.0',
        'sentiment_model_info{engine="int8",instruction_set="avx512_vnni",version="7"} 1.0',
        "sentiment_minibatch_texts_count 1.0",
        "sentiment_queue_texts 0.0",
    ):
        assert line in page
    docs = client.get("/docs")
    assert "docs/start.js" in docs.text
    assert "unsafe-inline" not in docs.headers["content-security-policy"].partition("style-src")[0]
    for name in ("start.js", "files/swagger-ui-bundle.js", "files/swagger-ui.css"):
        assert client.get(f"/docs/{name}").status_code == 200


def test_the_examples_of_the_docs_run(start_service):
    client = start_service()
    paths = client.get("/openapi.json").json()["paths"]
    n_run = 0
    for path, operations in paths.items():
        for media_type, content in (
            operations.get("post", {}).get("requestBody", {}).get("content", {}).items()
        ):
            example = content["example"]
            body = example if isinstance(example, str) else json.dumps(example)
            url = path.replace("{model_id}", "5f")
            answer = client.post(url, content=body.encode(), headers={"content-type": media_type})
            assert answer.status_code == 200, (path, media_type, answer.text)
            n_run += 1
    assert n_run == 5


def test_answers_carry_security_headers(start_service):
    client = start_service()
    for answer in (
        post(client, ["good"]),
        client.get("/nothing"),
        client.post("/v1/sentiment", content=b"{"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


# What they are refused.


def refuse(answer, status, code):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    found = answer.json()
    assert (found["status"], found["code"]) == (status, code)
    assert found["request_id"] == answer.headers["x-request-id"]
    assert CANARY not in answer.text
    return found


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ""),
        ([CANARY], ""),
        ({"texts": CANARY}, "texts"),
        ({"texts": [CANARY], CANARY: 1}, ""),
        ({"texts": [CANARY], "top_k": 0}, "top_k"),
        ({"texts": [CANARY], "top_k": True}, "top_k"),
        ({"texts": [CANARY], "explain": 1}, "explain"),
        ({"texts": [CANARY, CANARY], "explain": True}, "texts"),
        ({"texts": [CANARY] * 5}, "texts"),
    ],
)
def test_a_body_of_another_shape_is_invalid_and_says_where(start_service, body, where):
    found = refuse(start_service(max_texts=4).post("/v1/sentiment", json=body), 422, "invalid")
    assert any(where in error["where"] for error in found["errors"])


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [CANARY], "inputs": []},
        {"dataframe_split": {"columns": ["other"], "data": [[CANARY]]}},
        {"dataframe_records": [{"other": CANARY}]},
        {"inputs": {"other": CANARY}},
        CANARY,
    ],
)
def test_invocations_of_another_shape_are_invalid(start_service, body):
    refuse(start_service().post("/invocations", json=body), 422, "invalid")


@pytest.mark.parametrize(
    "body",
    [
        "other\n" + CANARY,
        "",
        'text\n"' + CANARY,
        "text\n" + CANARY + "\n1,2,3\n",
        f"text\ngood phone, {CANARY}\nbad, {CANARY}\n",
    ],
)
def test_csv_without_texts_is_invalid(start_service, body):
    answer = start_service().post("/invocations", content=body, headers={"content-type": "text/csv"})
    refuse(answer, 422, "invalid")


@pytest.mark.parametrize("path", ["/v1/sentiment", "/invocations", "/models/5f/latest/model"])
@pytest.mark.parametrize(
    "body", [b"{", b'"\xff"', b"1" * 5000, b'{"texts": ["' + CANARY.encode(), b"\xef\xbb\xbf{}"]
)
def test_a_body_that_is_no_json_is_malformed(start_service, path, body):
    answer = start_service().post(path, content=body, headers={"content-type": "application/json"})
    refuse(answer, 400, "malformed")


@pytest.mark.parametrize(
    "body", [b"[" * 10_000, b'{"texts": ' + b"[" * 40 + b"]" * 40 + b"}", b'{"a":' * 10_000]
)
def test_deep_json_is_refused_before_it_is_read(start_service, body):
    answer = start_service().post("/v1/sentiment", content=body, headers={"content-type": "application/json"})
    refuse(answer, 400, "too_deep")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_python_alone_takes_for_json_is_malformed(start_service, value):
    client = start_service()
    headers = {"content-type": "application/json"}
    body = f'{{"texts": [{value}]}}'
    refuse(client.post("/v1/sentiment", content=body, headers=headers), 400, "malformed")
    assert stream(client, f'{{"text": null, "id": {value}}}') == [{"error": "malformed"}]


def test_a_line_may_be_no_deeper_than_a_body(start_service):
    nested = "[" * 900 + "]" * 900
    lines = stream(start_service(), f'{{"text": null, "id": {nested}}}', '"good"')
    assert lines[0] == {"error": "too_deep"}
    assert lines[1]["label"] == "positive"


def test_a_second_media_type_does_not_lift_the_limits(start_service):
    client = start_service(max_body_bytes=1_000)
    for kinds in (("application/json", "application/x-ndjson"), ("application/json", "text/plain")):
        headers = [("content-type", kind) for kind in kinds]
        refuse(client.post("/v1/sentiment", content=b" " * 2_000, headers=headers), 413, "too_large")


def test_an_unknown_key_is_not_said_back(start_service):
    found = refuse(start_service().post("/v1/sentiment", json={"texts": [], "Canary": 1}), 422, "invalid")
    assert "Canary" not in json.dumps(found)


def test_thousands_of_mistakes_are_not_listed(start_service):
    body = {f"k{i}": 1 for i in range(5_000)}
    found = refuse(start_service().post("/v1/sentiment", json=body), 422, "invalid")
    assert found["errors"] == [{"where": "", "what": "more than 1000 mistakes"}]


def test_a_whole_number_with_a_point_is_an_integer_as_the_schema_has_it(start_service):
    client = start_service()
    headers = {"content-type": "application/json"}
    body = '{"texts": ["good"], "top_k": 2.0}'
    answer = client.post("/v1/sentiment", content=body, headers=headers)
    assert len(answer.json()["predictions"][0]["scores"]) == 2
    refuse(client.post("/v1/sentiment", content=body.replace("2.0", "1.5"), headers=headers), 422, "invalid")


def test_a_csv_of_a_hundred_thousand_columns_is_read(start_service):
    client = start_service()
    body = "text" + "," * 100_000 + "\ngood\n"
    answer = client.post("/invocations", content=body, headers={"content-type": "text/csv"})
    assert [p["label"] for p in answer.json()["predictions"]] == ["positive"]


def test_a_method_that_nobody_has_is_not_logged(start_service, caplog):
    with caplog.at_level(logging.INFO, LOGGER):
        refuse(start_service().request("CANARY", "/v1/sentiment"), 405, "method_not_allowed")
    [line] = [record.fields for record in caplog.records if record.msg == "request"]
    assert "CANARY" not in json.dumps(line)


def test_brackets_in_a_text_are_not_nesting(start_service):
    assert post(start_service(), ["[" * 500 + '"\\"' + "{" * 500]).status_code == 200


@pytest.mark.parametrize("headers", [{"content-type": "text/plain"}, {"content-type": ""}, {}])
def test_another_media_type_is_refused(start_service, headers):
    refuse(
        start_service().post("/v1/sentiment", content=b"{}", headers=headers), 415, "unsupported_media_type"
    )


def test_an_encoded_body_is_refused(start_service):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refuse(start_service().post("/v1/sentiment", content=b"{}", headers=headers), 415, "unsupported_encoding")


def test_a_large_body_is_refused_stated_or_in_chunks(start_service):
    client = start_service(max_body_bytes=1_000)
    headers = {"content-type": "application/json"}
    refuse(client.post("/v1/sentiment", content=b"x" * 1_001, headers=headers), 413, "too_large")
    chunks = (b"x" * 100 for _ in range(20))
    refuse(client.post("/v1/sentiment", content=chunks, headers=headers), 413, "too_large")


def test_no_such_path_and_no_such_method(start_service):
    client = start_service()
    refuse(client.get(f"/{CANARY}"), 404, "not_found")
    answer = client.get("/v1/sentiment")
    refuse(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_a_host_that_is_not_ours_is_refused_on_loopback(start_service):
    client = start_service(allowed_hosts="scores.example.org")
    refuse(client.get("/version", headers={"host": "evil.example.org"}), 400, "wrong_host")
    for host in ("localhost:8080", "127.0.0.1", "scores.example.org", "[::1]:80"):
        assert client.get("/version", headers={"host": host}).status_code == 200


def test_a_span_says_what_the_log_says_and_no_text(start_service):
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    client = start_service(telemetry=make_telemetry("tests", SimpleSpanProcessor(spans), reader))
    post(client, ["good", CANARY, None])
    refuse(client.get(f"/{CANARY}"), 404, "not_found")
    scored, missing = spans.get_finished_spans()
    assert scored.name == "POST /v1/sentiment"
    assert scored.attributes["http.response.status_code"] == 200
    assert (scored.attributes["sentiment.texts"], scored.attributes["sentiment.model_version"]) == (3, "7")
    assert (missing.name, missing.attributes["sentiment.problem"]) == ("GET unrouted", "not_found")
    sent = reader.get_metrics_data().to_json()
    for name in ("http.server.request.duration", "sentiment.predictions", "sentiment.rejects"):
        assert name in sent
    assert CANARY not in sent + scored.to_json() + missing.to_json()


@pytest.mark.parametrize("path", ["/ping", "/health", "/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["10.42.0.17:8080", "", "evil.example.org"])
def test_probes_answer_whatever_the_host_is_called(start_service, path, host):
    client = start_service(allowed_hosts="scores.example.org")
    assert client.get(path, headers={"host": host}).status_code == 200
    # Metrics name labels, versions and counts, so they are no probe.
    refuse(client.get("/metrics", headers={"host": host}), 400, "wrong_host")


def test_a_deadline_is_a_504_and_leaves_nothing_waiting(start_service):
    model = WordModel(threading.Event())
    client = start_service(model, request_seconds=0.1)
    refuse(post(client, [CANARY]), 504, "deadline")
    model.gate.set()
    assert client.get("/metrics").text.count("sentiment_queue_texts 0.0") == 1


def test_who_would_wait_too_long_is_told_when_to_come_back(start_service):
    model = WordModel(threading.Event())
    client = start_service(model, max_wait_seconds=0.001)
    first = threading.Thread(target=post, args=(client, ["word " * 500] * 50))
    first.start()
    while not model.seen:
        time.sleep(0.01)
    answer = post(client, [CANARY])
    model.gate.set()
    first.join()
    refuse(answer, 429, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert post(client, ["good"]).status_code == 200


def test_a_token_may_ask_only_so_often(start_service):
    client = start_service(rate_limit="2/minute")
    assert [post(client, ["good"]).status_code for _ in range(3)] == [200, 200, 429]
    answer = post(client, [CANARY])
    refuse(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert client.get("/ping").status_code == 200


def test_a_service_that_stops_is_not_ready_and_lives(start_service):
    client = start_service()
    client.service.is_draining = True
    for answer in (client.get("/readyz"), post(client, [CANARY]), client.get("/version")):
        refuse(answer, 503, "not_ready")
        assert "retry-after" in answer.headers
    assert client.get("/health").status_code == 200


def test_a_model_that_fails_on_everything_is_a_500_without_its_words(start_service, caplog):
    with caplog.at_level(logging.INFO, LOGGER):
        answer = post(start_service(), ["breaks"] * 30 + [CANARY])
    refuse(answer, 500, "failed")
    assert CANARY not in caplog.text
    assert any(record.msg == "failed" and record.fields["error"] == "ModelError" for record in caplog.records)


# Tokens.


@pytest.fixture
def tokens_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n\napp:{TOKEN}\nother:another-token-of-many\n")
    path.chmod(0o600)
    return path


def basic(user, password):
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers",
    [
        bearer(TOKEN),
        bearer("another-token-of-many"),
        basic(TOKEN, TOKEN),
        {"authorization": f"bearer {TOKEN}"},
    ],
)
def test_a_token_opens(start_service, tokens_file, headers):
    client = start_service(tokens_file=str(tokens_file))
    assert client.post("/v1/sentiment", json={"texts": []}, headers=headers).status_code == 200
    assert client.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(CANARY),
        bearer(TOKEN[:-1]),
        basic("someone", TOKEN),
        basic(TOKEN, "wrong"),
        {"authorization": "Basic !!!"},
        {"authorization": TOKEN},
        {"authorization": "Digest x"},
    ],
)
@pytest.mark.parametrize("path", ["/version", "/metrics", "/docs", "/openapi.json", "/nothing"])
def test_nothing_else_does(start_service, tokens_file, headers, path):
    answer = start_service(environment={"SENTIMENT_TOKENS_FILE": str(tokens_file)}).get(path, headers=headers)
    refuse(answer, 401, "unauthorized")
    assert "Bearer" in answer.headers["www-authenticate"]


def test_probes_need_no_token(start_service, tokens_file):
    client = start_service(tokens_file=str(tokens_file))
    assert {client.get(path).status_code for path in ("/ping", "/health", "/readyz")} == {200}


def test_tokens_are_changed_without_a_restart_and_a_bad_file_changes_nothing(start_service, tokens_file):
    client = start_service(tokens_file=str(tokens_file))
    tokens_file.write_text("new:a-new-token-of-many-characters\n")
    assert client.get("/version", headers=bearer(TOKEN)).status_code == 401
    assert client.get("/version", headers=bearer("a-new-token-of-many-characters")).status_code == 200
    tokens_file.write_text("nonsense\n")
    assert client.get("/version", headers=bearer("a-new-token-of-many-characters")).status_code == 200


@pytest.mark.parametrize(
    ("content", "mode"),
    [("", 0o600), ("app:short", 0o600), ("no colon at all in this line", 0o600), (f"app:{TOKEN}", 0o644)],
)
def test_a_tokens_file_that_is_no_good_is_said_without_a_token(start_service, tmp_path, content, mode):
    path = tmp_path / "tokens"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        start_service(tokens_file=str(path))
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "scores.example.org"])
def test_beyond_loopback_a_token_is_demanded(start_service, tokens_file, host):
    with pytest.raises(ConfigError, match="without tokens"):
        start_service(host=host)
    start_service(host=host, insecure=True)
    start_service(host=host, tokens_file=str(tokens_file))


# What is logged.


def test_a_request_is_one_line_of_ids_lengths_and_codes(start_service, tokens_file, caplog):
    client = start_service(tokens_file=str(tokens_file))
    with caplog.at_level(logging.INFO, LOGGER):
        headers = bearer(TOKEN) | {"x-request-id": "mine-1"}
        client.post("/v1/sentiment", json={"texts": [CANARY, None]}, headers=headers)
        client.get(f"/{CANARY}?{CANARY}", headers=headers | {"x-request-id": f"{CANARY} {CANARY}"})
    fields = [record.fields for record in caplog.records if record.msg == "request"]
    assert len(fields) == 2
    told = {name: fields[0][name] for name in ("request_id", "route", "code", "texts", "chars", "token")}
    expected = {
        "request_id": "mine-1",
        "route": "/v1/sentiment",
        "code": 200,
        "texts": 2,
        "chars": len(CANARY),
    }
    assert told == expected | {"token": "app"}
    assert (fields[1]["route"], fields[1]["code"]) == ("unrouted", 404)
    assert CANARY not in json.dumps(fields)


# A new champion.


class Registry:
    """What an alias means, and whether its model can be loaded."""

    def __init__(self):
        self.version = "1"
        self.is_broken = False
        self.n_loads = 0
        self.model = None

    def load(self, uri):
        self.n_loads += 1
        if self.is_broken:
            raise ModelLoadError(f"cannot load: {CANARY}")
        return make_served_model(self.version, self.model)

    def make_champion(self):
        champion = Champion("models:/sentiment@champion", self.load, lambda uri: self.version)
        champion.start()
        return champion


def wait_for(found, seconds=10):
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_new_champion_is_served_without_a_restart(start_service):
    registry = Registry()
    client = start_service(champion=registry.make_champion(), reload_seconds=0.02)
    assert post(client, ["good"]).json()["model_version"] == "1"
    registry.version = "2"
    wait_for(lambda: post(client, ["good"]).json()["model_version"] == "2")
    assert (
        'sentiment_model_info{engine="int8",instruction_set="avx512_vnni",version="2"} 1.0'
        in client.get("/metrics").text
    )
    assert registry.n_loads == 2


class SmallModel(WordModel):
    budget_tokens = 64

    def row_cost(self, n_tokens):
        return -(-n_tokens // 8) * 8


def test_a_new_champion_says_how_large_minibatches_are_and_what_a_row_costs(start_service):
    registry = Registry()
    client = start_service(champion=registry.make_champion(), reload_seconds=0.02, streams=1)
    post(client, ["good"] * 40)
    registry.model, registry.version = SmallModel(), "2"
    wait_for(lambda: post(client, ["good"]).json()["model_version"] == "2")
    post(client, ["good"] * 40)
    assert [len(texts) for texts in registry.model.seen if texts != ["good"]] == [8] * 5


def test_a_broken_champion_leaves_the_old_one_serving_is_logged_and_not_loaded_again(start_service, caplog):
    registry = Registry()
    client = start_service(champion=registry.make_champion(), reload_seconds=0.02)
    registry.version, registry.is_broken = "2", True
    with caplog.at_level(logging.INFO, LOGGER):
        wait_for(lambda: 'reloads_total{outcome="refused"}' in client.get("/metrics").text)
        time.sleep(0.2)
    assert post(client, ["good"]).json()["model_version"] == "1"
    assert registry.n_loads == 2
    refused = [record.fields for record in caplog.records if record.msg == "champion_refused"]
    assert [(line["version"], line["error"]) for line in refused] == [("2", "ModelLoadError")]
    assert CANARY not in caplog.text
    registry.version, registry.is_broken = "3", False
    wait_for(lambda: post(client, ["good"]).json()["model_version"] == "3")


def test_every_problem_has_a_title_that_goes_with_its_status():
    titles = {}
    for kind in KINDS.values():
        assert titles.setdefault(kind.status, kind.title) == kind.title


class ModelOnFallback(WordModel):
    engine_warning = "engine f32 runs; refused: int8: 3 of 32 labels differ"


def test_an_engine_that_gave_way_is_logged_once_with_its_reason(start_service, caplog):
    with caplog.at_level(logging.INFO, LOGGER):
        start_service(ModelOnFallback())
    [record] = [record for record in caplog.records if record.msg == "engine_refused"]
    assert record.levelno == logging.WARNING
    assert record.fields["reason"] == ModelOnFallback.engine_warning
