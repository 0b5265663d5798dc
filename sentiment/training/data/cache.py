"""Keep prepared data in a folder, found again by the content of its files, and bounded in size.

Each entry has the digests of its files, so damage is found before the entry is used.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...errors import ConfigError
from ...process.locks import lock_file
from .text_files import translate_errors

# Entries that were not used for the longest time are removed beyond this size.
MAX_BYTES = 50 * 2**30
_LOCK = "lock"
_DIGESTS = "digests.json"
_PARTIAL = ".partial-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_log = logging.getLogger(__name__)


def default_cache() -> Path:
    """Return the folder of all that the project caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sentiment"


def prepared_cache() -> Path:
    """Return the folder of prepared data: SENTIMENT_DATA_CACHE, else `data` in the cache."""
    return Path(os.environ.get("SENTIMENT_DATA_CACHE") or default_cache() / "data")


def make_key(files: Iterable[Path], facts: Iterable[str]) -> str:
    """Return the name of an entry: a digest of the content of files and of facts, in order.

    Raises UnreadableFileError for a file that cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        with translate_errors(file, "data"):
            digest.update(_digest_file(file))
    for fact in facts:
        digest.update(fact.encode() + b"\0")
    return digest.hexdigest()[:32]


def find_entry(key: str, root: Path) -> Path | None:
    """Return the folder of an entry, and note that it was used; None if there is none.

    A damaged entry, or one of which files are missing, is removed with a warning. Raises ConfigError if it
    cannot be removed.
    """
    folder = root / key
    if not os.path.isdir(folder):  # unlike Path.is_dir, false also where it may not look
        return None
    damaged = _find_damage(folder)
    if damaged is None:
        os.utime(folder)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise ConfigError(
            f"{folder / damaged}: prepared data are damaged and cannot be removed; remove the folder, or set "
            "SENTIMENT_DATA_CACHE to another one"
        )
    _log.warning("%s: prepared data were damaged or incomplete, so they are made again", folder / damaged)
    return None


@contextlib.contextmanager
def write_entry(key: str, root: Path) -> Iterator[Path]:
    """Yield a folder to write to; it becomes the entry when the block ends without error.

    What other processes left when they were killed is removed. Raises ConfigError if `root` cannot be
    written, or has no room.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_partial(root)
        folder = Path(tempfile.mkdtemp(prefix=f"{key}{_PARTIAL}", dir=root))
    except OSError as error:
        raise ConfigError(
            f"cannot write prepared data to {root} ({error.strerror}); set SENTIMENT_DATA_CACHE to another "
            "folder"
        ) from error
    lock = lock_file(folder / _LOCK)
    try:
        yield folder
        (folder / _DIGESTS).write_text(json.dumps(_digest_entry(folder)), encoding="utf-8")
        (folder / _LOCK).unlink()
        # Another process may have written the same entry.
        with contextlib.suppress(OSError):
            folder.rename(root / key)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise ConfigError(
            f"no room for prepared data in {root} ({os.strerror(error.errno)}); make room, or set "
            "SENTIMENT_DATA_CACHE to a folder of a larger file system"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
    remove_oldest(root, MAX_BYTES, keep=key)


def list_entries(root: Path) -> list[tuple[Path, int]]:
    """Return the entries with their sizes in bytes, the most recently used first."""
    folders = [path for path in root.glob("*") if path.is_dir() and _PARTIAL not in path.name]
    folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    return [(folder, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())) for folder in folders]


def remove_oldest(root: Path, max_bytes: int, keep: str | None = None) -> None:
    """Remove the entries that were not used for the longest time, until the others fit; never `keep`."""
    total = 0
    for folder, size in list_entries(root):
        total += size
        if total > max_bytes and folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _remove_partial(root: Path) -> None:
    for folder in root.glob(f"*{_PARTIAL}*"):
        # A folder without lock file was made a moment ago, or is about to become an entry.
        if (folder / _LOCK).exists():
            lock = lock_file(folder / _LOCK)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _find_damage(folder: Path) -> str | None:
    """Return the name of the first file of an entry that is not as it was written; None if all are.

    Raises ConfigError for a file that cannot be read.
    """
    try:
        written = json.loads((folder / _DIGESTS).read_bytes())
        found = _digest_entry(folder)
        return next(
            (name for name in sorted({*written, *found}) if written.get(name) != found.get(name)), None
        )
    except (FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
        return _DIGESTS
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder}: prepared data cannot be read ({error.strerror}); check the disk "
            "and permissions, or set SENTIMENT_DATA_CACHE to another folder"
        ) from error


def _digest_entry(folder: Path) -> dict[str, str]:
    """Return the digest of each file of an entry by name."""
    files = [path for path in folder.iterdir() if path.name not in (_DIGESTS, _LOCK)]
    return {path.name: _digest_file(path).hex() for path in files}


def _digest_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
