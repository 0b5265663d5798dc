"""Find values that cannot be scored, before they are tokenised."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from .. import schema

# Far longer than any review. Without a limit, a single value of a damaged file could keep a worker busy with
# tokenisation for minutes.
MAX_TEXT_CHARS = 1_000_000


def find_reject_reason(value: Any, max_text_chars: int = MAX_TEXT_CHARS) -> str | None:
    """Return why `value` cannot be scored as a review (a key of `schema.REJECT_REASONS`); None if it can.

    None, NaN, NaT and `pandas.NA` are null; a text of only Unicode white space is blank; a container is never
    a text. Length is counted in code points.
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
    return [find_reject_reason(value, max_text_chars) for value in values]


def _is_valid_unicode(text: str) -> bool:
    # Python strings and JSON may contain lone surrogates, which a tokenizer cannot encode.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
