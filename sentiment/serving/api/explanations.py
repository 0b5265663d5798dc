"""Explain a label by occlusion: measure what its probability loses when a word is left out.

The method is that of Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014. It
needs only predictions of the model, so it explains what is served: the int8 engine and the linear stage too.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from ... import schema
from ..champion import ServedModel
from ..service import Service

# A longer text is cut into so many parts with equal numbers of words: each part costs a prediction.
MAX_PARTS = 64


class Word(BaseModel):
    """A word of the text, or several of a long one, and what the label's probability loses without it."""

    word: str
    start: int = Field(ge=0, description="first character")
    end: int = Field(ge=0, description="character after the last")
    weight: float = Field(ge=-1, le=1)


class Explanation(BaseModel):
    method: Literal["occlusion"]
    words: list[Word]


async def explain(
    service: Service, served: ServedModel, text: Any, prediction: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the explanation of a prediction, None for a reject. It is one request in the queue."""
    label, score = prediction[schema.LABEL], prediction[schema.SCORE]
    if label is None:
        return None
    place = served.model.labels.index(label)
    parts = _cut_parts(text)
    variants = [text[:start] + text[end:] for start, end in parts]
    without = (await service.queue.score(served.model, variants, is_patient=True)).predictions
    weights = [score - _find_probability(other, place, len(served.model.labels)) for other in without]
    words = [
        {"word": text[start:end], "start": start, "end": end, "weight": weight}
        for (start, end), weight in zip(parts, weights, strict=True)
    ]
    return {"method": "occlusion", "words": words}


def _cut_parts(text: str) -> list[tuple[int, int]]:
    """Return the start and end of at most `MAX_PARTS` parts with equal numbers of words, in order."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    size = -(-len(words) // MAX_PARTS) if words else 1
    groups = [words[i : i + size] for i in range(0, len(words), size)]
    return [(group[0][0], group[-1][1]) for group in groups]


def _find_probability(prediction: Mapping[str, Any], place: int, n_labels: int) -> float:
    """Return the probability of the label at this place; equal ones if nothing is left of the text."""
    probabilities = prediction[schema.PROBABILITIES]
    return 1 / n_labels if probabilities is None else float(probabilities[place])
