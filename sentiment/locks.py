"""Lock a file between processes; the kernel frees the lock when its holder ends."""

import fcntl
import os
from pathlib import Path


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
