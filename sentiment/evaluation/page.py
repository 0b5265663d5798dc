"""Render sections as one HTML page that needs nothing else; both reports use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from .sections import Section

_TEMPLATE = "page.html.j2"


class Headline(NamedTuple):
    """Hold a figure for the top of a page, as it is shown; `note` may be empty."""

    title: str
    value: str
    note: str


def render_page(
    *,
    title: str,
    lead: str,
    headlines: Sequence[Headline],
    summary: str,
    sections: Mapping[str, Section],
    missing: Mapping[str, str],
    figures: Mapping[str, str],
) -> str:
    """Return the page as HTML.

    `missing` has the reason for each part that is not there; `figures` are SVG elements by the names that the
    sections use.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        title=title,
        lead=lead,
        headlines=headlines,
        summary=summary,
        sections=sections,
        missing=missing,
        figures={name: Markup(figure) for name, figure in figures.items()},
    )
