"""Keep private copies of models: what is verified there is what is loaded, since nobody else can change it.

A process has one folder, mode 0700, which it removes when it ends. The folder of a killed process is removed
by the next process that needs one.
"""

import atexit
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

from ..process.locks import lock_file
from .integrity import list_files, list_ignored

_PREFIX = "sentiment-models-"
_LOCK = "lock"
# Process id -> its folder. A forked child must neither use nor remove the folder of its parent.
_roots: dict[int, Path] = {}


def make_folder() -> Path:
    """Make an empty folder for the files of one model, in the folder of this process."""
    pid = os.getpid()
    if pid not in _roots:
        _remove_leftovers()
        _roots[pid] = _make_root()
        atexit.register(_remove_root, _roots[pid], pid)
    return Path(tempfile.mkdtemp(dir=_roots[pid]))


def copy_model(source: Path, target: Path) -> None:
    """Copy the files of a model, without those that MLflow or Python add later, which no record covers.

    Raises ModelIntegrityError for a link or a device, OSError if there is no room.
    """
    for path in list_files(source):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)


def remove_unrecorded(folder: Path) -> None:
    """Remove files that no record covers from a download: Python would run compiled modules among them."""
    for path in list_ignored(folder):
        (folder / path).unlink()


def release(folder: Path) -> None:
    """Remove the weights of a model that is no longer used.

    Its code stays: another model may carry the same package, which imports some modules later.
    """
    shutil.rmtree(folder / "artifacts", ignore_errors=True)


def pack(folder: Path) -> Path:
    """Write the files of a private copy to one zip archive next to it, without compression."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for path in list_files(folder):
            target.write(folder / path, path)
    return archive


def _make_root() -> Path:
    while True:
        root = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            # Never closed: the lock lasts as long as the process.
            if lock_file(root / _LOCK) is not None:
                return root
        except FileNotFoundError:  # another process took the folder for a leftover
            continue


def _remove_root(root: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(root, ignore_errors=True)


def _remove_leftovers() -> None:
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            status = root.lstat()
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            lock = lock_file(root / _LOCK) if is_ours else None
        except FileNotFoundError:  # another process was faster
            continue
        if lock is not None:
            shutil.rmtree(root, ignore_errors=True)
            os.close(lock)
