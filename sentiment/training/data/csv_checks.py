"""Find out if the rows of a CSV file were written in the way they are read."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ...errors import AmbiguousInputError, UnreadableFileError
from .csv_rows import Reading, read_escaped, read_names

_SPACED_QUOTES = re.compile(r' +".*"', re.DOTALL)
_LINE_END = re.compile(r"\r\n|\r|\n")
# So many inner lines of a value must be rows: two lines such as `Size 10,5` may be in any review.
_MIN_INNER_ROWS = 2
# If a larger share of the values of a column are in quotation marks, these are no part of the texts.
_MAX_WRAPPED_SHARE = 0.9
_ESCAPE = re.compile(r'\\(["\\nrt])')
_OTHER_ESCAPES = "\\n, \\r or \\t as two characters"
_ESCAPES = {'"': "a backslash before a quotation mark", "\\": "a doubled backslash"}


Rows = list[list[str]]


@dataclass(frozen=True)
class Check:
    """Hold a digest of all rows of a file and notes about it, or the error that ended its reading.

    `has_lines`: a value has several lines; `has_spaced_quotes`: one is in quotation marks after a space;
    `suspects`: the line of such a value, and the rows that it may be; `escapes`: how many values may have
    escapes, by column and kind.
    """

    digest: str | None
    notes: list[str]
    error: UnreadableFileError | None = None
    has_lines: bool = False
    has_spaced_quotes: bool = False
    suspects: list[tuple[int, Rows]] = field(default_factory=list)
    escapes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, text: str) -> "Check":
        return replace(self, notes=[text, *self.notes])


def check_rows(reading: Reading) -> Check:
    """Read the whole file; an error is returned."""
    digest, n_blank, n_headers = hashlib.blake2b(), 0, 0
    has_lines = has_spaced_quotes = False
    suspects: list[tuple[int, Rows]] = []
    escapes = Counter[tuple[str, str]]()
    try:
        for line, row in reading.rows():
            n_blank += not row
            if not row:
                continue
            joined = "\0\1".join(row)
            digest.update(joined.encode("utf-8", "surrogatepass") + b"\0\2")
            if _has_lines(joined):
                has_lines = True
                suspects += [(line, rows) for rows in split_lines(row, reading.delimiter)]
            if "\\" in joined:
                pairs = zip(reading.header, row, strict=True)
                escapes.update(
                    (name, kind)
                    for name, value in pairs
                    for kind in {_ESCAPES.get(sign, _OTHER_ESCAPES) for sign in _ESCAPE.findall(value)}
                )
            has_spaced_quotes = has_spaced_quotes or any(map(_SPACED_QUOTES.fullmatch, row))
            if len(row) > 1 and read_names(row) == reading.header:
                n_headers += 1
                if n_headers > reading.has_header:
                    raise UnreadableFileError(
                        f"{reading.path}, line {line}: has the names of the columns instead of values; "
                        "remove the line, or do not pass --column_names if it is the first one"
                    )
    except UnreadableFileError as error:
        return Check(None, [], error)
    notes = [f"{n_blank} blank lines, which are no rows"] if n_blank else []
    return Check(digest.hexdigest(), notes, None, has_lines, has_spaced_quotes, suspects, escapes)


def _has_lines(text: str) -> bool:
    return "\n" in text or "\r" in text


def refuse_swallowed(reading: Reading, found: Check) -> None:
    """Raise AmbiguousInputError if a value of several lines may be many rows (see `find_swallowed`)."""
    if not found.suspects:
        return
    others = (row for _, row in reading.rows() if row and not any(map(_has_lines, row)))
    swallowed = find_swallowed([rows for _, rows in found.suspects], others)
    if swallowed is not None:
        line = next(line for line, rows in found.suspects if rows is swallowed)
        raise AmbiguousInputError(
            f"{reading.path}, line {line}: has a value of several lines that may be {len(swallowed)} rows, "
            "as after a quotation mark that is not closed; remove the mark there, or write the file as "
            "Parquet or JSON lines"
        )


def split_lines(row: Sequence[str], delimiter: str) -> list[Rows]:
    """Return the rows that a value of several lines may be, for each such value of a row.

    Its first line goes on with the values before it, and its last line with those after it. The value has at
    least two lines between them; with blank ones left out, every line must have as many values as the row.
    """
    found = []
    for place, value in enumerate(row if len(row) > 1 else []):
        if not _has_lines(value):
            continue
        first, *inner, last = [line.split(delimiter) for line in _LINE_END.split(value)]
        rows = [[*row[:place], *first], *filter(any, inner), [*last, *row[place + 1 :]]]
        if len(rows) >= 2 + _MIN_INNER_ROWS and all(len(fields) == len(row) for fields in rows):
            found.append(rows)
    return found


def find_swallowed(suspects: Sequence[Rows], others: Iterable[Sequence[str]]) -> Rows | None:
    """Return the first of the suspects whose lines are rows, which a stray quotation mark made one value.

    They are rows if in some column, such as that of the labels, all of them have values that other rows have.
    `others` are rows without a value of several lines.
    """
    asked = [
        {fields[place] for rows in suspects for fields in rows} - {""} for place in range(len(suspects[0][0]))
    ]
    seen: list[set[str]] = [set() for _ in asked]
    for row in others:
        for wanted, known, value in zip(asked, seen, row, strict=True):
            if value in wanted:
                known.add(value)
    return next(
        (
            rows
            for rows in suspects
            if any({fields[place] for fields in rows} <= known for place, known in enumerate(seen))
        ),
        None,
    )


def has_wrapped_values(reading: Reading) -> bool:
    """Return True if the header, or nearly all values of a column, are in quotation marks."""
    n_values, n_wrapped = Counter[int](), Counter[int]()
    is_header = reading.has_header
    for _, row in reading.rows():
        are_wrapped = [len(value) > 1 and value[0] == value[-1] == '"' for value in row]
        if row and is_header and any(are_wrapped):
            return True
        n_values.update(place for place, value in enumerate(row) if value and not is_header)
        n_wrapped.update(place for place, is_wrapped in enumerate(are_wrapped) if is_wrapped)
        is_header = is_header and not row
    return any(n_wrapped[place] > _MAX_WRAPPED_SHARE * n for place, n in n_values.items())


def warn_of_escapes(reading: Reading, found: Check, expected: Sequence[str]) -> tuple[str, ...]:
    """Return a warning if values of the expected columns (of all, if none is there) may have escapes."""
    # In the way of Spark, which is certain, no other backslash is an escape.
    if reading.quoting is read_escaped:
        return ()
    columns = set(expected).intersection(reading.header) or set(reading.header)
    counts = Counter[str]()
    for (name, kind), n in found.escapes.items():
        counts[kind] += n * (name in columns)
    kinds = ", ".join(f"{n:,} with {kind}" for kind, n in sorted(counts.items()) if n)
    if not kinds:
        return ()
    return (
        f"{reading.path}: has values with what may be escapes, which stay as they are: {kinds}; if these are "
        "escapes, write the file as Parquet or JSON lines",
    )
