"""Lock a file between processes; the kernel frees the lock when its holder ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_ASK_SECONDS = 0.05


def lock_file(path: Path) -> int | None:
    """Lock a file, made if needed; return its descriptor, or None if another process holds the lock.

    A holder may remove the file before it lets go, so the lock counts only if the file is still at `path`.
    Raises OSError if the file cannot be made.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextlib.contextmanager
def hold_lock(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock of a file inside the block, and remove the file afterwards.

    Raises TimeoutError if another process holds it for longer than `wait_seconds`, OSError as `lock_file`.
    """
    last = time.monotonic() + wait_seconds
    while (descriptor := lock_file(path)) is None:
        if time.monotonic() > last:
            raise TimeoutError(f"{path}: another process has held this lock for {wait_seconds:.0f} s")
        time.sleep(_ASK_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
