"""Read the rows of a CSV file in one of the ways of quoting."""

import contextlib
import csv
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import UnreadableFileError
from .text_files import Encoding, open_text, translate_errors

DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

# As MySQL, PostgreSQL and Hive write null.
NULLS = ("", "\\N")
# A first line for Excel, which is blank to others.
_SEPARATOR_LINE = re.compile(r"sep=.\s*")

# A row and the number of its first line; a blank line is a row without values.
Row = tuple[int, list[str]]
# Yields the rows of an open file with this delimiter; raises csv.Error.
Quoting = Callable[[Iterable[str], str], Iterator[Row]]


@dataclass(frozen=True)
class Reading:
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
        with translate_errors(self.path, "CSV"), open_lines(self.path, self.encoding) as file:
            try:
                for line, row in self.quoting(file, self.delimiter):
                    if row and len(row) != len(self.header):
                        where = "the header" if self.has_header else "the given column names"
                        sign = DELIMITER_NAMES.get(self.delimiter, self.delimiter)
                        raise UnreadableFileError(
                            f"{self.path}, line {line}: expected {len(self.header)} values as in {where}, "
                            f"found {len(row)}; put values with a {sign} or a quotation mark in quotation "
                            "marks, or write the file as Parquet"
                        )
                    yield line, row
            except csv.Error as error:
                raise UnreadableFileError(
                    f"{self.path}, after line {line}: not valid CSV ({error}); check the quotation marks "
                    "there, or write the file as Parquet"
                ) from error


@contextlib.contextmanager
def open_lines(path: Path, encoding: Encoding) -> Iterator[Iterator[str]]:
    with open_text(path, encoding) as file:
        first = file.readline()
        yield itertools.chain(["\n" if _SEPARATOR_LINE.fullmatch(first) else first], file)


def read_names(row: Sequence[str]) -> tuple[str, ...]:
    # A byte order mark is in the middle of a file that was joined from several ones.
    return tuple(name.strip().strip("\ufeff") for name in row)


def _read_with_csv(file: Iterable[str], delimiter: str, **options: Any) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(file, delimiter=delimiter, strict=True, **options)
    line = 1
    for row in reader:
        yield line, row
        line = reader.line_num + 1


read_quoted: Quoting = partial(_read_with_csv, quoting=csv.QUOTE_MINIMAL)
# As people write `"text", "label"`.
read_spaced: Quoting = partial(_read_with_csv, quoting=csv.QUOTE_MINIMAL, skipinitialspace=True)
read_unquoted: Quoting = partial(_read_with_csv, quoting=csv.QUOTE_NONE)


def read_escaped(file: Iterable[str], delimiter: str) -> Iterator[Row]:
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
