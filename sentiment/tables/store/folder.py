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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from ...errors import ConfigError, HeldBatchError, StoreError, StoreLockedError
from ...models.integrity import digest_file
from ...process.files import sync, sync_folder
from ...process.locks import lock_file
from ..storage import LOCAL, Storage
from ..uris import find_local_path
from . import compaction, erasure, verification
from .files import Ids, Staging, StoredFile, WrittenFile
from .manifests import MANIFEST, REJECTED, BatchId, Manifest, PublishedFile, load_manifest
from .protocol import Batch, Report, Store

STAGING = "_staging"
# DuckDB and Polars read every `*.parquet` below a folder, and rejects are no scores.
REJECTED_SUFFIX = ".pq"
_LOCK = "_lock"
_PROBE = "_probe"
# Constants of renameat2(2).
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@dataclass(frozen=True)
class FolderStore:
    """Keep batches in a folder of a mounted file system; writing needs its lock (`lock_folder`)."""

    path: Path

    @property
    def root(self) -> str:
        return str(self.path)

    @property
    def storage(self) -> Storage:
        return LOCAL

    def list_batches(self) -> list[Batch]:
        folders = [batch for model in _list(self.path, "model=") for batch in _list(model, "batch=")]
        batches = [_make_batch(folder) for folder in folders]
        return sorted(batches, key=lambda batch: (batch.manifest.sequence, batch.name))

    def list_files(self, batches: Sequence[Batch], is_rejected: bool) -> list[StoredFile]:
        return [
            StoredFile(str(file), batch.name)
            for batch in batches
            for file in sorted((batch.folder / REJECTED if is_rejected else batch.folder).glob("part-*"))
        ]

    def stage(self) -> Staging:
        """Return a new staging folder.

        It is next to the store if a rename from there works, else inside. Raises StoreError if neither can
        be written.
        """
        return Staging(str(self._make_staging()), rejected_suffix=REJECTED_SUFFIX)

    def _make_staging(self) -> Path:
        name = uuid.uuid4().hex
        inside, beside = self.path / STAGING / name, _beside(self.path) / name
        try:
            beside.mkdir(parents=True)
            self._check_rename(beside)
            return beside
        except OSError:  # another file system, or no permission to write there
            pass
        try:
            inside.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written ({error.strerror})") from error
        return inside

    def _check_rename(self, staged: Path) -> None:
        """Raise OSError if a staged folder cannot be renamed into the store from there."""
        # Rename a file, not a folder: Polars fails if a folder disappears while it lists files.
        probe = staged / _PROBE
        probe.touch()
        probe.rename(self.path / _PROBE)
        (self.path / _PROBE).unlink()

    def clean(self) -> None:
        """Remove everything that was staged but not published."""
        for place in (self.path / STAGING, _beside(self.path)):
            shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.path / _PROBE).unlink()

    def publish(
        self, staging: Staging, batch: BatchId, manifest: Manifest, files: Sequence[WrittenFile]
    ) -> Batch:
        """Publish the files as a batch, which appears in one step and survives a power failure.

        Raises StoreError if a file cannot be written or if the batch exists: a rename never replaces a batch.
        After an error that follows the rename, the batch is published, and the next run finds it.
        """
        target = self.path / batch.folder
        ready = Path(staging.folder) / "batch"
        try:
            ready.mkdir()
            _seal(ready, manifest, _collect(ready, files))
            target.parent.mkdir(exist_ok=True)
            _sync_tree(ready)
            ready.rename(target)
            for folder in (target.parent, self.path, self.path.parent):
                sync_folder(folder)
        except OSError as error:
            raise StoreError(
                f"{target}: publishing failed ({error.strerror}); fix this and run again: "
                "no published row will be scored twice"
            ) from error
        shutil.rmtree(staging.folder, ignore_errors=True)
        return _make_batch(target)

    def drop(self, batch: Batch) -> None:
        away = self._make_staging() / "dropped"
        try:
            batch.folder.rename(away)
            sync_folder(batch.folder.parent)
        except OSError as error:
            raise StoreError(f"{batch.folder}: cannot be dropped ({error.strerror})") from error
        self.clean()
        with contextlib.suppress(OSError):  # the model has other batches
            batch.folder.parent.rmdir()

    def compact(self, model_version: str, report: Report) -> Batch | None:
        """Merge the batches of a model version into one; return None if there are fewer than two.

        Every row keeps the number of the batch in which it was scored. Raises StoreError, and changes
        nothing, if a batch differs from its manifest or if the file system cannot exchange folders.
        """
        old = [batch for batch in self.list_batches() if batch.manifest.model_version == model_version]
        if len(old) < 2:
            return None
        self._check(old, report)
        staged = self._make_staging()
        manifest = compaction.merge_manifests([batch.manifest for batch in old])
        compaction.merge_files((b.folder for b in old), staged, manifest.scored_rows)
        compaction.merge_files((b.folder / REJECTED for b in old), staged / REJECTED, manifest.rejected_rows)
        name = compaction.name_compacted(manifest.parts, model_version, manifest.scored_at)
        self._replace(model_version, old, {Path(name.folder).name: staged}, {staged: manifest})
        return _make_batch(self.path / name.folder)

    def forget(self, ids: Ids, report: Report) -> list[tuple[str, ...]]:
        """Erase all rows of these ids, in one step per model version; return the id of each erased row."""
        batches = self.list_batches()
        self._check(batches, report)
        erased: list[tuple[str, ...]] = []
        for version in sorted({batch.manifest.model_version for batch in batches}):
            some = [batch for batch in batches if batch.manifest.model_version == version]
            staged, manifests = {}, {}
            for batch in some:
                folder = self._make_staging()
                manifest, found = erasure.copy_without(batch, folder, ids)
                if found:
                    staged[batch.folder.name], manifests[folder] = folder, manifest
                    erased += found
            gone = [batch for batch in some if batch.folder.name in staged]
            if gone:
                self._replace(version, gone, staged, manifests)
        self.clean()
        return erased

    def _check(self, batches: Sequence[Batch], report: Report) -> None:
        for done, batch in enumerate(batches):
            report(done, len(batches))
            damage = self.find_damage(batch)
            if damage:
                raise StoreError(
                    f"{batch.folder}: {damage[0]}; nothing was changed; restore or drop the batch"
                )

    def _replace(
        self,
        model_version: str,
        old: Sequence[Batch],
        staged: Mapping[str, Path],
        manifests: Mapping[Path, Manifest],
    ) -> None:
        """Replace several batches of a model by staged ones, in one step for every reader.

        The model's folder is exchanged for a copy, made of hard links, that holds the new batches. A running
        reader may find an old file missing. Raises StoreError if the file system cannot exchange folders.
        """
        folder = self.path / f"model={model_version}"
        copy = self._make_staging() / "copy"
        try:
            for place, manifest in manifests.items():
                _seal(place, manifest, _describe(place))
            gone = {found.folder.name for found in old}
            copy.mkdir()
            for found in sorted(folder.iterdir()):
                if found.name not in gone:
                    shutil.copytree(found, copy / found.name, copy_function=os.link)
            for name, place in staged.items():
                place.rename(copy / name)
            _sync_tree(copy)
            _exchange(copy, folder)
            sync_folder(self.path)
        except OSError as error:
            raise StoreError(f"{folder}: its batches cannot be replaced ({error.strerror})") from error
        self.clean()

    @property
    def after_forget(self) -> str:
        return (
            "The files of this store hold the rows no longer. Remove them from the reviews too, or a file "
            "that is written again brings them back; backups and snapshots of the disk are not reached."
        )

    def vacuum(self) -> int:
        """Return 0: a folder store keeps no older versions."""
        return 0

    def find_damage(self, batch: Batch) -> list[str]:
        return verification.find_damage(batch)


@contextlib.contextmanager
def lock_folder(root: Path, store: Store) -> Iterator[None]:
    """Hold the lock of a store's folder, and remove unpublished files before and after.

    The kernel frees the lock when the process dies. The folder is created if needed, and removed if it stays
    empty. Raises StoreLockedError at once if another run holds the lock, ConfigError if the folder cannot be
    written. After a HeldBatchError the staged files stay until the next run.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = lock_file(root / _LOCK)
    except OSError as error:
        raise ConfigError(f"{root}: cannot be written ({error.strerror}); choose another folder") from error
    if lock is None:
        raise StoreLockedError(
            f"{root}: another run is writing this store; wait for it to end, or choose another --output"
        )
    keeps_staged = False
    try:
        store.clean()
        yield
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


def find_folder(path: str) -> Path:
    """Return the store's absolute folder, which need not exist; raise ConfigError if it cannot be one."""
    root = find_local_path(path)
    if root is None:
        raise ConfigError(f"{path}: is not on a mounted file system; choose a folder")
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


def _make_batch(folder: Path) -> Batch:
    return Batch(f"{folder.parent.name}/{folder.name}", str(folder), load_manifest(folder / MANIFEST))


def _collect(ready: Path, files: Sequence[WrittenFile]) -> list[PublishedFile]:
    """Move the written files into the form of a batch; what else was staged, by lost tasks, stays behind."""
    found = []
    for is_rejected, place in ((False, ready), (True, ready / REJECTED)):
        some = [file for file in files if file.is_rejected == is_rejected]
        for number, file in enumerate(sorted(some, key=lambda file: file.path)):
            place.mkdir(exist_ok=True)
            suffix = REJECTED_SUFFIX if is_rejected else ".parquet"
            target = place / f"part-{number:05}{suffix}"
            os.rename(file.path, target)
            name = str(target.relative_to(ready))
            found.append(PublishedFile(name, file.rows, file.size_bytes, file.sha256))
    return found


def _seal(staged: Path, manifest: Manifest, files: Sequence[PublishedFile]) -> None:
    """Write the manifest, which completes a batch."""
    (staged / MANIFEST).write_text(replace(manifest, files=tuple(files)).to_json(), encoding="utf-8")


def _describe(staged: Path) -> list[PublishedFile]:
    """Describe the files of a staged batch, which this process wrote."""
    return [
        PublishedFile(
            str(file.relative_to(staged)),
            pq.read_metadata(file).num_rows,
            file.stat().st_size,
            digest_file(file),
        )
        for file in sorted(staged.rglob("part-*"))
    ]


def _exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders in one step (Linux only)."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _sync_tree(folder: Path) -> None:
    for place in (folder, *folder.rglob("*")):
        (sync_folder if place.is_dir() else sync)(place)
