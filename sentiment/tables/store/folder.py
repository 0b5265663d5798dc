"""Publish scores: stage a batch, then make its rows, rejects and manifest appear with one rename.

::

    scores/model=<version>/batch=<date>-<id>/   published
        part-*.parquet  _rejected/part-*.pq  _MANIFEST.json
    .scores.staging/<run>/                      being written; `scores/**/*.parquet` does not match it

Spark and pandas skip names that begin with `_`; DuckDB and Polars read every `*.parquet` below a folder.
Rejects therefore have the suffix `.pq`, and staging is outside the store where a rename from there works.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from ...errors import ConfigError, HeldBatchError, MissingInputError, StoreError, StoreLockedError
from ...locks import lock_file
from ...models.integrity import digest_file
from ..input.paths import find_local_path
from .manifests import MANIFEST, Manifest, PublishedFile, load_manifest

STAGING = "_staging"
REJECTED = "_rejected"
REJECTED_SUFFIX = ".pq"
# Aim for at most this many rows per file; Spark may exceed it.
MAX_FILE_ROWS = 1_000_000
_LOCK = "_lock"
_PROBE = "_probe"
# Keys in the `key=value` folder names; readers add them as columns.
STORE_KEYS = ("model", "batch")
# Constants of renameat2(2).
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@dataclass(frozen=True)
class BatchId:
    """Name a batch by its model version, its date and a digest of its `Consumption`."""

    model_version: str
    date: str
    digest: str

    @property
    def folder(self) -> str:
        """Return the folder of the batch, relative to the store."""
        return f"model={self.model_version}/batch={self.date}-{self.digest}"


@dataclass(frozen=True)
class Batch:
    """Hold a published batch: its folder and its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Return the name, such as `model=3/batch=2026-01-31-0123456789ab`."""
        return f"{self.folder.parent.name}/{self.folder.name}"


@dataclass(frozen=True)
class Store:
    """Read and write a store; writing needs its lock (`open_store`)."""

    root: Path

    def list_batches(self) -> list[Batch]:
        """Return the batches in the order of publication; raise StoreError if one cannot be read."""
        folders = [batch for model in _list(self.root, "model=") for batch in _list(model, "batch=")]
        batches = [Batch(folder, load_manifest(folder / MANIFEST)) for folder in folders]
        return sorted(batches, key=lambda batch: (batch.manifest.sequence, batch.name))

    def find_batch(self, name: str) -> Batch:
        """Return the batch with this name or last part of it; raise MissingInputError if there is none."""
        for batch in self.list_batches():
            if name in (batch.name, batch.folder.name, batch.folder.name.removeprefix("batch=")):
                return batch
        raise MissingInputError(f"{self.root}: has no batch {name}; `list` shows the batches")

    def stage(self) -> Path:
        """Create a new staging folder, and remove those of earlier, killed runs.

        It is next to the store if a rename from there works, else inside. Raises StoreError if neither can
        be written.
        """
        self.clean()
        name = uuid.uuid4().hex
        inside, beside = self.root / STAGING / name, _beside(self.root) / name
        try:
            beside.mkdir(parents=True)
            self._check_rename(beside)
            return beside
        except OSError:  # another file system, or no permission to write there
            pass
        try:
            inside.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{self.root}: cannot be written ({error.strerror})") from error
        return inside

    def _check_rename(self, staged: Path) -> None:
        """Raise OSError if a staged folder cannot be renamed into the store from there."""
        # Rename a file, not a folder: Polars fails if a folder disappears while it lists files.
        probe = staged / _PROBE
        probe.touch()
        probe.rename(self.root / _PROBE)
        (self.root / _PROBE).unlink()

    def clean(self) -> None:
        """Remove everything that was staged but not published."""
        for place in (self.root / STAGING, _beside(self.root)):
            shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.root / _PROBE).unlink()

    def publish(self, staged: Path, batch: BatchId, manifest: Manifest) -> Batch:
        """Publish the staged folder as a batch, which appears in one step and survives a power failure.

        Adds the files' digests to the manifest. Raises StoreError if a file cannot be written or if the
        batch exists: a rename never replaces a batch. After an error that follows the rename, the batch is
        published, and the next run finds it.
        """
        target = self.root / batch.folder
        try:
            _seal(staged, manifest)
            target.parent.mkdir(exist_ok=True)
            _sync_tree(staged)
            staged.rename(target)
            for folder in (target.parent, self.root, self.root.parent):
                _sync(folder)
        except OSError as error:
            raise StoreError(
                f"{target}: publishing failed ({error.strerror}); fix this and run again: "
                "no published row will be scored twice"
            ) from error
        return Batch(target, load_manifest(target / MANIFEST))

    def drop(self, batch: Batch) -> None:
        """Remove a batch, so that its rows are pending again; readers see all of it or none."""
        away = self.stage() / "dropped"
        try:
            batch.folder.rename(away)
            _sync(batch.folder.parent)
        except OSError as error:
            raise StoreError(f"{batch.folder}: cannot be dropped ({error.strerror})") from error
        self.clean()
        with contextlib.suppress(OSError):  # the model has other batches
            batch.folder.parent.rmdir()

    def replace_batches(self, old: list[Batch], staged: Path, batch: BatchId, manifest: Manifest) -> Batch:
        """Replace several batches of a model by one staged batch, in one step for every reader.

        The model's folder is exchanged for a copy, made of hard links, that holds the new batch. A running
        reader may find an old file missing. Raises StoreError if the file system cannot exchange folders.
        """
        folder = self.root / f"model={batch.model_version}"
        copy = staged.parent / f"{staged.name}-copy"
        try:
            _seal(staged, manifest)
            gone = {found.folder.name for found in old}
            for found in sorted(folder.iterdir()):
                if found.name not in gone:
                    shutil.copytree(found, copy / found.name, copy_function=os.link)
            copy.mkdir(exist_ok=True)
            staged.rename(copy / Path(batch.folder).name)
            _sync_tree(copy)
            _exchange(copy, folder)
            _sync(self.root)
        except OSError as error:
            raise StoreError(f"{folder}: its batches cannot be replaced ({error.strerror})") from error
        self.clean()
        target = self.root / batch.folder
        return Batch(target, load_manifest(target / MANIFEST))


@contextlib.contextmanager
def open_store(path: str) -> Iterator[Store]:
    """Hold the store's lock, and remove unpublished files at the end.

    The kernel frees the lock when the process dies. The folder is created if needed, and removed if it stays
    empty. Raises StoreLockedError at once if another run holds the lock, ConfigError if the folder cannot be
    written. After a HeldBatchError the staged files stay until the next run.
    """
    root = find_folder(path)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = lock_file(root / _LOCK)
    except OSError as error:
        raise ConfigError(f"{root}: cannot be written ({error.strerror}); choose another folder") from error
    if lock is None:
        raise StoreLockedError(
            f"{root}: another run is writing this store; wait for it to end, or choose another --output"
        )
    store = Store(root)
    keeps_staged = False
    try:
        yield store
    except HeldBatchError:
        keeps_staged = True
        raise
    finally:
        if not keeps_staged:
            store.clean()
        # Remove the lock file while holding the lock: a process that has already opened the file checks that
        # it is still the store's. A lock file that stays does no harm.
        with contextlib.suppress(OSError):
            (root / _LOCK).unlink()
        os.close(lock)
        with contextlib.suppress(OSError):  # a store with batches stays
            root.rmdir()


@contextlib.contextmanager
def peek_store(path: str) -> Iterator[Store]:
    """Open the store for reading only, without a lock; creates nothing."""
    yield Store(find_folder(path))


def find_folder(path: str) -> Path:
    """Return the store's absolute folder, which need not exist; raise ConfigError if it cannot be one."""
    root = find_local_path(path)
    if root is None:
        raise ConfigError(
            f"{path}: is not on a mounted file system; a batch is published by a rename, which object "
            "stores do not have; choose a folder"
        )
    try:
        is_file = root.exists() and not root.is_dir()
    except OSError as error:
        raise ConfigError(f"{root}: cannot be accessed ({error.strerror})") from error
    if is_file:
        raise ConfigError(f"{root}: is a file, expected the folder of a store; choose another one")
    return root


def _list(folder: Path, prefix: str) -> list[Path]:
    """List names with a prefix in a folder that may not exist; a glob would ignore unreadable folders."""
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith(prefix)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be listed ({error.strerror}); fix this and run again") from error


def _beside(root: Path) -> Path:
    return root.parent / f".{root.name}.staging"


def _seal(staged: Path, manifest: Manifest) -> None:
    """Give a staged folder the form of a batch; write the manifest last."""
    for pattern in ("*.crc", "_SUCCESS"):  # Hadoop's files, which the manifest replaces
        for file in staged.rglob(pattern):
            file.unlink()
    for file in staged.glob(f"{REJECTED}/*.parquet"):
        file.rename(file.with_suffix(REJECTED_SUFFIX))
    files = tuple(
        PublishedFile(
            str(file.relative_to(staged)),
            pq.read_metadata(file).num_rows,
            file.stat().st_size,
            digest_file(file),
        )
        for file in sorted(staged.rglob("part-*"))
    )
    (staged / MANIFEST).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")


def _exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders in one step (Linux only)."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


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
