"""Explain the label of a prediction by occlusion (`models.occlusion`), in one request in the queue."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from ... import schema
from ...models.occlusion import cut_parts, leave_out, measure_weights
from ..champion import ServedModel
from ..service import Service


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
    if prediction[schema.LABEL] is None:
        return None
    parts = cut_parts(text)
    scored = await service.queue.score(served.model, leave_out(text, parts), is_patient=True)
    weights = measure_weights(prediction, scored.predictions, served.model.labels)
    words = [
        {"word": text[part.start : part.end], "start": part.start, "end": part.end, "weight": weight}
        for part, weight in zip(parts, weights, strict=True)
    ]
    return {"method": "occlusion", "words": words}
