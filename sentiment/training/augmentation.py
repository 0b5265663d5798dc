"""Add spelling mistakes and star ratings to training texts, because a small sample has too few of both.

Stars are added only if the labels are negative and positive: other labels do not imply a number of stars.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..schema import POLARITY_LABELS
from .data import cache

# Shares of the texts; docs/decisions/0002-demo-recipe.md has their effect.
MISSPELLED_SHARE = 0.2
STARS_SHARE = 0.2
# A mistake in a shorter word often gives another existing word.
_MIN_LETTERS = 4
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# The index is the label. Three stars are not used, because they may be positive or negative.
_STARS = (("1 star", "2 stars"), ("4 stars", "5 stars"))


def augment_rows(train: datasets.Dataset, labels: Sequence[str], seed: int) -> datasets.Dataset:
    """Return `train` (`text`, `label`) with some texts changed; labels and order stay.

    A text gets a spelling mistake, stars that agree with its label, both or neither.
    """
    has_stars = tuple(labels) == POLARITY_LABELS
    random = np.random.default_rng(seed)

    def change(row: dict[str, Any]) -> dict[str, Any]:
        text = row["text"]
        if random.random() < MISSPELLED_SHARE:
            text = misspell(text, random)
        if has_stars and random.random() < STARS_SHARE:
            text = add_stars(text, row["label"], random)
        return {"text": text}

    # With its own fingerprint: `datasets` would hash `change` together with the state of `random`.
    made = cache.make_key([Path(__file__)], [train._fingerprint, str(seed), str(has_stars)])
    return train.map(change, new_fingerprint=f"augmented-{made}")


def misspell(text: str, random: np.random.Generator) -> str:
    """Return the text with a mistake in one word: a letter dropped, doubled, swapped or added."""
    words = text.split(" ")
    candidates = [i for i, word in enumerate(words) if len(word) >= _MIN_LETTERS and word.isalpha()]
    if not candidates:
        return text
    chosen = int(random.choice(candidates))
    words[chosen] = _misspell_word(words[chosen], random)
    return " ".join(words)


def add_stars(text: str, label: int, random: np.random.Generator) -> str:
    """Return the text with 1 or 2 stars at its end for label 0, and with 4 or 5 for label 1."""
    stars = str(random.choice(_STARS[label]))
    if random.random() < 0.5:
        return f"{text.rstrip(' .')}, {stars}."
    return f"{text.rstrip()} {stars}."


def _misspell_word(word: str, random: np.random.Generator) -> str:
    at = int(random.integers(1, len(word) - 1))
    before, letter, after = word[:at], word[at], word[at + 1 :]
    extra = str(random.choice(list(_LETTERS)))
    swapped = before[:-1] + letter + before[-1] + after
    misspelled = (before + after, before + letter + letter + after, swapped, before + extra + letter + after)
    return misspelled[int(random.integers(len(misspelled)))]
