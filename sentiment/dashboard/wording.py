"""Put reasons and names into words for the page."""

import re

from .. import schema


def escape_markdown(line: str) -> str:
    """Return the text on one line, shown as it is: a column's name may hold Markdown, even a remote image."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$:])", r"\\\1", " ".join(line.split()))


def explain_reject(reason: str) -> str:
    """Return a reject reason in words; one that this version does not know stays as it is."""
    return schema.REJECT_REASONS.get(reason, reason)
