"""Read CSV and TSV files, in which every row must have as many values as the header."""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ...errors import AmbiguousInputError, ConfigError, EmptyInputError, UnreadableFileError
from ...schema import show_columns
from .csv_checks import Check, check_rows, has_wrapped_values, refuse_swallowed, warn_of_escapes
from .csv_rows import (
    DELIMITER_NAMES,
    NULLS,
    Reading,
    open_lines,
    read_escaped,
    read_names,
    read_quoted,
    read_spaced,
    read_unquoted,
)
from .source import ReadOptions, Source, batch_rows
from .text_files import Encoding, find_encoding, open_text, translate_errors

_DELIMITERS = (",", ";", "\t", "|")


def open_csv(path: Path, options: ReadOptions) -> Source:
    """Open a CSV or TSV file, after all of it was checked.

    Delimiter, encoding and the way of quoting are found out, and noted where they are not the usual ones.
    Only an empty field and the `\\N` of databases are null; every other value is the text as in the file,
    with a warning if values may have escapes. Raises UnreadableFileError with the line of the first row that
    does not fit, AmbiguousInputError if the file can be read in two ways, EmptyInputError if there are no
    rows.
    """
    with translate_errors(path, "CSV"):
        encoding = find_encoding(path, options.encoding)
        delimiter = options.delimiter or _find_delimiter(path, encoding, options)
        header = options.column_names or _read_header(path, encoding, delimiter)
    reading, found = _find_quoting(path, encoding, delimiter, header, options.column_names is None)
    refuse_swallowed(reading, found)
    usual = "\t" if path.name.lower().partition(".tsv")[1] else ","
    notes = [encoding.note, *found.notes]
    if delimiter != usual and options.delimiter is None:
        notes.append(f"delimiter {DELIMITER_NAMES[delimiter]}")
    return Source(
        name=str(path),
        columns=header,
        read=lambda columns: batch_rows(_select(reading, columns), columns),
        notes=tuple(text for text in notes if text),
        warnings=warn_of_escapes(reading, found, options.expected_columns),
    )


def _select(reading: Reading, columns: Sequence[str]) -> Iterator[list[str | None]]:
    places = [reading.header.index(name) for name in columns]
    rows = reading.rows()
    if reading.has_header:
        next(line for line, row in rows if row)
    for _, row in rows:
        if row:
            yield [None if row[place] in NULLS else row[place] for place in places]


def _read_header(path: Path, encoding: Encoding, delimiter: str) -> tuple[str, ...]:
    with open_lines(path, encoding) as file:
        try:
            row = next((row for _, row in read_spaced(file, delimiter) if row), [])
        except csv.Error as error:
            raise UnreadableFileError(f"{path}, line 1: not valid CSV ({error}); check its header") from error
    if not row:
        raise EmptyInputError(f"{path}: has no rows")
    return read_names(row)


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
) -> tuple[Reading, Check]:
    """Return the first way of quoting in which every row fits the header, and what was found then.

    If none fits, the error is that of the standard way.
    """
    make = partial(Reading, path, encoding, delimiter, header, has_header)
    standard = make(read_quoted)
    found = check_rows(standard)
    if _has_escaped_quotes(path, encoding):
        other = check_rows(make(read_escaped))
        if other.digest and found.digest and other.digest != found.digest:
            raise AmbiguousInputError(
                f"{path}: can be read in two ways, with quotation marks escaped by a backslash or doubled; "
                "write it as Parquet or JSON lines"
            )
        if other.digest and not found.digest:
            return make(read_escaped), other.note("quotation marks escaped by backslashes")
    spaced = make(read_spaced)
    if not found.digest or found.has_spaced_quotes:
        other = check_rows(spaced)
        if other.digest and not (found.digest and _differ_in_spaces_only(standard, spaced)):
            return spaced, other.note("spaces before values are no part of them")
    # A file of one column has a value on each line of a text.
    if found.has_lines and len(header) > 1 and check_rows(make(read_unquoted)).digest:
        raise AmbiguousInputError(
            f"{path}: can be read in two ways, with values of several lines in quotation marks, or with a "
            "row per line and quotation marks in the text; write it as Parquet or JSON lines"
        )
    if found.digest:
        return standard, found
    unquoted = make(read_unquoted)
    if delimiter == "\t" and (other := check_rows(unquoted)).digest and not has_wrapped_values(unquoted):
        return unquoted, other.note("quotation marks are part of the text")
    assert found.error is not None  # there is no digest
    raise found.error


def _differ_in_spaces_only(standard: Reading, spaced: Reading) -> bool:
    rows = zip(standard.rows(), spaced.rows(), strict=False)
    return all([v.lstrip() for v in row] == [v.lstrip() for v in other] for (_, row), (_, other) in rows)


def _has_escaped_quotes(path: Path, encoding: Encoding) -> bool:
    with open_text(path, encoding) as file:
        return any('\\"' in line for line in file)


def check_delimiter(delimiter: str | None) -> str | None:
    """Return the delimiter as one character; `tab` and `\\t` mean a tab. Raises ConfigError."""
    if delimiter is None:
        return None
    named = {"tab": "\t", "\\t": "\t", **{name: sign for sign, name in DELIMITER_NAMES.items()}}
    sign = named.get(delimiter, delimiter)
    if len(sign) != 1 or sign in '"\\\r\n':
        raise ConfigError(f"delimiter: expected one character or tab, found {show_columns([delimiter])}")
    return sign
