"""The model in use: found by `registry`, loaded by `loading`, asked through `predictions`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..models import loading, predictions, registry

CHUNK_ROWS = 128
"""Reviews per call of the model: after each one, the page moves its progress bar."""


@dataclass(frozen=True)
class ModelInUse:
    """A loaded model and what it is called."""

    reference: registry.ModelReference
    model: loading.LoadedModel


def open_model(uri: str, home: Path) -> ModelInUse:
    """Check and load the model at a URI from the tracking store of the project at `home`.

    Raises a ModelError; the environment may allow a model without a record, or demand a signature.
    """
    registry.use_tracking(home)
    reference = registry.resolve_model(uri)
    # An alias may move between two look-ups: load the very files that were found.
    return ModelInUse(reference, _load(reference))


def _load(reference: registry.ModelReference) -> loading.LoadedModel:
    return loading.load_model(
        reference,
        allow_unverified=loading.allows_unverified(),
        verify_key=loading.find_verify_key(),
    )


def predict(
    used: ModelInUse, texts: Sequence[object], progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Return `schema.PREDICTION_COLUMNS`, one row per text in order; `progress` gets (rows done, rows).

    `texts` are strings or None, at least one. Raises what `predictions.predict_each` does.
    """
    parts = []
    for start in range(0, len(texts), CHUNK_ROWS):
        chunk = texts[start : start + CHUNK_ROWS]
        parts.append(predictions.predict_each(used.model, chunk))
        if progress is not None:
            progress(start + len(chunk), len(texts))
    return pd.concat(parts, ignore_index=True)
