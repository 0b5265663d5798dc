"""Parse uploaded CSV files and JSON lines; a line that cannot be read is left out, with its reason."""

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import EmptyInputError, InputError, UnreadableFileError
from .columns import Column, make_column

_DELIMITERS = (",", ";", "\t", "|")
# UTF-32 comes first, because its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SHOWN_LINES = 3


@dataclass(frozen=True)
class LeftOut:
    """Say which lines of a file could not be read, and why."""

    first_line: int
    last_line: int
    reason: str

    @property
    def lines(self) -> str:
        """Return the line, or the first and last one, in words."""
        if self.first_line == self.last_line:
            return f"{self.first_line:,}"
        return f"{self.first_line:,} to {self.last_line:,}"


@dataclass(frozen=True)
class _Row:
    """Hold the values of a row, and its lines."""

    first_line: int
    last_line: int
    values: list[str]


def is_unicode(data: bytes) -> bool:
    """Return whether a text is UTF-8, or begins with the mark of another form of Unicode."""
    try:
        data.decode(_find_mark(data) or "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def parse_csv(name: str, data: bytes, encoding: str) -> tuple[dict[str, Column], list[LeftOut]]:
    """Parse a CSV or TSV file with a header into strings, without blank lines.

    Raises an InputError if it has no header, a quote is never closed, or most rows do not fit the header.
    """
    text = _decode(name, data, encoding)
    delimiter = "\t" if name.lower().endswith(".tsv") else _find_delimiter(text)
    rows: list[list[str]] = []
    left_out: list[LeftOut] = []
    for found in _read_rows(name, text, delimiter):
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif rows and len(found.values) != len(rows[0]):
            reason = f"{len(found.values)} values, expected {len(rows[0])} as in the header"
            left_out.append(LeftOut(found.first_line, found.last_line, reason))
        else:
            rows.append(found.values)
    if not rows:
        raise EmptyInputError(f"{name}: has only blank lines; expected column names and reviews")
    header, *values = rows
    advice = "put quotes around values that hold a delimiter or a line break"
    _check_left_out(name, left_out, len(values), advice)
    _check_header(name, header)
    columns = list(zip(*values, strict=True)) if values else [() for _ in header]
    return {key: make_column(column) for key, column in zip(header, columns, strict=True)}, left_out


def parse_json_lines(name: str, data: bytes, encoding: str) -> tuple[dict[str, Column], list[LeftOut]]:
    """Parse one JSON object per line; a key that a line lacks is null. Blank lines are no rows.

    Raises an InputError if most lines are no objects.
    """
    rows: list[dict[str, object]] = []
    left_out: list[LeftOut] = []
    # Not `splitlines`, which also splits at characters that JSON allows inside strings.
    for number, line in enumerate(_decode(name, data, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            left_out.append(LeftOut(number, number, "not valid JSON"))
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            left_out.append(LeftOut(number, number, f"a JSON {type(row).__name__}, expected an object"))
    _check_left_out(name, left_out, len(rows), "write one JSON object per line")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return {key: make_column([row.get(key) for row in rows]) for key in keys}, left_out


def _read_rows(name: str, text: str, delimiter: str) -> Iterator[_Row | LeftOut]:
    """Yield the rows that are not blank, and those that are no valid CSV, after which reading goes on.

    Raises UnreadableFileError if a quote is never closed: the rest of the file is inside it.
    """
    # The default is 131,072 characters, and a longer review would be "not valid CSV".
    csv.field_size_limit(sys.maxsize)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        first = lines.line_num + 1
        try:
            row = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise UnreadableFileError(
                    f"{name}, line {first:,}: not valid CSV: a quote opens in this row and is not closed; "
                    "close it; write a quote inside a value twice"
                ) from error
            yield LeftOut(first, max(first, lines.line_num), f"not valid CSV ({error})")
            continue
        if row:
            yield _Row(first, lines.line_num, row)


def _check_left_out(name: str, left_out: Sequence[LeftOut], n_rows: int, advice: str) -> None:
    """Raise UnreadableFileError if as many lines are left out as are read: the file is of another form."""
    if left_out and len(left_out) >= n_rows:
        some = "; ".join(f"line {found.lines}: {found.reason}" for found in left_out[:_SHOWN_LINES])
        raise UnreadableFileError(
            f"{name}: {len(left_out):,} of {len(left_out) + n_rows:,} rows cannot be read ({some}); {advice}"
        )


def _check_header(name: str, header: Sequence[str]) -> None:
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise InputError(f"{name}: several columns have the name {', '.join(map(repr, twice))}; rename them")


def _decode(name: str, data: bytes, encoding: str) -> str:
    """Return the text; in UTF-8, a byte that is not valid becomes a lone surrogate, which models reject."""
    chosen = _find_mark(data) or encoding
    try:
        return data.decode(chosen, "surrogateescape" if chosen.startswith("utf-8") else "strict")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"{name}: not {chosen} text (byte {error.start:,}); choose another encoding, or save it as UTF-8"
        ) from error


def _find_mark(data: bytes) -> str | None:
    return next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)


def _find_delimiter(text: str) -> str:
    header = text.lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=header.count)
