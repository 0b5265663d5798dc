"""Show a text as HTML in which the words that pushed the label are marked."""

import html
from collections.abc import Sequence

from .model import Word

# Smaller weights are next to nothing; so are words that weigh little next to the strongest one.
MIN_WEIGHT = 0.005
_MIN_SHARE = 0.15
# The colours differ for colour-blind readers too, and are clear on white and on black: the strongest word has
# this opacity. The line under a word shows the same without colour.
_RAISES, _LOWERS = "59,130,246", "249,115,22"
_OPACITY = 0.6
_BOX = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.9"


def mark_words(text: str, words: Sequence[Word], label: str) -> str:
    """Return the whole text as HTML; words that raise the probability have a solid line, others a dashed one.

    Nothing of the text is interpreted as HTML.
    """
    strongest = max((abs(word.weight) for word in words), default=0.0)
    pieces, position = [], 0
    for word in words:
        pieces.append(html.escape(text[position : word.start]))
        shown = html.escape(text[word.start : word.end])
        is_marked = abs(word.weight) >= max(MIN_WEIGHT, _MIN_SHARE * strongest)
        pieces.append(_mark(shown, word.weight, strongest, label) if is_marked else shown)
        position = word.end
    pieces.append(html.escape(text[position:]))
    return f'<div style="{_BOX}">{"".join(pieces)}</div>'


def describe_weight(weight: float, label: str) -> str:
    """Return the weight of a word in words."""
    if abs(weight) < MIN_WEIGHT:
        return f"changes {label} by {weight:+.4f}, next to nothing"
    return f"{'raises' if weight > 0 else 'lowers'} {label} by {abs(weight):.3f}"


def _mark(shown: str, weight: float, strongest: float, label: str) -> str:
    colour, line = (_RAISES, "solid") if weight > 0 else (_LOWERS, "dashed")
    opacity = _OPACITY * abs(weight) / strongest
    style = (
        f"background:rgba({colour},{opacity:.2f});border-bottom:2px {line} rgb({colour});border-radius:3px"
    )
    return f'<span style="{style}" title="{html.escape(describe_weight(weight, label))}">{shown}</span>'
