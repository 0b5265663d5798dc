"""Send spans and metrics of a night by OpenTelemetry, if the environment says where to."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
SERVICE = "sentiment.nightly"
# Metrics of a night: name, unit, and the column of the night.
METRICS = {
    "sentiment.night.rows": ("{row}", "input_rows"),
    "sentiment.night.rejected_rows": ("{row}", "rejected_rows"),
    "sentiment.night.estimated_accuracy": ("1", "estimated_accuracy"),
    "sentiment.night.drifted_figures": ("{figure}", "drifted_figures"),
    "sentiment.night.alerts": ("{alert}", "alerts"),
    "sentiment.night.duration": ("s", "seconds"),
}


@dataclass(frozen=True)
class Telemetry:
    """Send spans and metrics; without providers it does nothing."""

    tracing: Any = None
    metering: Any = None

    @contextmanager
    def open_span(self, name: str, attributes: Mapping[str, str] | None = None) -> Iterator[None]:
        """Open a span around the block; an error is recorded by its class, without its message."""
        if self.tracing is None:
            yield
            return
        from opentelemetry.trace import Status, StatusCode

        tracer = self.tracing.get_tracer(SERVICE)
        with tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def send_metrics(self, night: Mapping[str, Any]) -> None:
        """Set the metrics of a night from its columns; a null is not sent."""
        if self.metering is None:
            return
        meter = self.metering.get_meter(SERVICE)
        for name, (unit, column) in METRICS.items():
            if night.get(column) is not None:
                attributes = {"night": str(night["night"]), "model_version": night["model_version"]}
                meter.create_gauge(name, unit=unit).set(night[column], attributes)

    def close(self) -> None:
        """Send what is waiting, and stop."""
        for provider in (self.tracing, self.metering):
            if provider is not None:
                provider.shutdown()


def open_telemetry(environment: Mapping[str, str] = os.environ) -> Telemetry:
    """Return what sends to OTEL_EXPORTER_OTLP_ENDPOINT; without that variable, what sends nothing.

    Raises ConfigError if the variable is set and the packages of the extra `telemetry` are not installed.
    """
    if not environment.get(ENDPOINT_VARIABLE):
        return Telemetry()
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"{ENDPOINT_VARIABLE} is set, but the package {error.name} is missing; "
            "install sentiment[telemetry], or unset the variable"
        ) from error
    return make_telemetry(
        BatchSpanProcessor(OTLPSpanExporter()), PeriodicExportingMetricReader(OTLPMetricExporter())
    )


def make_telemetry(processor: Any, reader: Any) -> Telemetry:
    """Return what sends spans to a processor and metrics to a reader."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": SERVICE})
    tracing = TracerProvider(resource=resource)
    tracing.add_span_processor(processor)
    return Telemetry(tracing, MeterProvider([reader], resource=resource))
