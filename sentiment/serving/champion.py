"""The model that serves, and the one that takes its place: fetched, checked, warmed, then swapped at once."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import schema
from ..errors import ModelError, ModelLoadError
from ..models import loading, registry
from ..models.predictions import list_predictions
from .payloads import InvocationsBody

_EXAMPLE_FILE = "serving_input_example.json"
"""The input example in the words of MLflow's scoring server, beside the MLmodel that was logged with one."""
_WARMING = "It works, and the battery lasts. "
_WARMING_REPEATS = (1, 4, 16, 64, 128)
"""An engine prepares for each size that it meets: short, middling, and longer than it reads."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that is loaded and has answered its own example."""

    reference: registry.ModelReference
    model: loading.LoadedModel

    @property
    def version(self) -> str:
        return self.reference.version


def load_served_model(
    uri: str, options: dict[str, Any], allow_unverified: bool, verify_key: str | None
) -> ServedModel:
    """Fetch, check against its digests, load, warm and try. Raises a ModelError; nothing else has changed."""
    reference = registry.resolve_model(uri)
    model = loading.load_model(reference, options, allow_unverified, verify_key)
    for repeats in _WARMING_REPEATS:
        _predict(model, [_WARMING * repeats], "a sentence")
    _try_example(reference, model)
    return ServedModel(reference, model)


class Champion:
    """Holds the model that serves. `load` makes one of a URI; `find_version` says what the URI means now.

    `current` is replaced in one assignment, so whoever reads it has a whole model, the old or the new one.
    """

    def __init__(
        self, uri: str, load: Callable[[str], ServedModel], find_version: Callable[[str], str | None]
    ) -> None:
        self.current: ServedModel | None = None
        self.refused_version: str | None = None
        self._uri = uri
        self._load = load
        self._find_version = find_version

    def start(self) -> ServedModel:
        """Load the first one. Raises a ModelError if there is none."""
        self.current = self._load(self._uri)
        return self.current

    def refresh(self) -> ServedModel | None:
        """Return the new model if the URI means another version than it did, else None.

        Raises a ModelError if the new one cannot be used; the old one serves on, and this version is not
        tried again before another one has been there.
        """
        version = self._find_version(self._uri)
        if version is None or self.current is None or version == self.current.version:
            self.refused_version = None
            return None
        if version == self.refused_version:
            return None
        try:
            fresh = self._load(self._uri)
        except ModelError:
            self.refused_version = version
            raise
        self.current, self.refused_version = fresh, None
        return fresh


def _try_example(reference: registry.ModelReference, model: loading.LoadedModel) -> None:
    path = reference.folder / _EXAMPLE_FILE
    if not path.exists():
        return
    try:
        texts = InvocationsBody.model_validate(json.loads(path.read_text(encoding="utf-8"))).list_values()
    except ValueError as error:
        raise ModelLoadError(f"{path}: is no input example of a sentiment model") from error
    _predict(model, texts, "its own input example")


def _predict(model: loading.LoadedModel, texts: Sequence[Any], what: str) -> None:
    for prediction in list_predictions(model, texts):
        score = prediction[schema.SCORE]
        is_reject = prediction[schema.REJECT_REASON] in schema.REJECT_REASONS and score is None
        is_score = prediction[schema.LABEL] in schema.LABELS and _is_probability(score)
        if not is_reject and not is_score:
            raise ModelLoadError(
                f"the model gave neither a score nor a reject for {what}; try another version"
            )
        if prediction[schema.REJECT_REASON] == schema.MODEL_FAILED:
            raise ModelLoadError(f"the model failed on {what}; try another version")


def _is_probability(score: Any) -> bool:
    return isinstance(score, float) and math.isfinite(score) and 0 <= score <= 1
