"""Pages of a mapped file that a process keeps though it will hardly read them again."""

import ctypes
import logging
import os
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_MADV_DONTNEED = 4
"""Linux's number (madvise(2)); Python's `mmap` can advise on its own mappings alone."""

_log = logging.getLogger(__name__)


def release_pages(file: Path) -> None:
    """Take the pages of a file, wherever this process has mapped it, out of the process's resident memory.

    What is read again comes from the file as before: a mapping that can be written is left alone. Nothing
    happens where the system does not tell what is mapped.
    """
    try:
        mappings = _MAPS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    mapped = str(file.resolve())
    for line in mappings.rstrip("\n").split("\n"):  # a path may hold what `splitlines` takes for an end
        # proc_pid_maps(5): addresses, permissions, offset, device, inode and, of a file, its path.
        addresses, permissions, *_, path = line.split(maxsplit=5)
        if path != mapped or "w" in permissions:
            continue
        start, stop = (int(address, 16) for address in addresses.split("-"))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _MADV_DONTNEED) != 0:
            _log.warning("%s stays in memory: %s", path, os.strerror(ctypes.get_errno()))
