"""Open compressed files, and read all of them or raise an error."""

import functools
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

_READ_BYTES = 1 << 20


def _open_with_arrow(path: Path, codec: str) -> IO[bytes]:
    return cast(IO[bytes], pa.CompressedInputStream(pa.OSFile(str(path)), codec))


class _XzReader(io.RawIOBase):
    """Decompress an xz file: streams, with zeros between and after them.

    The module lzma ends without an error at anything else after a stream, such as a damaged one.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        found = b""
        while not found:
            compressed = b""
            if self._stream.eof:
                compressed = self._stream.unused_data.lstrip(b"\0")
                while not compressed and (more := self._file.read(_READ_BYTES)):
                    compressed = more.lstrip(b"\0")
                if not compressed:
                    return 0
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
            elif self._stream.needs_input and not (compressed := self._file.read(_READ_BYTES)):
                raise EOFError("ends within a stream")
            found = self._stream.decompress(compressed, len(target))
        target[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()


_OPENERS: dict[str, Any] = {
    ".gz": gzip.open,
    # The module bz2 ends without an error where the next stream is damaged; pbzip2 writes many of them.
    ".bz2": functools.partial(_open_with_arrow, codec="bz2"),
    ".xz": lambda path: io.BufferedReader(_XzReader(path.open("rb")), _READ_BYTES),
    ".zst": functools.partial(_open_with_arrow, codec="zstd"),
}
COMPRESSIONS = tuple(_OPENERS)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, and decompress it if its name ends in one of `COMPRESSIONS`."""
    opener = _OPENERS.get(path.suffix.lower())
    return cast(IO[bytes], opener(path) if opener else path.open("rb"))
