"""Count what an operator watches, for Prometheus and for OpenTelemetry."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .. import schema
from ..process.telemetry import Telemetry

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)


class Metrics:
    """Count for one service; `queue` returns the texts and the tokens that wait now."""

    def __init__(self, queue: Callable[[], tuple[int, int]], telemetry: Telemetry) -> None:
        self._registry = CollectorRegistry()
        counter, gauge, histogram = map(self._bind, (Counter, Gauge, Histogram))
        self._requests = counter("requests_total", "Requests answered", ("route", "code"))
        self._refused = counter("refused_total", "Requests refused, by problem", ("code",))
        self._predictions = counter("predictions_total", "Predictions", ("label", "stage"))
        self._unsure = counter("unsure_total", "Predictions with a score that is too low to act on")
        self._rejects = counter("rejects_total", "Texts without a label, by reason", ("reason",))
        self._reloads = counter("reloads_total", "New model versions found, by outcome", ("outcome",))
        self._seconds = histogram("request_seconds", "Time to answer", ("route",), buckets=_SECONDS)
        self._minibatch_tokens = histogram("minibatch_tokens", "Tokens of a mini-batch", buckets=_TOKENS)
        self._minibatch_texts = histogram("minibatch_texts", "Texts of a mini-batch", buckets=_TEXTS)
        gauge("queue_texts", "Texts that wait").set_function(lambda: queue()[0])
        gauge("queue_tokens", "Tokens that wait, estimated").set_function(lambda: queue()[1])
        self._model = gauge("model_info", "1 for the model in use", ("version", "engine", "instruction_set"))
        # The name of OpenTelemetry's semantic conventions for HTTP servers (version 1.23, stable).
        self._sent_seconds = telemetry.make_histogram("http.server.request.duration", "s")
        self._sent_predictions = telemetry.make_counter("sentiment.predictions", "{prediction}")
        self._sent_rejects = telemetry.make_counter("sentiment.rejects", "{text}")

    def note_request(self, route: str, status: int, seconds: float, problem: str | None) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._sent_seconds.record(seconds, {"http.route": route, "http.response.status_code": status})
        if problem is not None:
            self._refused.labels(problem).inc()

    def note_minibatch(self, n_texts: int, n_tokens: int) -> None:
        self._minibatch_texts.observe(n_texts)
        self._minibatch_tokens.observe(n_tokens)

    def note_predictions(self, predictions: Sequence[dict[str, Any]]) -> None:
        for prediction in predictions:
            reason = prediction[schema.REJECT_REASON]
            if reason is None:
                label, stage, is_unsure = (
                    prediction[key] for key in (schema.LABEL, schema.STAGE, schema.UNSURE)
                )
                self._predictions.labels(label, stage).inc()
                self._unsure.inc(bool(is_unsure))
                self._sent_predictions.add(1, {"label": label, "stage": stage, "unsure": bool(is_unsure)})
            else:
                self._rejects.labels(reason).inc()
                self._sent_rejects.add(1, {"reason": reason})

    def note_model(self, version: str, engine: str, instruction_set: str) -> None:
        self._model.clear()
        self._model.labels(version, engine, instruction_set).set(1)

    def note_reload(self, outcome: str) -> None:
        self._reloads.labels(outcome).inc()

    def render(self) -> bytes:
        """Return the page of /metrics, of type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _bind(self, kind: Any) -> Callable[..., Any]:
        return partial(kind, namespace="sentiment", registry=self._registry)
