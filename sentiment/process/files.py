"""Write files that other processes read, and flush them to the disk."""

import errno
import os
import shutil
import uuid
from pathlib import Path

# What a file system answers that cannot flush a folder; its files are flushed all the same.
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, so that it survives a power failure.

    Raises OSError, also if there is no such folder; an earlier file is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_folder(folder: Path) -> str | None:
    """Remove a folder, or what can be removed of it; return the reason if a part is left, else None.

    NFS keeps a file that is open or memory-mapped under another name until it is closed, so its folder stays.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return (error.strerror or type(error).__name__) if folder.exists() else None
    return None


def explain_left(folder: Path, reason: str) -> str:
    """Return a warning about a folder that `remove_folder` left."""
    return f"{folder}: the work is done, but this folder could not be removed ({reason}); remove it by hand"


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk where the file system can; some network file systems refuse."""
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise


def sync(path: str | Path) -> None:
    """Flush a file or folder to the disk. Raises OSError, for a folder also where that cannot be done."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
