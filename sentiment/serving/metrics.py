"""Count what an operator watches, for Prometheus."""

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .. import schema

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)


class Metrics:
    """Counters of one service; `queue` gives the texts and the tokens that wait now."""

    def __init__(self, queue: Callable[[], tuple[int, int]]) -> None:
        self._registry = CollectorRegistry()
        counter = self._make(Counter)
        self._requests = counter("requests_total", "Requests answered", ("route", "code"))
        self._refused = counter("refused_total", "Requests refused, by problem", ("code",))
        self._predictions = counter("predictions_total", "Predictions", ("label", "stage"))
        self._rejects = counter("rejects_total", "Texts without a label, by reason", ("reason",))
        self._reloads = counter("reloads_total", "New versions of the model met", ("outcome",))
        self._seconds = self._make(Histogram)(
            "request_seconds", "Time to answer a request", ("route",), buckets=_SECONDS
        )
        histogram = self._make(Histogram)
        self._minibatch_tokens = histogram("minibatch_tokens", "Tokens of a mini-batch", buckets=_TOKENS)
        self._minibatch_texts = histogram(
            "minibatch_texts", "Texts of a mini-batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
        )
        gauge = self._make(Gauge)
        gauge("queue_texts", "Texts that wait").set_function(lambda: queue()[0])
        gauge("queue_tokens", "Tokens that wait, about").set_function(lambda: queue()[1])
        self._model = gauge(
            "model_info", "The model that serves: 1", ("version", "engine", "instruction_set")
        )

    def note_request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def note_problem(self, code: str) -> None:
        self._refused.labels(code).inc()

    def note_minibatch(self, n_texts: int, n_tokens: int) -> None:
        self._minibatch_texts.observe(n_texts)
        self._minibatch_tokens.observe(n_tokens)

    def note_predictions(self, predictions: Sequence[dict[str, Any]]) -> None:
        for prediction in predictions:
            if prediction[schema.REJECT_REASON] is None:
                self._predictions.labels(prediction[schema.LABEL], prediction[schema.STAGE]).inc()
            else:
                self._rejects.labels(prediction[schema.REJECT_REASON]).inc()

    def note_model(self, version: str, engine: str, instruction_set: str) -> None:
        self._model.clear()
        self._model.labels(version, engine, instruction_set).set(1)

    def note_reload(self, outcome: str) -> None:
        self._reloads.labels(outcome).inc()

    def render(self) -> bytes:
        """Return the page of /metrics, of type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _make(self, kind: Any) -> Callable[..., Any]:
        def make(name: str, description: str, *labels: Any, **options: Any) -> Any:
            return kind(f"sentiment_{name}", description, *labels, registry=self._registry, **options)

        return make
