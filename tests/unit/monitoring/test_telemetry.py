"""Spans and metrics are sent only if the environment says where to."""

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sentiment.errors import ConfigError
from sentiment.monitoring.steps import Steps
from sentiment.monitoring.telemetry import SERVICE, send_metrics
from sentiment.process.telemetry import make_telemetry, open_telemetry

ROW = {"night": "2026-03-30", "model_version": "3", "input_rows": 7, "alerts": 1, "estimated_accuracy": None}


@pytest.fixture
def sent():
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    telemetry = make_telemetry(SERVICE, SimpleSpanProcessor(spans), metrics)
    yield telemetry, spans, metrics
    telemetry.close()


def test_a_night_is_a_span_with_its_steps_inside(sent):
    telemetry, spans, _ = sent
    steps = Steps(print, open_span=telemetry.open_span)
    with telemetry.open_span("night", {"night": "2026-03-30"}):
        steps.run("plan", lambda: None)
    plan, night = spans.get_finished_spans()
    assert [plan.name, night.name] == ["plan", "night"]
    assert plan.parent.span_id == night.context.span_id
    assert night.attributes["night"] == "2026-03-30"


def test_a_failure_is_a_status_without_its_message(sent):
    telemetry, spans, _ = sent
    steps = Steps(print, open_span=telemetry.open_span)

    def fail():
        raise ConfigError("a canary sings")

    with pytest.raises(ConfigError):
        steps.run("score", fail)
    [span] = spans.get_finished_spans()
    assert (span.status.is_ok, span.status.description) == (False, "ConfigError")
    assert "canary" not in span.to_json()


def test_metrics_have_the_night_and_leave_out_nulls(sent):
    telemetry, _, metrics = sent
    send_metrics(telemetry, ROW)
    [resource] = metrics.get_metrics_data().resource_metrics
    found = {m.name: m.data.data_points[0] for m in resource.scope_metrics[0].metrics}
    assert found["sentiment.night.rows"].value == 7
    assert dict(found["sentiment.night.alerts"].attributes) == {"night": "2026-03-30", "model_version": "3"}
    assert "sentiment.night.estimated_accuracy" not in found
    assert resource.resource.attributes["service.name"] == "sentiment.nightly"


def test_without_an_endpoint_nothing_is_sent():
    telemetry = open_telemetry(SERVICE, {})
    with telemetry.open_span("night"):
        send_metrics(telemetry, ROW)
    telemetry.close()
    assert (telemetry.tracing, telemetry.metering) == (None, None)


def test_an_endpoint_without_the_packages_is_an_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(ConfigError, match="sentiment\\[telemetry\\]"):
        open_telemetry(SERVICE, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
