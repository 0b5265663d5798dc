"""Recognise a pickle, which runs code when it is read, without reading it as one."""

import pickle
import pickletools
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_PICKLE_SUFFIXES = frozenset(
    {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".ckpt", ".mar"}
)
_ZIP_MAGIC = b"PK\x03\x04"
_PROTO_OPCODE = 0x80
_PICKLE_OPERATIONS = 8
"""So many that make sense, one after the other, are no chance."""
_LONG_BYTES = 512


def find_pickle(path: Path) -> str | None:
    """Return the kind of pickle that a file is, by name, then content, or None. Raises OSError."""
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        return f"by its name a pickle ({path.suffix})"
    with open(path, "rb") as file:
        magic = file.read(len(_ZIP_MAGIC))
        file.seek(0)
        if magic == _ZIP_MAGIC:
            return _find_pickle_in_zip(path)
        return "a pickle" if starts_as_pickle(file, path.stat().st_size) else None


def starts_as_pickle(file: BinaryIO, size: int) -> bool:
    """Return whether it begins like a pickle of protocol 2 or later; raw weights hardly ever do.

    Its first operations are read (pickletools), none is run.
    """
    magic = file.read(2)
    if len(magic) < 2 or magic[0] != _PROTO_OPCODE or not 2 <= magic[1] <= pickle.HIGHEST_PROTOCOL:
        return False
    file.seek(0)
    try:
        operations = pickletools.genops(_Arguments(file, size))  # type: ignore[arg-type]  # reads, no more
        for n, (operation, _, _) in enumerate(operations):
            if operation.name == "STOP" or n == _PICKLE_OPERATIONS:
                return True
    except _LongArgumentError:
        return True
    except Exception:  # noqa: BLE001 no pickle: pickletools raises whatever its readers of arguments raise
        return False
    return False


class _LongArgumentError(Exception):
    """An operation has an argument that is long, and in the file."""


class _Arguments:
    """A file as pickletools reads it, without the arguments that would fill the memory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tell = file.tell

    def read(self, n: int) -> bytes:
        if n > _LONG_BYTES:
            if n > self._size - self._file.tell():
                return b""
            raise _LongArgumentError
        return self._file.read(n)

    def readline(self) -> bytes:
        return self._file.readline(_LONG_BYTES)


def _find_pickle_in_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "an archive that cannot be read, or a pickle in one"
    has_pickle = any(PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES for name in names)
    return "an archive with a pickle" if has_pickle else None
