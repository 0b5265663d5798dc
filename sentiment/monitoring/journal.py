"""Remember which batches belong to which night, so that a night that was killed can be finished later.

Batches have rising numbers in their store. A night writes down the next number before it scores, and the last
one when it has ended; the numbers between belong to it, whoever published them.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import StoreError
from .history import replace_file

JOURNAL = "journal.json"
_VERSION = 1


@dataclass(frozen=True)
class Span:
    """Hold the numbers from `start` up to, but not including, `stop`; None while the night runs."""

    start: int
    stop: int | None = None


Journal = Mapping[datetime.date, Sequence[Span]]


def load_journal(folder: Path) -> Journal:
    """Return the journal in a monitoring folder, empty if there is none. Raises StoreError."""
    path = folder / JOURNAL
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']}")
        return {
            datetime.date.fromisoformat(night): tuple(Span(start, stop) for start, stop in spans)
            for night, spans in content["nights"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path}: cannot be read ({type(error).__name__}), so it is not known which batches belong to "
            "which night; restore it, or remove it, and nights before today cannot be repeated"
        ) from error


def write_journal(folder: Path, journal: Journal) -> None:
    """Replace the journal. Raises StoreError."""
    nights = {
        night.isoformat(): [[span.start, span.stop] for span in journal[night]] for night in sorted(journal)
    }
    content = json.dumps({"version": _VERSION, "nights": nights}, indent=1) + "\n"
    replace_file(folder / JOURNAL, content.encode())


def begin(journal: Journal, night: datetime.date, next_number: int) -> Journal:
    """Return the journal with a running night; what it has published before a kill stays its own.

    Another night that was killed ends here: its batches wait for its repetition.
    """
    begun = {
        other: tuple(_stop(span, next_number) if other != night else span for span in spans)
        for other, spans in journal.items()
    }
    spans = tuple(begun.get(night, ()))
    is_running = bool(spans) and spans[-1].stop is None
    return begun | {night: spans if is_running else (*spans, Span(next_number))}


def end(journal: Journal, night: datetime.date, next_number: int) -> Journal:
    """Return the journal with the night ended."""
    spans = tuple(_stop(span, next_number) for span in journal[night])
    return {**journal, night: tuple(span for span in spans if span.stop != span.start)}


def list_killed(journal: Journal, night: datetime.date) -> list[datetime.date]:
    """Return the other nights that still run by the journal: they were killed, since one holds the lock."""
    return sorted(
        other for other, spans in journal.items() if other != night and any(s.stop is None for s in spans)
    )


def belongs(journal: Journal, night: datetime.date, number: int) -> bool:
    """Return whether the batch with this number belongs to the night."""
    return any(
        span.start <= number and (span.stop is None or number < span.stop) for span in journal.get(night, ())
    )


def _stop(span: Span, number: int) -> Span:
    return span if span.stop is not None else replace(span, stop=number)
