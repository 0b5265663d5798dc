"""Remember which batches belong to which night, so that a night that was killed can be finished later.

Batches have rising numbers in their store. A night writes down the next number before it scores, and when it
has ended the last one and the names of its batches, whoever published them: a store whose newest batch was
dropped gives its number to another one.
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
    """Hold the numbers from `start` up to, but not including, `stop`; None while the night runs.

    `names` are those of the batches; a span of an earlier version has none.
    """

    start: int
    stop: int | None = None
    names: tuple[str, ...] = ()


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
            datetime.date.fromisoformat(night): tuple(
                Span(start, stop, tuple(*names)) for start, stop, *names in spans
            )
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
        night.isoformat(): [[span.start, span.stop, span.names] for span in journal[night]]
        for night in sorted(journal)
    }
    content = json.dumps({"version": _VERSION, "nights": nights}, indent=1) + "\n"
    replace_file(folder / JOURNAL, content.encode())


def begin(journal: Journal, night: datetime.date, names: Mapping[int, str]) -> Journal:
    """Return the journal with a running night; what it has published before a kill stays its own.

    `names` are those of the batches that the store has, by their numbers.

    Another night that was killed ends here: its batches wait for its repetition.
    """
    begun = {
        other: tuple(_stop(span, names) if other != night else span for span in spans)
        for other, spans in journal.items()
    }
    spans = tuple(begun.get(night, ()))
    is_running = bool(spans) and spans[-1].stop is None
    return begun | {night: spans if is_running else (*spans, Span(_find_next(names)))}


def end(journal: Journal, night: datetime.date, names: Mapping[int, str]) -> Journal:
    """Return the journal with the night ended."""
    spans = tuple(_stop(span, names) for span in journal[night])
    return {**journal, night: tuple(span for span in spans if span.stop != span.start)}


def list_killed(journal: Journal, night: datetime.date) -> list[datetime.date]:
    """Return the other nights that still run by the journal: they were killed, since one holds the lock."""
    return sorted(
        other for other, spans in journal.items() if other != night and any(s.stop is None for s in spans)
    )


def belongs(journal: Journal, night: datetime.date, number: int, name: str) -> bool:
    """Return whether the batch with this number and name belongs to the night."""
    return any(
        span.start <= number
        and (span.stop is None or number < span.stop)
        and (not span.names or name in span.names)
        for span in journal.get(night, ())
    )


def _stop(span: Span, names: Mapping[int, str]) -> Span:
    if span.stop is not None:
        return span
    mine = tuple(names[number] for number in sorted(names) if number >= span.start)
    return replace(span, stop=max(span.start, _find_next(names)), names=mine)


def _find_next(names: Mapping[int, str]) -> int:
    return 1 + max(names, default=-1)
