"""What the page says in words."""

import re

from .. import schema


def escape_markdown(line: str) -> str:
    """The text on one line, to be shown as it is: a column's name may hold Markdown, even a remote image."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$:])", r"\\\1", " ".join(line.split()))


def explain_reject(reason: str) -> str:
    """A reject reason in words; one that this version does not know stays as it is."""
    return schema.REJECT_REASONS.get(reason, reason)
