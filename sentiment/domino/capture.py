"""Send predictions, without the text of the reviews, to Domino's model monitoring.

The client and its arguments are those of domino_data_capture 0.1.2 and of
https://docs.dominodatalab.com/en/cloud/user_guide/93e5c0/set-up-prediction-capture (read on 2026-11-28).
"""

import functools
import importlib
import importlib.util
import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .. import schema

CLIENT = "domino_data_capture"
CHARS = "chars"
# Joins a captured prediction with its ground truth, which comes later; also the name in Domino's own records.
EVENT_ID = "event_id"
# Drift is measured for each of these, so the score is among them: its drift shows most.
FEATURES = (CHARS, schema.N_TOKENS, schema.TRUNCATED, schema.SCORE)
# Domino allows one prediction column.
PREDICTIONS = (schema.LABEL,)
METADATA = (schema.STAGE, schema.UNSURE)

_log = logging.getLogger(__name__)


def capture_predictions(
    values: Sequence[Any], predictions: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Send features and label of each scored value, and return the predictions with their `event_id`.

    The caller keeps that id to report the right label later; it is None for a reject and for a prediction
    that was not captured. Without Domino's client the predictions come back unchanged. If the client fails,
    only log a warning, because the caller must get the prediction.
    """
    if importlib.util.find_spec(CLIENT) is None:
        return [dict(prediction) for prediction in predictions]
    timestamp = datetime.now(UTC).isoformat()
    return [
        {**prediction, EVENT_ID: _capture(value, prediction, timestamp)}
        for value, prediction in zip(values, predictions, strict=True)
    ]


def describe_features(value: str, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features that are monitored of a scored text: numbers and flags, without the text."""
    described = {CHARS: len(value), **prediction}
    return {name: described[name] for name in FEATURES}


def _capture(value: Any, prediction: Mapping[str, Any], timestamp: str) -> str | None:
    if prediction[schema.LABEL] is None:
        return None
    event_id = str(uuid.uuid4())
    try:
        _make_client().capturePrediction(
            list(describe_features(value, prediction).values()),
            [prediction[name] for name in PREDICTIONS],
            metadata_values=[prediction[name] for name in METADATA],
            event_id=event_id,
            timestamp=timestamp,
        )
    except Exception as error:  # noqa: BLE001 the client does not document its errors
        _log.warning("a prediction was not captured: %s", type(error).__name__)
        return None
    return event_id


@functools.cache
def _make_client() -> Any:
    module = importlib.import_module(f"{CLIENT}.data_capture_client")
    return module.DataCaptureClient(list(FEATURES), list(PREDICTIONS), list(METADATA))
