"""Spans and metrics, received by OpenTelemetry's own exporters in memory."""

import sys

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sentiment.errors import ConfigError
from sentiment.process.telemetry import ENDPOINT_VARIABLE, Telemetry, make_telemetry, open_telemetry
from tests.factories import CANARY

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def received():
    """Yield a telemetry, and functions that list its spans and its metrics."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    telemetry = make_telemetry("tests", SimpleSpanProcessor(spans), reader)

    def list_metrics():
        resources = reader.get_metrics_data().resource_metrics
        return {m.name: m for r in resources for s in r.scope_metrics for m in s.metrics}

    yield telemetry, spans.get_finished_spans, list_metrics
    telemetry.close()


def test_an_error_is_recorded_by_its_class_and_not_by_its_words(received):
    telemetry, list_spans, _ = received
    with pytest.raises(ValueError, match=CANARY), telemetry.open_span("step", {"rows": 3}):
        raise ValueError(CANARY)
    [span] = list_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert (dict(span.attributes), span.events) == ({"rows": 3}, ())
    assert CANARY not in span.to_json()


def test_a_request_continues_the_trace_of_its_caller(received):
    telemetry, list_spans, _ = received
    with telemetry.open_span("request", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}):
        pass
    [span] = list_spans()
    assert (f"{span.context.trace_id:032x}", span.kind) == (TRACE, SpanKind.SERVER)


def test_instruments_are_of_the_service(received):
    telemetry, _, list_metrics = received
    telemetry.make_counter("rows", "{row}").add(2, {"label": "a"})
    telemetry.make_gauge("share", "1").set(0.5)
    telemetry.make_histogram("seconds", "s").record(3)
    assert {name: metric.unit for name, metric in list_metrics().items()} == {
        "rows": "{row}",
        "share": "1",
        "seconds": "s",
    }


def test_without_an_endpoint_nothing_is_sent_and_every_call_works():
    telemetry = open_telemetry("tests", {})
    assert telemetry == Telemetry("tests")
    with telemetry.open_span("step") as span:
        span.set_attributes({"rows": 3})
    telemetry.make_counter("rows", "{row}").add(1, {})
    telemetry.close()


def test_an_endpoint_without_the_packages_is_a_config_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"sentiment\[telemetry\]"):
        open_telemetry("tests", {ENDPOINT_VARIABLE: "http://127.0.0.1:4318"})
