"""Load a model that is to be judged, score labelled reviews with it, and find its size and engine."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import schema
from ..errors import ModelLoadError
from ..inference.settings import SETTINGS_FILE
from ..models import loading, registry
from ..models.integrity import list_files
from ..models.predictions import predict_each
from .gates import EngineFacts
from .judged import JudgedReviews, judge

# Reviews that are scored together; progress is reported after each.
_STEP_ROWS = 1_000


@dataclass(frozen=True, eq=False)
class Contender:
    """Hold a loaded model with its reference, labels, size of its files, and what it states of itself."""

    reference: registry.ModelReference
    model: loading.LoadedModel
    labels: tuple[str, ...]
    size_bytes: int
    engine: EngineFacts
    can_be_unsure: bool


@dataclass(frozen=True)
class NumberedReviews:
    """Hold texts of any type, their class ids in the order of `labels`, and details.

    `unused` has the numbers of rows that were left out, by reason; `source` is the place of the reviews.
    """

    labels: tuple[str, ...]
    texts: list[Any]
    truth: np.ndarray
    details: pd.DataFrame
    unused: Mapping[str, int] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadOptions:
    """Hold how models are loaded: the engine, and the conditions of `loading.check_model`."""

    engine: str = "auto"
    allow_unverified: bool = False
    verify_key: str | None = None


def load_contender(reference: registry.ModelReference, options: LoadOptions) -> Contender:
    """Verify and load a model. Raises a ModelError, as `loading.load_model`."""
    settings = _read_settings(reference.folder)
    model = loading.load_model(
        reference,
        {"engine": options.engine, schema.PROBABILITIES: True},
        options.allow_unverified,
        options.verify_key,
    )
    if schema.PROBABILITIES not in model.columns:
        raise ModelLoadError(
            f"{reference.uri}: expected a model with the option {schema.PROBABILITIES}, found one without; "
            "fine-tune it again with this version"
        )
    return Contender(
        reference,
        model,
        tuple(model.labels),
        sum((reference.folder / path).stat().st_size for path in list_files(reference.folder)),
        EngineFacts(settings.get("cpu_engine"), settings.get("gated_on")),
        can_be_unsure=bool(settings.get("min_score")),
    )


def judge_contender(
    contender: Contender, reviews: NumberedReviews, progress: Callable[[int], None] = lambda n: None
) -> JudgedReviews:
    """Score the reviews and join them with their true class ids, in the order of the reviews' labels."""
    texts, found = reviews.texts, []
    for start in range(0, len(texts), _STEP_ROWS):
        found.append(predict_each(contender.model, texts[start : start + _STEP_ROWS]))
        progress(min(start + _STEP_ROWS, len(texts)))
    predictions = pd.concat(found, ignore_index=True)
    # The labels of the contender may have another order.
    places = [contender.labels.index(label) for label in reviews.labels]
    rows = [
        None if row is None else [row[place] for place in places] for row in predictions[schema.PROBABILITIES]
    ]
    predictions[schema.PROBABILITIES] = pd.Series(rows, dtype=object)
    return judge(reviews.labels, reviews.truth, predictions, reviews.details)


def _read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of the encoder's settings; empty if a model does not have one file of them."""
    files = sorted(folder.glob(f"artifacts/*/{SETTINGS_FILE}"))
    if len(files) != 1:
        return {}
    try:
        content = json.loads(files[0].read_text(encoding="utf-8"))
    except (ValueError, OSError):  # the files are verified later, which names what is wrong with them
        return {}
    return content if isinstance(content, dict) else {}
