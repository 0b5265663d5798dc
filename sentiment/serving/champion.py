"""Hold the model in use, and replace it: fetch, verify, warm and try the new one, then switch in one step."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import schema
from ..errors import ModelError, ModelLoadError, RegistryError
from ..models import loading, registry
from ..models.predictions import list_predictions

# The input example in the form of MLflow's scoring server, next to the MLmodel.
_EXAMPLE_FILE = "serving_input_example.json"
_WARMING = "It works, and the battery lasts. "
# An engine prepares for each size that it meets: short, medium, and longer than it reads.
_WARMING_REPEATS = (1, 4, 16, 64, 128)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """Hold a model that is loaded and has scored its own example."""

    reference: registry.ModelReference
    model: loading.LoadedModel


def load_served_model(
    uri: str, options: dict[str, Any], allow_unverified: bool, verify_key: str | None
) -> ServedModel:
    """Fetch, verify, load, warm and try a model. Raises a ModelError."""
    reference = registry.resolve_model(uri)
    model = loading.load_model(reference, options, allow_unverified, verify_key)
    for repeats in _WARMING_REPEATS:
        _predict(model, [_WARMING * repeats], "a sentence")
    _try_example(reference, model)
    return ServedModel(reference, model)


class Champion:
    """Hold the model in use. `load` loads a URI; `find_version` returns the version that the URI means now.

    `current` is replaced in one assignment, so a reader has a whole model, the old or the new one.
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
        """Load the first model. Raises a ModelError if there is none."""
        self.current = self._load(self._uri)
        return self.current

    def refresh(self) -> ServedModel | None:
        """Return the new model if the URI means another version than it did, else None.

        Raises a ModelError if the new model cannot be used. The old one serves on, and the refused version is
        tried again only after the URI has meant another one.
        """
        version = self._find_version(self._uri)
        if version is None or self.current is None or version == self.current.reference.version:
            self.refused_version = None
            return None
        if version == self.refused_version:
            return None
        try:
            fresh = self._load(self._uri)
        except RegistryError:  # the version may be good: it is tried again
            raise
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
        frame = json.loads(path.read_text(encoding="utf-8"))["dataframe_split"]
        column = frame["columns"].index(schema.TEXT)
        texts = [row[column] for row in frame["data"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            f"{path}: expected an input example with a dataframe_split and a column {schema.TEXT!r}; "
            "try another version"
        ) from error
    _predict(model, texts, "its own input example")


def _predict(model: loading.LoadedModel, texts: Sequence[Any], what: str) -> None:
    for prediction in list_predictions(model, texts):
        score = prediction[schema.SCORE]
        is_reject = prediction[schema.REJECT_REASON] in schema.REJECT_REASONS and score is None
        is_score = prediction[schema.LABEL] in model.labels and isinstance(score, float) and 0 <= score <= 1
        if not is_reject and not is_score:
            raise ModelLoadError(
                f"the model gave neither a score nor a reject for {what}; try another version"
            )
        if prediction[schema.REJECT_REASON] == schema.MODEL_FAILED:
            raise ModelLoadError(f"the model failed on {what}; try another version")
