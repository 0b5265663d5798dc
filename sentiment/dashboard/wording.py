"""Format names and reject reasons for the page."""

import re

from .. import schema


def escape_markdown(line: str) -> str:
    """Return one line that shows as plain text: a column name may contain Markdown, even a remote image."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$:])", r"\\\1", " ".join(line.split()))


def explain_reject(reason: str) -> str:
    """Describe a reject reason; an unknown one, of a model of another version, is returned unchanged."""
    return schema.REJECT_REASONS.get(reason, reason)
