"""Send spans and metrics by OpenTelemetry, if the environment says where to.

Attributes are names, counts, codes and versions, never review text. An error is recorded by its class,
because its message may quote data.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"

Attributes = Mapping[str, str | int | float | bool]


class _Nothing:
    """Stand for a span, a gauge, a counter or a histogram where nothing is sent."""

    def _ignore(self, *_: Any) -> None:
        """Do nothing."""

    set_attributes = update_name = set = add = record = _ignore


@dataclass(frozen=True)
class Telemetry:
    """Send the spans and metrics of one program; without providers it does nothing."""

    service: str = "sentiment"
    tracing: Any = None
    metering: Any = None

    @contextmanager
    def open_span(
        self,
        name: str,
        attributes: Attributes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Any]:
        """Open a span around the block, and give it to the block for `set_attributes` and `update_name`.

        `headers` are those of a request: a `traceparent` in them names the span of the caller, and the span
        is then of the kind "server".
        """
        if self.tracing is None:
            yield _Nothing()
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        is_server = headers is not None
        with self.tracing.get_tracer(self.service).start_as_current_span(
            name,
            context=TraceContextTextMapPropagator().extract(headers) if is_server else None,
            kind=SpanKind.SERVER if is_server else SpanKind.INTERNAL,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def make_gauge(self, name: str, unit: str) -> Any:
        """Return a gauge, whose `set(value, attributes)` replaces its value."""
        return self._get_meter().create_gauge(name, unit) if self.metering else _Nothing()

    def make_counter(self, name: str, unit: str) -> Any:
        """Return a counter, with `add(amount, attributes)`."""
        return self._get_meter().create_counter(name, unit) if self.metering else _Nothing()

    def make_histogram(self, name: str, unit: str) -> Any:
        """Return a histogram, with `record(value, attributes)`."""
        return self._get_meter().create_histogram(name, unit) if self.metering else _Nothing()

    def close(self) -> None:
        """Send what is waiting, and stop."""
        for provider in (self.tracing, self.metering):
            if provider is not None:
                provider.shutdown()

    def _get_meter(self) -> Any:
        return self.metering.get_meter(self.service)


def open_telemetry(service: str, environment: Mapping[str, str] = os.environ) -> Telemetry:
    """Return what sends to OTEL_EXPORTER_OTLP_ENDPOINT; without that variable, what sends nothing.

    The exporters read the other variables of OpenTelemetry (headers, timeout, resource attributes)
    themselves. Raises ConfigError if the endpoint is set and the extra `telemetry` is not installed.
    """
    if not environment.get(ENDPOINT_VARIABLE):
        return Telemetry(service)
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
        service, BatchSpanProcessor(OTLPSpanExporter()), PeriodicExportingMetricReader(OTLPMetricExporter())
    )


def make_telemetry(service: str, processor: Any, reader: Any) -> Telemetry:
    """Return what sends spans to a processor and metrics to a reader."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": service})
    tracing = TracerProvider(resource=resource)
    tracing.add_span_processor(processor)
    return Telemetry(service, tracing, MeterProvider([reader], resource=resource))
