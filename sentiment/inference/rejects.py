"""Which values cannot be scored, decided before tokenisation."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from .. import schema


def find_reject_reason(value: Any) -> str | None:
    """Say why `value` cannot be scored as a review, or None if it can.

    Null is None, NaN, NaT or `pandas.NA`, whatever the column's type; blank is Unicode white space
    only. A container is no text, whatever it holds.
    """
    if isinstance(value, str):
        if not value or value.isspace():
            return schema.BLANK_TEXT
        return None if _is_valid_unicode(value) else schema.UNDECODABLE_TEXT
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return schema.NULL_TEXT
    return schema.NOT_TEXT


def find_reject_reasons(values: Iterable[Any]) -> list[str | None]:
    """`find_reject_reason` of each value, in order."""
    return [find_reject_reason(value) for value in values]


def _is_valid_unicode(text: str) -> bool:
    # A lone surrogate is legal in a Python string and in JSON, and cannot be encoded for a tokenizer.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
