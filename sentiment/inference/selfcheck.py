"""Check, when a model is loaded, that its engine computes correctly on this processor.

A model contains sentences with the probabilities of the reference engine. An engine passes if its labels are
the same and its probabilities differ by no more than the gate allowed when the model was made.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SELF_CHECK_FILE = "selfcheck.json"
SENTENCES_KEPT = 32
# Smallest difference between the two largest probabilities: below it, rounding may change the label.
_MIN_MARGIN = 0.2

# Written for this check, not taken from reviews. They are short, because every process that loads a model
# scores them, and of several lengths, because engines have kernels for different lengths.
SENTENCES = (
    "Perfect.",
    "Waste of money.",
    "Love it!",
    "Broke in a week.",
    "Five stars, no question.",
    "Never again, truly awful.",
    "Exactly what we needed.",
    "It stopped working after two days.",
    "My daughter adores this book.",
    "The zipper tore the first time.",
    "Sturdy, quiet and easy to clean.",
    "Too small, and the colour is wrong.",
    "Great sound for such a low price.",
    "The plot is dull, the ending worse.",
    "Arrived early and works like a charm.",
    "Returned it, and nobody answered me.",
    "The best kettle I have owned in years.",
    "Cheap plastic, bad smell, useless manual.",
    "A warm, funny film for the whole family.",
    "The battery is dead by noon, every day.",
    "Not bad at all.",
    "Not worth the price.",
    "It does the job, and I would buy it again.",
    "It fails at its job. I would not buy it again.",
    "Terrible picture, terrible sound, terrible service.",
    "Wonderful picture, wonderful sound, great service.",
    "A disappointment from start to finish.",
    "A pleasure from start to finish.",
    "Sadly, it is useless.",
    "Happily, it just works.",
    "Disgusting taste. Threw it away.",
    "Delicious, and gone in a day.",
    "Poorly made and badly packed.",
    "Beautifully made and well packed.",
    "Excellent value, highly recommended.",
    "Worst purchase of my life.",
    "The screen is bright, the keys feel good, and it starts at once. I could not ask for more.",
    "The screen flickers, the keys stick, and it takes minutes to start. I want my money back.",
    "If you cook often, buy this pan: nothing sticks, it heats evenly, and it is clean in seconds.",
    "I was told that the parts would fit any model, but they do not fit ours, the screws are missing, and "
    "the seller wants me to pay for the way back. Stay away from this shop.",
)


@dataclass(frozen=True)
class SelfCheck:
    """Hold sentences, their token ids, and the class probabilities of the reference engine.

    `ids` are unpadded, with special tokens. `max_mean_shift` is the bound of the gate that the model passed.
    """

    texts: list[str]
    ids: list[list[int]]
    probabilities: list[list[float]]
    max_mean_shift: float

    def compare(self, classify: "Classify") -> "Deviation":
        """Compare the probabilities of `classify` with those of the reference engine."""
        rows = [np.array(row, dtype=np.int32) for row in self.ids]
        return compare_probabilities(np.array(self.probabilities), classify(rows), self.max_mean_shift)


Classify = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Deviation:
    """Hold the deviation of an engine from the reference: the number of other labels, and the mean shift.

    The shift of a text is half the sum of the absolute differences of its probabilities: with two classes,
    the difference of either probability.
    """

    rows: int
    flips: int
    mean_shift: float
    max_mean_shift: float

    @property
    def is_within_bounds(self) -> bool:
        return self.flips == 0 and self.mean_shift <= self.max_mean_shift

    def __str__(self) -> str:
        return (
            f"{self.flips} of {self.rows} labels differ from the reference (0 allowed), mean shift "
            f"{self.mean_shift:.4f} ({self.max_mean_shift} allowed)"
        )


def compare_probabilities(expected: np.ndarray, found: np.ndarray, max_mean_shift: float) -> Deviation:
    """Compare two (rows, classes) arrays of probabilities; a row with NaN or infinity counts as flipped."""
    is_finite = np.isfinite(found).all(axis=1)
    found = np.where(is_finite[:, None], found, 0.0)
    is_flipped = ~is_finite | (expected.argmax(axis=1) != found.argmax(axis=1))
    shift = np.abs(expected - found).sum(axis=1) / 2
    return Deviation(len(expected), int(is_flipped.sum()), float(shift.mean()), max_mean_shift)


def make_self_check(
    encode: Callable[[Sequence[str]], list[np.ndarray]], classify: Classify, max_mean_shift: float
) -> SelfCheck:
    """Choose the most sensitive sentences, and record the probabilities of the reference engine, `classify`.

    `encode` returns token ids. Sentences with a small margin come first, because errors change their
    probabilities most, except those below `_MIN_MARGIN`, which come last.
    """
    rows = encode(SENTENCES)
    probabilities = classify(rows)
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    ranks = np.where(margins >= _MIN_MARGIN, margins, 2 - margins)
    kept = sorted(np.argsort(ranks, kind="stable")[:SENTENCES_KEPT].tolist())
    return SelfCheck(
        texts=[SENTENCES[i] for i in kept],
        ids=[rows[i].tolist() for i in kept],
        probabilities=[probabilities[i].tolist() for i in kept],
        max_mean_shift=max_mean_shift,
    )


def save_self_check(check: SelfCheck, folder: Path) -> None:
    (folder / SELF_CHECK_FILE).write_text(json.dumps(asdict(check)) + "\n", encoding="utf-8")


def load_self_check(folder: Path) -> SelfCheck | None:
    """Read the check of a model folder; None if it has none, because no engine was compared."""
    path = folder / SELF_CHECK_FILE
    if not path.exists():
        return None
    return SelfCheck(**json.loads(path.read_text(encoding="utf-8")))
