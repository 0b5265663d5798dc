"""Open the store that a path names: a folder, or a Delta table on a mounted file system or in a bucket."""

import contextlib
from collections.abc import Iterator, Mapping

from ..uris import DELTA_PREFIX, find_local_path, find_scheme
from .folder import FolderStore, find_folder, lock_folder
from .protocol import Store


def is_delta(path: str) -> bool:
    """Return True if a path names a Delta store: `delta:/path`, or a URI of an object store."""
    return path.startswith(DELTA_PREFIX) or find_scheme(path) is not None


def find_store(path: str, options: Mapping[str, str] | None = None) -> Store:
    """Return the store for reading, without a lock; it need not exist, and nothing is created.

    Raises ConfigError if the path cannot be that of a store.
    """
    if is_delta(path):
        # Its library is optional, and a folder store does not need it.
        from .delta import DeltaStore

        return DeltaStore.find(path, options)
    return FolderStore(find_folder(path))


@contextlib.contextmanager
def open_store(path: str, options: Mapping[str, str] | None = None) -> Iterator[Store]:
    """Open the store for writing, and remove unpublished files at the end.

    A folder store is locked: raises StoreLockedError at once if another run writes it. Of two runs on one
    Delta table, the second fails when it commits. Raises ConfigError if the store cannot be written.
    """
    if is_delta(path):
        from .delta import DeltaStore

        local = find_local_path(path.removeprefix(DELTA_PREFIX))
        store = DeltaStore.create(path, options)
        with lock_folder(local / "_sentiment", store) if local is not None else contextlib.nullcontext():
            yield store
        return
    folder = FolderStore(find_folder(path))
    with lock_folder(folder.path, folder):
        yield folder


@contextlib.contextmanager
def peek_store(path: str, options: Mapping[str, str] | None = None) -> Iterator[Store]:
    """Open the store for reading only, as a context like `open_store`."""
    yield find_store(path, options)
