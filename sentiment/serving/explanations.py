"""Explain a label by occlusion: what its probability loses when a word is left out.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, do it with patches of a
picture. It asks nothing of the model but predictions, so it explains what is served: the int8 engine and the
linear stage too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import schema

METHOD = "occlusion"
MAX_PARTS = 64
"""A longer text is cut into so many parts of as many words each: every part is a prediction of its own."""


@dataclass(frozen=True)
class Part:
    """A word, or consecutive words: `text[start:end]`."""

    start: int
    end: int


def cut_parts(text: str) -> list[Part]:
    """At most `MAX_PARTS` parts, of equal numbers of words, in order."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    size = -(-len(words) // MAX_PARTS) if words else 1
    groups = [words[i : i + size] for i in range(0, len(words), size)]
    return [Part(group[0][0], group[-1][1]) for group in groups]


def list_variants(text: str, parts: Sequence[Part]) -> list[str]:
    """Return the text without each of its parts."""
    return [text[: part.start] + text[part.end :] for part in parts]


def weigh_parts(
    text: str, whole: dict[str, Any], parts: Sequence[Part], without: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what the probability of the label of `whole` loses without each part, between -1 and 1.

    A text of which nothing is left counts as undecided, one half.
    """
    label, score = whole[schema.LABEL], whole[schema.SCORE]
    weights = [score - _probability(prediction, label) for prediction in without]
    return [
        {"word": text[part.start : part.end], "start": part.start, "end": part.end, "weight": weight}
        for part, weight in zip(parts, weights, strict=True)
    ]


def _probability(prediction: dict[str, Any], label: str) -> float:
    score: float | None = prediction[schema.SCORE]
    if score is None:
        return 0.5
    return score if prediction[schema.LABEL] == label else 1 - score
