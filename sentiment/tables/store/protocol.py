"""Define what the folder store and the Delta store both offer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...errors import MissingInputError
from ..storage import Storage
from .files import Ids, Staging, StoredFile, WrittenFile
from .manifests import BatchId, Manifest

# Aim for at most this many rows per file.
MAX_FILE_ROWS = 1_000_000
# Reports the number of finished units and of all units.
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Batch:
    """Hold a published batch: its name, such as `model=3/batch=2026-01-31-0123456789ab`, place and manifest.

    `location` is its folder in a folder store, the URI of its manifest in a Delta store.
    """

    name: str
    location: str
    manifest: Manifest

    @property
    def folder(self) -> Path:
        """Return the folder of a batch in a folder store."""
        return Path(self.location)


class Store(Protocol):
    """List, publish and maintain batches; a reader sees all of a batch or none of it.

    Writing needs the store to be opened for writing (`opening.open_store`). All methods raise StoreError if
    the store cannot be read or written.
    """

    @property
    def root(self) -> str: ...

    @property
    def storage(self) -> Storage: ...

    def list_batches(self) -> list[Batch]:
        """Return the batches in the order of publication."""
        ...

    def list_files(self, batches: Sequence[Batch], is_rejected: bool) -> list[StoredFile]:
        """Return the files that hold the scored or rejected rows of these batches, perhaps with others."""
        ...

    def stage(self) -> Staging:
        """Return a new place for the files of one batch."""
        ...

    def publish(
        self, staging: Staging, batch: BatchId, manifest: Manifest, files: Sequence[WrittenFile]
    ) -> Batch:
        """Publish exactly these files as a batch, in one step, after which it survives a power failure."""
        ...

    def drop(self, batch: Batch) -> None:
        """Remove a batch, so that its rows are pending again."""
        ...

    def compact(self, model_version: str, report: Report) -> Batch | None:
        """Merge the batches of a model version into one; return None if there are fewer than two."""
        ...

    def forget(self, ids: Ids, report: Report) -> list[tuple[str, ...]]:
        """Erase all rows of these ids from every batch; return the id of each erased row, as texts."""
        ...

    @property
    def after_forget(self) -> str:
        """Say what else holds the erased rows, and how to remove it."""
        ...

    def find_damage(self, batch: Batch) -> list[str]:
        """List missing, changed and extra files and wrong counts; reads every file completely."""
        ...

    def vacuum(self) -> int:
        """Remove files that the newest version does not use, so older ones are gone; return their number."""
        ...

    def clean(self) -> None:
        """Remove what was staged by runs that have ended, as far as that is safe."""
        ...


def find_batch(store: Store, name: str) -> Batch:
    """Return the batch with this name or last part of it; raise MissingInputError if there is none."""
    for batch in store.list_batches():
        last = batch.name.rpartition("/")[2]
        if name in (batch.name, last, last.removeprefix("batch=")):
            return batch
    raise MissingInputError(f"{store.root}: has no batch {name}; `list` shows the batches")
