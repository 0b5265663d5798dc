"""Open the model of the page, and score texts with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..models import loading, predictions, registry

# Reviews per call of the model; the progress bar moves after each call.
CALL_ROWS = 128


@dataclass(frozen=True)
class ModelInUse:
    """Hold a loaded model and its reference in the registry."""

    reference: registry.ModelReference
    model: loading.LoadedModel


def open_model(uri: str, home: Path) -> ModelInUse:
    """Check and load the model at a URI; without a tracking server, `home` has the tracking store.

    Raises a ModelError. The environment may allow a model without a record, or require a signature.
    """
    registry.use_tracking(home)
    # An alias may move at any time, so the model is loaded by the reference that is shown.
    reference = registry.resolve_model(uri)
    model = loading.load_model(
        reference, allow_unverified=loading.allows_unverified(), verify_key=loading.find_verify_key()
    )
    return ModelInUse(reference, model)


def predict(
    used: ModelInUse, texts: Sequence[object], progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Return the model's columns, one row per text, in order.

    `texts` are strings or None, at least one; `progress` is called with the rows done and all rows. Raises
    the errors of `predictions.predict_each`.
    """
    parts = []
    for start in range(0, len(texts), CALL_ROWS):
        some = texts[start : start + CALL_ROWS]
        parts.append(predictions.predict_each(used.model, some))
        if progress is not None:
            progress(start + len(some), len(texts))
    return pd.concat(parts, ignore_index=True)
