"""Send predictions, without the text of the reviews, to Domino's model monitoring."""

import functools
import importlib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from .. import schema

CLIENT = "domino_data_capture"
CHARS = "chars"
FEATURES = (CHARS, schema.N_TOKENS, schema.TRUNCATED)
PREDICTIONS = (schema.LABEL, schema.SCORE)

_log = logging.getLogger(__name__)


def capture_predictions(values: Sequence[Any], predictions: Sequence[Mapping[str, Any]]) -> None:
    """Send length, tokens, truncation, label and score of each scored value.

    Do nothing if Domino's client is not installed. If the client fails, only log a warning, because the
    caller must get the prediction.
    """
    client = _make_client()
    if client is None:
        return
    for value, prediction in zip(values, predictions, strict=True):
        if prediction[schema.LABEL] is None:
            continue
        described = {CHARS: len(value), **prediction}
        try:
            client.capturePrediction(
                [described[name] for name in FEATURES], [described[name] for name in PREDICTIONS]
            )
        except Exception as error:  # noqa: BLE001 the client does not document its errors
            _log.warning("a prediction was not captured: %s", type(error).__name__)


@functools.cache
def _make_client() -> Any:
    if importlib.util.find_spec(CLIENT) is None:
        return None
    module = importlib.import_module(f"{CLIENT}.data_capture_client")
    return module.DataCaptureClient(list(FEATURES), list(PREDICTIONS))
