"""How scores are published: staged apart, then one rename makes rows, rejects and manifest appear.

::

    scores/_staging/<run>/                    being written
    scores/model=<version>/batch=<date>-<id>/ published
        part-*.parquet  _rejected/part-*.parquet  _MANIFEST.json
"""

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, StoreError, StoreLockedError
from .paths import find_local_path

STAGING = "_staging"
REJECTED = "_rejected"
MANIFEST = "_MANIFEST.json"
_LOCK = "_lock"
STORE_KEYS = ("model", "batch")
"""Names that the folders of the store give to every reader as columns."""


@dataclass(frozen=True)
class BatchId:
    """Names a batch: the day it was scored, and a digest of what it consumed and what scored it."""

    model_version: str
    date: str
    digest: str

    @property
    def folder(self) -> str:
        """Where the batch lies, relative to the store."""
        return f"model={self.model_version}/batch={self.date}-{self.digest}"


@dataclass(frozen=True)
class Store:
    """A store whose lock this process holds (`open_store`)."""

    root: Path

    def read_manifests(self, model_version: str) -> list[dict[str, Any]]:
        """The manifests of what this model version has scored: the only memory of earlier runs.

        Raises StoreError if one cannot be read: to go on would score its rows twice.
        """
        manifests = []
        for path in sorted(self.root.glob(f"model={model_version}/batch=*/{MANIFEST}")):
            try:
                manifests.append(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                raise StoreError(
                    f"{path}: cannot be read, so it is not known what was scored; restore it, "
                    "or remove its batch"
                ) from error
        return manifests

    def stage(self) -> Path:
        """A fresh folder to write a batch into; what earlier, killed runs staged is removed."""
        shutil.rmtree(self.root / STAGING, ignore_errors=True)
        staged = self.root / STAGING / uuid.uuid4().hex
        staged.mkdir(parents=True)
        return staged

    def publish(self, staged: Path, batch: BatchId, manifest: dict[str, Any]) -> Path:
        """Make the staged folder the batch: all of it appears at once, and survives a power cut.

        Raises StoreError if a file cannot be written, or if the batch is there already: a rename never
        replaces one.
        """
        target = self.root / batch.folder
        try:
            (staged / MANIFEST).write_text(json.dumps(manifest, indent=2, default=str) + "\n")
            _remove_spark_marks(staged)
            target.parent.mkdir(exist_ok=True)
            _sync_tree(staged)
            staged.rename(target)
            _sync(target.parent)
            _sync(self.root)
            _sync(self.root.parent)
        except OSError as error:
            raise StoreError(f"{target}: cannot be published ({error.strerror})") from error
        return target


@contextlib.contextmanager
def open_store(path: str) -> Iterator[Store]:
    """Hold the store's lock, which the kernel frees when the process dies, and leave nothing unpublished.

    The folder is made if need be, and removed again if nothing was published into it. Raises
    StoreLockedError at once if another run holds it, ConfigError if it cannot be written.
    """
    root = find_folder(path)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = _lock(root)
    except OSError as error:
        raise ConfigError(f"output: cannot write {root} ({error.strerror})") from error
    try:
        yield Store(root)
    finally:
        shutil.rmtree(root / STAGING, ignore_errors=True)
        # Unlinked while held: who waits for this file looks again whether it is still the store's.
        (root / _LOCK).unlink()
        os.close(lock)
        with contextlib.suppress(OSError):  # it has batches: it stays
            root.rmdir()


def _lock(root: Path) -> int:
    while True:
        handle = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise StoreLockedError(
                f"{root}: another run is writing this store; wait for it to end, or choose another --output"
            ) from error
        if _is_same_file(handle, root / _LOCK):
            return handle
        os.close(handle)


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def find_folder(path: str) -> Path:
    """The store's absolute folder, made or not. Raises ConfigError for what cannot be one."""
    root = find_local_path(path)
    if root is None:
        raise ConfigError(
            f"output: {path} is no mounted file system; a batch is published by a rename, which object "
            "stores do not have; choose a folder"
        )
    if root.exists() and not root.is_dir():
        raise ConfigError(f"output: {root} is a file, expected a folder")
    return root


def _remove_spark_marks(staged: Path) -> None:
    """Hadoop's checksums and success marks say nothing that the manifest does not."""
    for pattern in ("*.crc", "_SUCCESS"):
        for file in staged.rglob(pattern):
            file.unlink()


def _sync_tree(folder: Path) -> None:
    for file in folder.rglob("*"):
        _sync(file)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
