"""Reject values that cannot be scored, before tokenisation."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from .. import schema

# Far more than a review has, and than an encoder reads: tokenising more would let one value of a damaged
# file hold a worker for minutes.
MAX_TEXT_CHARS = 1_000_000


def find_reject_reason(value: Any, max_text_chars: int = MAX_TEXT_CHARS) -> str | None:
    """Return why `value` cannot be scored as a review, or None if it can.

    Null is None, NaN, NaT or `pandas.NA`, whatever the column's type; blank is Unicode white space
    only. A container is no text, whatever it holds. Length is counted in code points.
    """
    if isinstance(value, str):
        if len(value) > max_text_chars:
            return schema.TOO_LONG_TEXT
        if not value or value.isspace():
            return schema.BLANK_TEXT
        return None if _is_valid_unicode(value) else schema.UNDECODABLE_TEXT
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return schema.NULL_TEXT
    return schema.NOT_TEXT


def find_reject_reasons(values: Iterable[Any], max_text_chars: int = MAX_TEXT_CHARS) -> list[str | None]:
    """Return `find_reject_reason` of each value, in order."""
    return [find_reject_reason(value, max_text_chars) for value in values]


def _is_valid_unicode(text: str) -> bool:
    # A lone surrogate is legal in a Python string and in JSON, and cannot be encoded for a tokenizer.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
