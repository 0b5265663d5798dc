"""Read fastText lines, `__label__2 Title: text`, in which amazon_polarity circulates."""

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import UnreadableFileError
from .compression import open_bytes
from .source import Batch, ReadOptions, Source, batch_rows
from .text_files import Encoding, check_signature, find_encoding, is_web_page, open_text, translate_errors

_PREFIX = "__label__"
COLUMNS = ("label", "text")


def open_fasttext(path: Path, options: ReadOptions) -> Source:
    """Open a file of fastText lines, with the columns `label` (without prefix) and `text`.

    A line without a label has null there; a blank line is a row of nulls. As in fastText only `\\n` ends a
    line. Raises UnreadableFileError if the first line has no label, or a line has one elsewhere.
    """
    with translate_errors(path, "text"):
        encoding = find_encoding(path, options.encoding)
    if not has_labels(path):
        raise UnreadableFileError(
            f"{path}, line 1: expected {_PREFIX}NAME and a text, as fastText has them; a table needs a name "
            "that ends in .csv, .tsv, .jsonl, .json or .parquet"
        )

    def read(names: Sequence[str]) -> Iterator[Batch]:
        places = [COLUMNS.index(name) for name in names]
        return batch_rows(([row[place] for place in places] for row in _read_lines(path, encoding)), names)

    return Source(str(path), COLUMNS, read, notes=(encoding.note,) if encoding.note else ())


def has_labels(path: Path) -> bool:
    """Return True if a text file begins with a label; others, such as notes and web pages, are no data.

    Raises UnreadableFileError for a file of another kind, which may be data.
    """
    if is_web_page(path):
        return False
    check_signature(path)
    with translate_errors(path, "text"), open_bytes(path) as file:
        head = file.read(1000)
    # In UTF-16 and UTF-32 the letters of a label stand between zeros.
    begin = head.replace(b"\0", b"").lstrip(codecs.BOM_UTF8 + codecs.BOM_UTF16 + b" \t\r\n")
    return begin.startswith(_PREFIX.encode())


def _read_lines(path: Path, encoding: Encoding) -> Iterator[tuple[str | None, str | None]]:
    with translate_errors(path, "text"), open_text(path, encoding, "\n") as file:
        for number, line in enumerate(file, 1):
            text, label = line.lstrip().rstrip("\r\n"), None
            if text.startswith(_PREFIX):
                # As in fastText, any white space ends a label.
                word, text = [*text.split(maxsplit=1), ""][:2]
                label = word.removeprefix(_PREFIX)
            if _PREFIX in text and any(word.startswith(_PREFIX) for word in text.split()):
                found = "several labels" if label is not None else "a label that is not its first word"
                raise UnreadableFileError(
                    f"{path}, line {number}: has {found}, expected one label, then the text"
                )
            yield label, text or None
