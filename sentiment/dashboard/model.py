"""The model in use: found, loaded and asked through `sentiment.registry` alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .. import registry, schema
from ..errors import ModelError

CHUNK_ROWS = 128
"""Reviews per call of the model: after each one, the page moves its progress bar."""


@dataclass(frozen=True)
class ModelInUse:
    """A loaded model and what it is called."""

    reference: registry.ModelReference
    model: registry.LoadedModel


def open_model(uri: str, home: Path) -> ModelInUse:
    """Load the model at a URI from the tracking store of the project at `home`. Raises a ModelError."""
    registry.use_tracking(home)
    reference = registry.resolve_model(uri)
    # An alias may move between two look-ups: load the very files that were found.
    return ModelInUse(reference, registry.load_model(reference.folder))


def predict(
    used: ModelInUse, texts: Sequence[object], progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """`schema.PREDICTION_COLUMNS`, one row per text in order; `progress` gets (rows done, rows).

    `texts` are strings or None, at least one. Raises ModelError, without any text in it, if the model
    fails or answers with other columns or another number of rows.
    """
    parts = []
    for start in range(0, len(texts), CHUNK_ROWS):
        chunk = texts[start : start + CHUNK_ROWS]
        parts.append(_predict_chunk(used, chunk))
        if progress is not None:
            progress(start + len(chunk), len(texts))
    return pd.concat(parts, ignore_index=True)


def _predict_chunk(used: ModelInUse, texts: Sequence[object]) -> pd.DataFrame:
    uri = used.reference.uri
    try:
        predictions = used.model.predict(pd.DataFrame({schema.TEXT: pd.Series(list(texts), dtype=object)}))
    # The model is foreign code that may raise anything, with the review in its message.
    except Exception as error:
        raise ModelError(
            f"the model at {uri!r} failed while it scored: {type(error).__name__}; try another version"
        ) from error
    found = list(getattr(predictions, "columns", ()))
    missing = [name for name in schema.PREDICTION_COLUMNS if name not in found]
    if missing or len(predictions) != len(texts):
        raise ModelError(
            f"the model at {uri!r} is no sentiment model of this project: expected {len(texts)} rows of "
            f"{', '.join(schema.PREDICTION_COLUMNS)}, found {len(predictions)} without "
            f"{', '.join(missing) or 'a missing column'}; set another model URI"
        )
    return predictions[list(schema.PREDICTION_COLUMNS)]
