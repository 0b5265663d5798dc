"""Explain a label by occlusion: measure what its probability loses when a word is left out.

The method is that of Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014. It
needs only predictions, so it explains the model as it is in use, with its int8 engine and its linear stage.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .. import schema

# A text of more words is cut into at most so many parts of several words: each part costs a prediction.
MAX_PARTS = 64


@dataclass(frozen=True)
class Part:
    """Hold the position of a word in a text (of a long text, of several words): characters [start, end)."""

    start: int
    end: int


def cut_parts(text: str) -> list[Part]:
    """Return at most `MAX_PARTS` parts with equal numbers of words, in order; the last may have fewer."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    size = -(-len(words) // MAX_PARTS) if words else 1
    groups = [words[i : i + size] for i in range(0, len(words), size)]
    return [Part(group[0][0], group[-1][1]) for group in groups]


def leave_out(text: str, parts: Sequence[Part]) -> list[str]:
    """Return one text per part, in order: `text` without this part. The model must score them."""
    return [text[: part.start] + text[part.end :] for part in parts]


def measure_weights(
    prediction: Mapping[str, Any], without: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> list[float]:
    """Return what the probability of the label loses without each part, in [-1, 1].

    `prediction` is that of the whole text, and must have a label. `without` are the predictions of the texts
    of `leave_out`, with the column `probabilities` in the order of `labels`. If another stage of the cascade
    decides a text without a part, its probability is compared with the median of all texts that this stage
    decided: stages differ by more than a word does.
    """
    place = labels.index(prediction[schema.LABEL])
    found = [_find_probability(other, place, len(labels)) for other in without]
    stages = [other[schema.STAGE] or prediction[schema.STAGE] for other in without]
    whole = {
        stage: median(value for value, other in zip(found, stages, strict=True) if other == stage)
        for stage in {*stages}
    }
    whole[prediction[schema.STAGE]] = prediction[schema.SCORE]
    return [whole[stage] - value for value, stage in zip(found, stages, strict=True)]


def _find_probability(prediction: Mapping[str, Any], place: int, n_labels: int) -> float:
    """Return the probability of the label at index `place`; 1 / `n_labels` for a reject (no text is left)."""
    probabilities = prediction[schema.PROBABILITIES]
    return 1 / n_labels if probabilities is None else float(probabilities[place])
