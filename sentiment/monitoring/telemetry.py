"""Send the metrics of a night by OpenTelemetry."""

from collections.abc import Mapping
from typing import Any

from ..process.telemetry import Telemetry

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


def send_metrics(telemetry: Telemetry, night: Mapping[str, Any]) -> None:
    """Set the metrics of a night from its columns; a null is not sent."""
    for name, (unit, column) in METRICS.items():
        if night.get(column) is not None:
            attributes = {"night": str(night["night"]), "model_version": night["model_version"]}
            telemetry.make_gauge(name, unit).set(night[column], attributes)
