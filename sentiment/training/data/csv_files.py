"""Read CSV and TSV files, in which every row must have as many values as the header."""

import contextlib
import csv
import hashlib
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import AmbiguousInputError, ConfigError, EmptyInputError, UnreadableFileError
from ...schema import show_columns
from .source import ReadOptions, Source, batch_rows
from .text_files import Encoding, find_encoding, open_text, translate_errors

_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

# As MySQL, PostgreSQL and Hive write null.
_NULLS = ("", "\\N")
# A first line for Excel, which is blank to others.
_SEPARATOR_LINE = re.compile(r"sep=.\s*")
_SPACED_QUOTES = re.compile(r' +".*"', re.DOTALL)

# A row and the number of its first line; a blank line is a row without values.
Row = tuple[int, list[str]]
# Yields the rows of an open file with this delimiter; raises csv.Error.
Quoting = Callable[[Iterable[str], str], Iterator[Row]]


@dataclass(frozen=True)
class _Reading:
    """Hold one way to read a file; `has_header` is false if `header` is not in it."""

    path: Path
    encoding: Encoding
    delimiter: str
    header: tuple[str, ...]
    has_header: bool
    quoting: Quoting

    def rows(self) -> Iterator[Row]:
        """Yield header, rows and blank lines; raise UnreadableFileError at a row of another width."""
        line = 0
        with translate_errors(self.path, "CSV"), _open_lines(self.path, self.encoding) as file:
            try:
                for line, row in self.quoting(file, self.delimiter):
                    if row and len(row) != len(self.header):
                        where = "the header" if self.has_header else "the given column names"
                        raise UnreadableFileError(
                            f"{self.path}, line {line}: expected {len(self.header)} values as in {where}, "
                            f"found {len(row)}; put values with a "
                            f"{_NAMES.get(self.delimiter, self.delimiter)} or a quotation mark in quotation "
                            "marks, or write the file as Parquet"
                        )
                    yield line, row
            except csv.Error as error:
                raise UnreadableFileError(
                    f"{self.path}, after line {line}: not valid CSV ({error}); check the quotation marks "
                    "there, or write the file as Parquet"
                ) from error


def open_csv(path: Path, options: ReadOptions) -> Source:
    """Open a CSV or TSV file, after all of it was checked.

    Delimiter, encoding and the way of quoting are found out, and noted where they are not the usual ones.
    Only an empty field and the `\\N` of databases are null; every other value is the text as in the file.
    Raises UnreadableFileError with the line of the first row that does not fit, EmptyInputError if there are
    no rows.
    """
    with translate_errors(path, "CSV"):
        encoding = find_encoding(path, options.encoding)
        delimiter = options.delimiter or _find_delimiter(path, encoding, options)
        header = options.column_names or _read_header(path, encoding, delimiter)
    reading, found = _find_quoting(path, encoding, delimiter, header, options.column_names is None)
    usual = "\t" if path.name.lower().partition(".tsv")[1] else ","
    notes = [encoding.note, *found]
    if delimiter != usual and options.delimiter is None:
        notes.append(f"delimiter {_NAMES[delimiter]}")
    return Source(
        name=str(path),
        columns=header,
        read=lambda columns: batch_rows(_select(reading, columns), columns),
        notes=tuple(text for text in notes if text),
    )


def _select(reading: _Reading, columns: Sequence[str]) -> Iterator[list[str | None]]:
    places = [reading.header.index(name) for name in columns]
    rows = reading.rows()
    if reading.has_header:
        next(line for line, row in rows if row)
    for _, row in rows:
        if row:
            yield [None if row[place] in _NULLS else row[place] for place in places]


@contextlib.contextmanager
def _open_lines(path: Path, encoding: Encoding) -> Iterator[Iterator[str]]:
    with open_text(path, encoding) as file:
        first = file.readline()
        yield itertools.chain(["\n" if _SEPARATOR_LINE.fullmatch(first) else first], file)


def _read_header(path: Path, encoding: Encoding, delimiter: str) -> tuple[str, ...]:
    with _open_lines(path, encoding) as file:
        try:
            row = next((row for _, row in _read_spaced(file, delimiter) if row), [])
        except csv.Error as error:
            raise UnreadableFileError(f"{path}, line 1: not valid CSV ({error}); check its header") from error
    if not row:
        raise EmptyInputError(f"{path}: has no rows")
    return _read_names(row)


def _read_names(row: Sequence[str]) -> tuple[str, ...]:
    # A byte order mark is in the middle of a file that was joined from several ones.
    return tuple(name.strip().strip("\ufeff") for name in row)


def _find_delimiter(path: Path, encoding: Encoding, options: ReadOptions) -> str:
    """Return the delimiter that gives the header the most expected columns, then the most columns.

    Without a header, the first row has as many values as the given column names.
    """
    is_tsv = bool(path.name.lower().partition(".tsv")[1])
    best, best_rank = "\t" if is_tsv else ",", (0, 0)
    for delimiter in (best, *_DELIMITERS):
        try:
            header = _read_header(path, encoding, delimiter)
        except UnreadableFileError:
            continue
        n_expected = len(set(options.expected_columns) & set(header))
        rank = (n_expected, 0 if n_expected else len(header))
        if options.column_names is not None:
            rank = (int(len(header) == len(options.column_names)), 0)
        if rank > best_rank:
            best, best_rank = delimiter, rank
    return best


def _find_quoting(
    path: Path, encoding: Encoding, delimiter: str, header: tuple[str, ...], has_header: bool
) -> tuple[_Reading, list[str]]:
    """Return the first way of quoting in which every row fits the header, and notes about the file.

    If none fits, the error is that of the standard way.
    """
    make = partial(_Reading, path, encoding, delimiter, header, has_header)
    standard = make(_read_quoted)
    found = _check(standard)
    if _has_escaped_quotes(path, encoding):
        other = _check(make(_read_escaped))
        if other.digest and found.digest and other.digest != found.digest:
            raise AmbiguousInputError(
                f"{path}: can be read in two ways, with quotation marks escaped by a backslash or doubled; "
                "write it as Parquet or JSON lines"
            )
        if other.digest and not found.digest:
            return make(_read_escaped), ["quotation marks escaped by backslashes", *other.notes]
    spaced = make(_read_spaced)
    if not found.digest or found.has_spaced_quotes:
        other = _check(spaced)
        if other.digest and not (found.digest and _differ_in_spaces_only(standard, spaced)):
            return spaced, ["spaces before values are no part of them", *other.notes]
    # A file of one column has a value on each line of a text.
    if found.has_lines and len(header) > 1 and _check(make(_read_unquoted)).digest:
        raise AmbiguousInputError(
            f"{path}: can be read in two ways, with values of several lines in quotation marks, or with a "
            "row per line and quotation marks in the text; write it as Parquet or JSON lines"
        )
    if found.digest:
        return standard, found.notes
    if delimiter == "\t" and (other := _check(make(_read_unquoted))).digest:
        return make(_read_unquoted), ["quotation marks are part of the text", *other.notes]
    assert found.error is not None  # there is no digest
    raise found.error


@dataclass(frozen=True)
class _Check:
    """Hold a digest of all rows of a file and notes about it, or the error that ended its reading.

    `has_lines`: a value has several lines; `has_spaced_quotes`: one is in quotation marks after a space.
    """

    digest: str | None
    notes: list[str]
    error: UnreadableFileError | None = None
    has_lines: bool = False
    has_spaced_quotes: bool = False


def _check(reading: _Reading) -> _Check:
    """Read the whole file."""
    digest, n_blank, n_headers = hashlib.blake2b(), 0, 0
    has_lines = has_spaced_quotes = False
    try:
        for line, row in reading.rows():
            n_blank += not row
            if not row:
                continue
            joined = "\0\1".join(row)
            digest.update(joined.encode("utf-8", "surrogatepass") + b"\0\2")
            has_lines = has_lines or "\n" in joined or "\r" in joined
            has_spaced_quotes = has_spaced_quotes or any(map(_SPACED_QUOTES.fullmatch, row))
            if len(row) > 1 and _read_names(row) == reading.header:
                n_headers += 1
                if n_headers > reading.has_header:
                    raise UnreadableFileError(
                        f"{reading.path}, line {line}: has the names of the columns instead of values; "
                        "remove the line, or do not pass --column_names if it is the first one"
                    )
    except UnreadableFileError as error:
        return _Check(None, [], error)
    notes = [f"{n_blank} blank lines, which are no rows"] if n_blank else []
    return _Check(digest.hexdigest(), notes, None, has_lines, has_spaced_quotes)


def _differ_in_spaces_only(standard: _Reading, spaced: _Reading) -> bool:
    rows = zip(standard.rows(), spaced.rows(), strict=False)
    return all([v.lstrip() for v in row] == [v.lstrip() for v in other] for (_, row), (_, other) in rows)


def _has_escaped_quotes(path: Path, encoding: Encoding) -> bool:
    with open_text(path, encoding) as file:
        return any('\\"' in line for line in file)


def _read_with_csv(file: Iterable[str], delimiter: str, **options: Any) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(file, delimiter=delimiter, strict=True, **options)
    line = 1
    for row in reader:
        yield line, row
        line = reader.line_num + 1


_read_quoted: Quoting = partial(_read_with_csv, quoting=csv.QUOTE_MINIMAL)
# As people write `"text", "label"`.
_read_spaced: Quoting = partial(_read_with_csv, quoting=csv.QUOTE_MINIMAL, skipinitialspace=True)
_read_unquoted: Quoting = partial(_read_with_csv, quoting=csv.QUOTE_NONE)


def _read_escaped(file: Iterable[str], delimiter: str) -> Iterator[Row]:
    r"""Yield rows as Spark writes them: a backslash escapes `"` and itself, but only in a quoted field."""
    separator = re.escape(delimiter)
    field = re.compile(rf'(?:"((?:[^"\\]|\\.)*)"|([^"{separator}\r\n]*))({separator}|\r?\n|\r|$)', re.DOTALL)
    pending, is_open, start = "", False, 1
    for number, line in enumerate(file, 1):
        pending += line
        # A line with an odd number of quotation marks opens or closes a quoted field of several lines.
        is_open ^= bool(re.sub(r"\\.", "", line).count('"') % 2)
        if is_open:
            continue
        yield start, _split_escaped(pending, field, delimiter) if pending.strip("\r\n") else []
        pending, start = "", number + 1
    if is_open:
        raise csv.Error("unexpected end of data")


def _split_escaped(record: str, field: "re.Pattern[str]", delimiter: str) -> list[str]:
    values, position = [], 0
    while True:
        match = field.match(record, position)
        if match is None:
            raise csv.Error("a quotation mark in the middle of a value")
        quoted, bare, end = match.groups()
        values.append(bare if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted))
        position = match.end()
        if end != delimiter:
            return values


def check_delimiter(delimiter: str | None) -> str | None:
    """Return the delimiter as one character; `tab` and `\\t` mean a tab. Raises ConfigError."""
    if delimiter is None:
        return None
    named = {"tab": "\t", "\\t": "\t", **{name: sign for sign, name in _NAMES.items()}}
    sign = named.get(delimiter, delimiter)
    if len(sign) != 1 or sign in '"\\\r\n':
        raise ConfigError(f"delimiter: expected one character or tab, found {show_columns([delimiter])}")
    return sign
