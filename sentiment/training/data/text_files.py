"""Find the encoding of text files and open them, compressed or not; refuse files that are not text."""

import codecs
import contextlib
import functools
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from ...errors import UnreadableFileError
from .compression import open_bytes

# Byte order marks. UTF-32 comes first, because its mark begins with the mark of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WESTERN = "cp1252"
# In cp1252, what Western European texts hardly have: letters of the north and east, capitals within words,
# three letters with accents or two signs in a row, most signs after a letter, and quotation marks between
# letters. A text in another code page, read as cp1252, is full of them.
_UNLIKELY = re.compile(
    "[ŠŽÐÞÝŸšžðþý]|õ(?!e)|(?<=[a-zß-ÿ])[À-ÖØ-Þ]|[À-ÖØ-öø-ÿ]{3}|[¡-¿]{2}|(?<=[A-Za-zÀ-ÿ])"
    "(?:[‚ƒ„†‡ˆ‰‹¡¢£¤¥¦§¨¬¯³¶¸¹¼½¾¿]|[“”•˜›«»](?=[A-Za-zÀ-ÿ]))"  # noqa: RUF001
)
_MAX_UNLIKELY_SHARE = 0.01
# What Latin-1 has as control characters.
_CONTROLS = bytes(range(0x80, 0xA0))
# In a file of another encoding few letters are UTF-8 by chance, as the last two of `CAF\xc9\xbb`.
_MAX_UTF8_SHARE = 0.2
# Bytes or letters that are examined at once, so that a file need not fit into memory.
_CHUNK_SIZE = 1 << 20
_WEB_PAGES = (b"<!DOCTYPE html", b"<!doctype html", b"<html")
# First bytes of content that a file of text, Parquet or Arrow cannot have, the ends of names that go with it,
# and what to do.
_SIGNATURES: tuple[tuple[bytes, tuple[str, ...], str], ...] = (
    (
        b"version https://git-lfs",
        (),
        "is a pointer of Git LFS and not the file: fetch it with `git lfs pull`",
    ),
    (b"PK\x03\x04", (), "is a ZIP archive or a workbook: unpack it, or save it as CSV"),
    *(
        (mark, (), "is an archive, a database or an old workbook: unpack it, or save it as CSV")
        for mark in (b"7z\xbc\xaf", b"Rar!\x1a", b"SQLite format 3\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    ),
    *(
        (mark, (suffix,), f"is compressed by {name}: let its name end in {suffix}")
        for mark, suffix, name in (
            (b"\x1f\x8b", ".gz", "gzip"),
            (b"BZh91AY&SY", ".bz2", "bzip2"),
            (b"\xfd7zXZ\0", ".xz", "xz"),
            (b"\x28\xb5\x2f\xfd", ".zst", "zstd"),
        )
    ),
    (b"ARROW1", (".arrow",), "is an Arrow file: let its name end in .arrow"),
    *(
        (mark, (), "is a web page, such as the error or log-in page of a download: fetch the file again")
        for mark in _WEB_PAGES
    ),
    (b"PAR1", (".parquet",), "is a Parquet file: let its name end in .parquet"),
)


@dataclass(frozen=True)
class Encoding:
    """Hold the name of an encoding, and a note for the report if it is not UTF-8."""

    name: str
    note: str | None = None


@contextlib.contextmanager
def translate_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn errors of the file system and of decompression into an UnreadableFileError that names the file."""
    try:
        yield
    except (PermissionError, IsADirectoryError, FileNotFoundError) as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except UnicodeError as error:
        raise UnreadableFileError(
            f"{path}: cannot be read as {kind}: it is cut off, or in another encoding than given or "
            "stated; pass another --encoding, or write it again"
        ) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise UnreadableFileError(
            f"{path}: cannot be read as {kind} ({type(error).__name__}): it is damaged, cut off, or of "
            "another format than its name states; write it again"
        ) from error


def is_web_page(path: Path) -> bool:
    """Return True if a file begins as a web page does."""
    return _read_head(path).startswith(_WEB_PAGES)


def check_signature(path: Path) -> None:
    """Raise UnreadableFileError if a file begins as one of another kind, which its name does not state."""
    head = _read_head(path)
    for signature, suffixes, says in _SIGNATURES:
        if head.startswith(signature) and path.suffix.lower() not in suffixes:
            raise UnreadableFileError(f"{path}: {says}")


def _read_head(path: Path) -> bytes:
    with translate_errors(path, "data"), path.open("rb") as file:
        return file.read(64)


def open_text(path: Path, encoding: Encoding, newline: str = "") -> TextIO:
    """Open a text file; line ends stay as they are in the file. By default, all kinds of them end a line."""
    return io.TextIOWrapper(open_bytes(path), encoding.name, newline=newline)


def find_encoding(path: Path, given: str | None) -> Encoding:
    """Return the given encoding; without one, find it from the bytes of the whole file.

    A byte order mark is no part of the text, also with a given encoding. Valid UTF-8 and Unicode with a byte
    order mark are certain. Any other file is read as cp1252 if it looks like Western text then, with a note.
    Raises UnreadableFileError, with the position of the first byte that is not UTF-8, if it does not, and for
    a file of UTF-8 if a code page is given.
    """
    with open_bytes(path) as file:
        head = file.read(4096)
    if given is not None:
        # Python's encodings without a mark in their names read the mark as a letter.
        family = codecs.lookup(given).name
        if not family.startswith("utf"):
            _check_code_page(path, given)
        marked = (name for mark, name in _MARKS.items() if head.startswith(mark))
        name = next((n for n in marked if family.startswith(n.removesuffix("-sig"))), given)
        return Encoding(name, _note_controls(path, given) if family == "iso8859-1" else None)
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return Encoding(name, None if name == "utf-8-sig" else f"encoding {name.upper()}")
    # In UTF-16 every second byte of Latin text is zero.
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = head[offset::2]
        if len(head) > 3 and half.count(0) > 0.4 * len(half) and not head[1 - offset :: 2].count(0):
            return Encoding(name, f"encoding {name.upper()}, without a mark")
    position = _find_undecodable(path)
    if position is None:
        return Encoding("utf-8")
    n_utf8, n_other = _count_letters(path)
    if n_utf8 <= _MAX_UTF8_SHARE * n_other and _looks_western(path):
        return Encoding(
            _WESTERN, f"encoding {_WESTERN}, since byte {position:,} is not UTF-8 (if wrong, pass --encoding)"
        )
    raise UnreadableFileError(
        f"{path}: the byte at position {position:,} is not UTF-8; beyond ASCII {n_utf8:,} letters are UTF-8 "
        f"and {n_other:,} are not; if all of the file is in another encoding, pass it: --encoding cp1252 "
        "(Windows, Western Europe), cp1250 (Windows, Central Europe), mac_roman or another; else the file is "
        "damaged, or joined from files of two encodings: mend it"
    )


def _find_undecodable(path: Path) -> int | None:
    """Return the position of the first byte that is not UTF-8; None if there is none."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK_SIZE):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return read - pending + error.start
            read += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return read - len(decoder.getstate()[0])
    return None


def _count_letters(path: Path) -> tuple[int, int]:
    """Return how many letters beyond ASCII are UTF-8, and how many sequences of bytes are not."""
    decoder, n_utf8, n_other = codecs.getincrementaldecoder("utf-8")("replace"), 0, 0
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK_SIZE):
            text = decoder.decode(chunk)
            replaced = text.count("\ufffd")
            n_other += replaced
            n_utf8 += len(text) - len(text.encode("ascii", "ignore")) - replaced
    return n_utf8, n_other


def _looks_western(path: Path) -> bool:
    """Return True if the file can be read as cp1252, and little of it is unlikely then."""
    n_unlikely = n_other = 0
    with open_text(path, Encoding(_WESTERN)) as file, contextlib.suppress(UnicodeDecodeError):
        while text := file.read(_CHUNK_SIZE):
            n_unlikely += len(_UNLIKELY.findall(text))
            n_other += len(text) - len(text.encode("ascii", "ignore"))
        return n_unlikely <= _MAX_UNLIKELY_SHARE * n_other
    return False


def _check_code_page(path: Path, given: str) -> None:
    """Raise UnreadableFileError if `given` is a code page, and the file surely is UTF-8.

    Every file can be read in a code page of one byte per letter, and many Chinese ones in GBK, so nothing
    else would notice.
    """
    has_single_bytes = len(bytes(range(256)).decode(given, "replace")) == 256
    # So many letters may be UTF-8 by chance: two bytes are more often a letter of both.
    chance = 1 if has_single_bytes else 10
    if _find_undecodable(path) is None and (n_letters := _count_letters(path)[0]) > chance:
        raise UnreadableFileError(
            f"{path}: is UTF-8, by its {n_letters:,} letters beyond ASCII, not {given} as given or stated; "
            "pass --encoding utf-8, or write all files in one encoding"
        )


def _note_controls(path: Path, given: str) -> str | None:
    """Return a note about the control characters of Latin-1 in a file, which hardly any text has."""
    with open_bytes(path) as file:
        chunks = iter(functools.partial(file.read, _CHUNK_SIZE), b"")
        n_controls = sum(len(chunk) - len(chunk.translate(None, _CONTROLS)) for chunk in chunks)
    if not n_controls:
        return None
    return f"in {given} {n_controls:,} letters are control characters, but in cp1252 signs such as quotes"
