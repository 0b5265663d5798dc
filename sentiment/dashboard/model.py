"""Open the model of the app, score texts with it, and explain a label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .. import schema
from ..errors import ModelLoadError
from ..models import loading, occlusion, predictions, registry

# Reviews per call of the model; the progress bar moves after each call.
CALL_ROWS = 128


@dataclass(frozen=True)
class ModelInUse:
    """Hold a loaded model and its reference in the registry."""

    reference: registry.ModelReference
    model: loading.LoadedModel

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that `predict` returns: those of the model, without the probabilities."""
        return tuple(name for name in self.model.columns if name != schema.PROBABILITIES)


@dataclass(frozen=True)
class Word:
    """Hold a word of a text (of a long text, several words): characters [start, end), and its weight.

    `weight` is what the probability of the label loses without the word, in [-1, 1].
    """

    start: int
    end: int
    weight: float


def open_model(uri: str, home: Path) -> ModelInUse:
    """Check and load the model at a URI; without a tracking server, `home/var` has the tracking store.

    With SENTIMENT_ALLOW_UNVERIFIED=1 a model without a record is loaded; with SENTIMENT_VERIFY_KEY a model
    needs a signature. Raises a ModelError.
    """
    registry.use_tracking(home)
    # An alias may move at any time, so the model is loaded by the reference that is shown.
    reference = registry.resolve_model(uri)
    model = loading.load_model(
        reference,
        {schema.PROBABILITIES: True},
        allow_unverified=loading.allows_unverified(),
        verify_key=loading.find_verify_key(),
    )
    return ModelInUse(reference, model)


def predict(
    used: ModelInUse, texts: Sequence[object], progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Score at least one text (a string or None); return the columns of `used`, one row per text, in order.

    `progress` is called with the number of rows done and of all rows. Raises the errors of
    `predictions.predict_each`.
    """
    parts = []
    for start in range(0, len(texts), CALL_ROWS):
        some = texts[start : start + CALL_ROWS]
        parts.append(predictions.predict_each(used.model, some)[list(used.columns)])
        if progress is not None:
            progress(start + len(some), len(texts))
    return pd.concat(parts, ignore_index=True)


def explain(used: ModelInUse, text: str) -> tuple[predictions.Prediction, list[Word]]:
    """Return the prediction of a text with its probabilities, and its words with their weights.

    A reject has no words. Raises ModelLoadError for a model without probabilities, and the errors of
    `predict`.
    """
    if schema.PROBABILITIES not in used.model.columns:
        raise ModelLoadError(
            f"{used.reference.uri}: expected a model with the option {schema.PROBABILITIES}, found one "
            "without; fine-tune it again with this version"
        )
    (prediction,) = predictions.list_predictions(used.model, [text])
    if prediction[schema.LABEL] is None:
        return prediction, []
    parts = occlusion.cut_parts(text)
    without = predictions.list_predictions(used.model, occlusion.leave_out(text, parts))
    weights = occlusion.measure_weights(prediction, without, used.model.labels)
    return prediction, [Word(p.start, p.end, w) for p, w in zip(parts, weights, strict=True)]
