"""Write email.html, which Domino sends as the body of its message when a run has succeeded.

The title is the subject, styles must be inline, and `.dominoresults` names the attached files
(https://docs.dominodatalab.com/en/4.6.1/reference/runs/Notifications.html, read on 2026-11-28).
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ConfigError

_CELL = "padding: 4px 12px; border-bottom: 1px solid #ddd"
_PAGE = """<head><title>{title}</title></head>
<body style="font-family: sans-serif">
<h2>{title}</h2>
<table style="border-collapse: collapse">{rows}</table>
<p>{note}</p>
</body>
"""


def format_mail(title: str, figures: Mapping[str, str], note: str) -> str:
    """Return the page: a title, a table of figures, and a note; all values are escaped."""
    rows = "".join(
        f'<tr><td style="{_CELL}">{html.escape(name)}</td>'
        f'<td style="{_CELL}; text-align: right">{html.escape(value)}</td></tr>'
        for name, value in figures.items()
    )
    return _PAGE.format(title=html.escape(title), rows=rows, note=html.escape(note))


def write_mail(folder: Path, page: str, attached: Sequence[str]) -> None:
    """Write the page and the list of attached files, relative to `folder`, where Domino looks for them."""
    for name, content in (("email.html", page), (".dominoresults", "".join(f"{one}\n" for one in attached))):
        try:
            (folder / name).write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{folder / name}: cannot be written ({error.strerror})") from error
