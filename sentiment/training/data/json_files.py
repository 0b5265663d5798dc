"""Read JSON lines, JSON arrays of objects, and lines of Python literals (Amazon review release of 2014)."""

import ast
import itertools
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from ...errors import EmptyInputError, UnreadableFileError
from .source import Batch, ReadOptions, Source, batch_rows
from .text_files import Encoding, find_encoding, open_text, translate_errors

_CHUNK_CHARS = 1 << 20
# A file with a longer item in its array counts as damaged.
_MAX_ITEM_CHARS = 1 << 27
# Python needs about 50 times its size to parse a longer line, which is no review.
_MAX_LITERAL_CHARS = 1 << 22
_GAP = re.compile(r"[\s,]*")


def open_json(path: Path, options: ReadOptions) -> Source:
    """Open a file of JSON objects: one per line, or an array, after all of it was checked.

    The keys of all objects are the columns; an object without a key has null in its column. Raises
    UnreadableFileError with the number of the line or item that is no object, and EmptyInputError for a file
    without objects.
    """
    with translate_errors(path, "JSON"):
        encoding = find_encoding(path, options.encoding)
    # A blank line is an object without keys.
    first = list(itertools.islice(filter(None, _read_objects(path, encoding)), 2))
    if len(first) == 1 and all(isinstance(value, list | dict) for value in first[0].values()):
        raise UnreadableFileError(
            f"{path}: is one object that holds all rows or columns, expected an object per review, as pandas "
            "writes with orient='records'; if it has no reviews, move it away"
        )
    columns = tuple(dict.fromkeys(key for row in _read_objects(path, encoding) for key in row))
    if not columns:
        raise EmptyInputError(f"{path}: has no rows")

    def read(names: Sequence[str]) -> Iterator[Batch]:
        return batch_rows(([row.get(name) for name in names] for row in _read_objects(path, encoding)), names)

    return Source(str(path), columns, read, notes=(encoding.note,) if encoding.note else ())


def _read_objects(path: Path, encoding: Encoding) -> Iterator[dict[str, Any]]:
    """Yield the objects of an array if the text begins with `[`, else the object of each line.

    A blank line is an object without keys, so the row is counted among those without text.
    """
    with translate_errors(path, "JSON"), open_text(path, encoding) as file:
        start = file.read(_CHUNK_CHARS)
        while start and not start.strip():
            start = file.read(_CHUNK_CHARS)
        if start.lstrip().startswith("["):
            yield from _read_array(path, file, start.lstrip()[1:])
            return
    with translate_errors(path, "JSON"), open_text(path, encoding) as file:
        for number, line in enumerate(file, 1):
            yield _parse_line(path, number, line) if line.strip() else {}


class _Repeating(dict[str, Any]):
    """An object that has a key twice, with the last value of each."""


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else _Repeating(made)


# Not strict: a line with a tab in a text is JSON, and no Python literal, which has other escapes.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_make_object)


def _check_object(value: object, where: str) -> dict[str, Any]:
    """Return an object of the file; raise UnreadableFileError if it is another value, or has a key twice."""
    if isinstance(value, _Repeating):
        raise UnreadableFileError(
            f"{where}: an object has a key twice, so its value is not known; write the file again"
        )
    if isinstance(value, dict):
        return value
    raise UnreadableFileError(f"{where}: expected a JSON object per line, or one array of objects")


def _parse_line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(line)
    except (ValueError, RecursionError):
        value = _parse_literal(line)
    return _check_object(value, f"{path}, line {number}")


def _parse_literal(line: str) -> object:
    """Return the value of a Python literal, as in the release of 2014; None for any other line.

    None too for one with keys that are no texts, or with an escape that Python does not know, as of damaged
    JSON, in which the other escapes have another meaning.
    """
    if len(line) > _MAX_LITERAL_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parsed = ast.parse(line.strip(), mode="eval")
            value = ast.literal_eval(parsed)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(parsed.body, ast.Dict) or not all(isinstance(key, str) for key in value):
        return None
    return value if len(value) == len(parsed.body.keys) else _Repeating(value)


def _read_array(path: Path, file: TextIO, text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of an array: `text` is its beginning after the bracket, `file` has the rest."""
    position, number = 0, 0
    while True:
        gap = _GAP.match(text, position)
        position = gap.end() if gap else position
        if text.startswith("]", position):
            if (text[position + 1 :] + file.read(_CHUNK_CHARS)).strip():
                raise UnreadableFileError(f"{path}: has more text after its array; write it anew")
            return
        try:
            item, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            more = file.read(max(_CHUNK_CHARS, len(text)))
            if not more or len(text) > _MAX_ITEM_CHARS:
                raise UnreadableFileError(
                    f"{path}, item {number + 1}: expected a JSON object, or the end of the array"
                ) from None
            text, position = text[position:] + more, 0
            continue
        number += 1
        yield _check_object(item, f"{path}, item {number}")
