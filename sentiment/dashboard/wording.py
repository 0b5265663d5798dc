"""Format names and reject reasons for the page."""

import re

from .. import schema


def escape_markdown(line: str) -> str:
    """Return one line that shows as plain text: a column name may contain Markdown, even a remote image."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$:])", r"\\\1", " ".join(line.split()))


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 row` or `1,200 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def explain_reject(reason: str) -> str:
    """Describe a reject reason; an unknown one, of a model of another version, is returned unchanged."""
    return schema.REJECT_REASONS.get(reason, reason)
