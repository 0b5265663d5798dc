"""How scores are published: staged apart, then one rename makes rows, rejects and manifest appear.

::

    scores/model=<version>/batch=<date>-<id>/   published
        part-*.parquet  _rejected/part-*.pq  _MANIFEST.json
    .scores.staging/<run>/                      being written, out of the sight of `scores/**/*.parquet`

Spark and pandas skip names that begin with `_`; DuckDB and Polars take every `*.parquet` below a folder.
So nothing but published scores bears that suffix.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from ..errors import ConfigError, HeldBatchError, MissingInputError, StoreError, StoreLockedError
from .manifests import MANIFEST, Manifest, PublishedFile, load_manifest
from .paths import find_local_path

STAGING = "_staging"
REJECTED = "_rejected"
REJECTED_SUFFIX = ".pq"
MAX_FILE_ROWS = 1_000_000
"""Of a published file."""
_LOCK = "_lock"
_PROBE = "_probe"
STORE_KEYS = ("model", "batch")
"""Names that the folders of the store give to every reader as columns."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Of renameat2(2)."""


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
class Batch:
    """A published batch."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Such as `model=3/batch=2026-01-31-0123456789ab`."""
        return f"{self.folder.parent.name}/{self.folder.name}"


@dataclass(frozen=True)
class Store:
    """A store; to write, its lock must be held by this process (`open_store`)."""

    root: Path

    def list_batches(self) -> list[Batch]:
        """What is published, in the order in which it was.

        Raises StoreError if a folder or a manifest cannot be read: to go on would score its rows twice.
        """
        folders = [batch for model in _list(self.root, "model=") for batch in _list(model, "batch=")]
        batches = [Batch(folder, load_manifest(folder / MANIFEST)) for folder in folders]
        return sorted(batches, key=lambda batch: (batch.manifest.sequence, batch.name))

    def find_batch(self, name: str) -> Batch:
        """The batch of that name; its last part is enough. Raises MissingInputError if there is none."""
        for batch in self.list_batches():
            if name in (batch.name, batch.folder.name, batch.folder.name.removeprefix("batch=")):
                return batch
        raise MissingInputError(f"{self.root}: has no batch {name}; `list` shows what there is")

    def stage(self) -> Path:
        """A fresh folder to write a batch into; what earlier, killed runs staged is removed.

        It lies beside the store where it can be renamed into it from there, else inside. Raises StoreError
        if neither can be written.
        """
        self.clean()
        name = uuid.uuid4().hex
        inside, beside = self.root / STAGING / name, _beside(self.root) / name
        try:
            beside.mkdir(parents=True)
            self._check_rename(beside)
            return beside
        except OSError:  # another file system, or a parent that is not ours to write
            pass
        try:
            inside.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{self.root}: cannot be written ({error.strerror})") from error
        return inside

    def _check_rename(self, staged: Path) -> None:
        """Raises OSError if what is staged there cannot be renamed into the store.

        Tried with a file: Polars fails if a folder goes away while it looks for files.
        """
        probe = staged / _PROBE
        probe.touch()
        probe.rename(self.root / _PROBE)
        (self.root / _PROBE).unlink()

    def clean(self) -> None:
        """Remove what was staged and not published."""
        for place in (self.root / STAGING, _beside(self.root)):
            shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.root / _PROBE).unlink()

    def publish(self, staged: Path, batch: BatchId, manifest: Manifest) -> Batch:
        """Make the staged folder the batch: all of it appears at once, and survives a power cut.

        The manifest gains the digests of the files. Raises StoreError if a file cannot be written, or if
        the batch is there already: a rename never replaces one. Where the error came after the rename the
        batch is there, and a further run finds it.
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
                f"{target}: publishing it failed ({error.strerror}); repair that and run again: "
                "what was published is known by its manifest"
            ) from error
        return Batch(target, load_manifest(target / MANIFEST))

    def drop(self, batch: Batch) -> None:
        """Take a batch away: its rows are pending again. Readers see all of it or none."""
        away = self.stage() / "dropped"
        try:
            batch.folder.rename(away)
            _sync(batch.folder.parent)
        except OSError as error:
            raise StoreError(f"{batch.folder}: cannot be dropped ({error.strerror})") from error
        self.clean()
        with contextlib.suppress(OSError):  # others are there
            batch.folder.parent.rmdir()

    def replace_batches(self, old: list[Batch], staged: Path, batch: BatchId, manifest: Manifest) -> Batch:
        """Put one staged batch in the place of several of its model, at once for every reader.

        All of the model's folder is exchanged for a copy (of links) with the new batch in it. Who is just
        reading one of the old files may find it gone. Raises StoreError where the file system cannot do it.
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
            raise StoreError(f"{folder}: batches cannot be exchanged here ({error.strerror})") from error
        self.clean()
        target = self.root / batch.folder
        return Batch(target, load_manifest(target / MANIFEST))


@contextlib.contextmanager
def open_store(path: str) -> Iterator[Store]:
    """Hold the store's lock, which the kernel frees when the process dies, and leave nothing unpublished.

    The folder is made if need be, and removed again if nothing was published into it. Raises
    StoreLockedError at once if another run holds it, ConfigError if it cannot be written. A
    HeldBatchError leaves what was staged to be looked at, until the next run.
    """
    root = find_folder(path)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = _lock(root)
    except OSError as error:
        raise ConfigError(f"output: cannot write {root} ({error.strerror})") from error
    store = Store(root)
    is_held = False
    try:
        yield store
    except HeldBatchError:
        is_held = True
        raise
    finally:
        if not is_held:
            store.clean()
        # Unlinked while held: who waits for this file looks again whether it is still the store's. One
        # that stays does no harm.
        with contextlib.suppress(OSError):
            (root / _LOCK).unlink()
        os.close(lock)
        with contextlib.suppress(OSError):  # it has batches: it stays
            root.rmdir()


@contextlib.contextmanager
def peek_store(path: str) -> Iterator[Store]:
    """The store, to be read only: no lock, and nothing is made."""
    yield Store(find_folder(path))


def find_folder(path: str) -> Path:
    """The store's absolute folder, made or not. Raises ConfigError for what cannot be one."""
    root = find_local_path(path)
    if root is None:
        raise ConfigError(
            f"output: {path} is no mounted file system; a batch is published by a rename, which object "
            "stores do not have; choose a folder"
        )
    try:
        is_file = root.exists() and not root.is_dir()
    except OSError as error:
        raise ConfigError(f"output: cannot look at {root} ({error.strerror})") from error
    if is_file:
        raise ConfigError(f"output: {root} is a file, expected a folder")
    return root


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _list(folder: Path, prefix: str) -> list[Path]:
    """What begins so in a folder, if that is there; a glob would pass over what it may not read."""
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith(prefix)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be listed ({error.strerror}); mend that and run again") from error


def _beside(root: Path) -> Path:
    return root.parent / f".{root.name}.staging"


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
        try:
            if _is_same_file(handle, root / _LOCK):
                return handle
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _seal(staged: Path, manifest: Manifest) -> None:
    """Bring a staged folder into the form of a batch, its manifest last."""
    for pattern in ("*.crc", "_SUCCESS"):  # Hadoop's, which say nothing that the manifest does not
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
    """Let two folders change names in one step (Linux)."""
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
