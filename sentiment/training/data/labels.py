"""Convert label columns to class ids."""

from typing import Any

import pandas as pd

from ...errors import UnusableLabelsError

_NAMES = {"negative": 0, "neg": 0, "false": 0, "positive": 1, "pos": 1, "true": 1}


def parse_labels(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return class ids, Int64: 0 negative, 1 positive, null where the label is null or blank.

    Accepts 0/1, 1/2, booleans, the same as text, and negative/positive or neg/pos in any case. The numbers
    mean 1/2 if a 2 and no 0 occurs. Raises UnusableLabelsError for other values; its message shows none of
    them, because a wrong column may contain reviews.
    """
    cleaned = values.map(_clean, na_action="ignore")
    words = cleaned[cleaned.map(lambda value: isinstance(value, str)).astype(bool) & cleaned.notna()]
    if not words.isin(list(_NAMES)).all():
        raise UnusableLabelsError(
            f"label column {values.name!r}: expected 0/1, 1/2 or negative/positive, found "
            f"{words.nunique()} distinct other values; choose another --label_col"
        )
    numbers = pd.to_numeric(cleaned.map(lambda value: _NAMES.get(value, value), na_action="ignore"))
    found = set(numbers.dropna().unique())
    if found <= {0, 1}:
        return numbers.astype("Int64")
    if found <= {1, 2}:
        return (numbers - 1).astype("Int64")
    raise UnusableLabelsError(
        f"label column {values.name!r}: expected the numbers 0/1 or 1/2, found {len(found)} distinct numbers "
        f"from {min(found):g} to {max(found):g}; map them to two classes first (null for no label)"
    )


def _clean(value: object) -> object:
    """Return a number, also for text that is a number; else a lower-case word, or None for a blank text."""
    if not isinstance(value, str):
        return value if isinstance(value, int | float) or _is_number(value) else str(type(value))
    text = value.strip().lower()
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _is_number(value: object) -> bool:
    return bool(pd.api.types.is_number(value) or pd.api.types.is_bool(value))
