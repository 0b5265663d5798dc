"""Keep the memory of a Delta store: one entry per change, each naming the one before it.

An entry is a JSON file under `_sentiment/manifests/`, named by its number and its head, the first 63 bits of
its SHA-256. The table's snapshot names the newest one in two application transactions, so entries that no
commit names, of runs that lost or were killed, are not part of the chain.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from ...errors import StoreError
from ..storage import Storage, call_store

ENTRIES = "_sentiment/manifests"
# Names of the application transactions.
NUMBER, HEAD = "sentiment", "sentiment.head"
_READERS = 16


@dataclass(frozen=True)
class Head:
    """Name the newest entry of the chain: its number and its digest; number 0 is before the first."""

    number: int = 0
    digest: int = 0

    @property
    def name(self) -> str:
        return f"{self.number:08}-{self.digest:016x}.json"


def find_head(table: Any) -> Head:
    """Return the head that the snapshot of a table names; number 0 without a table or an entry."""
    if table is None:
        return Head()
    number, digest = table.transaction_version(NUMBER), table.transaction_version(HEAD)
    return Head() if number is None or digest is None else Head(number, digest)


@dataclass(frozen=True)
class Objects:
    """Read and write small files below the root of a store, on a mounted file system or in a bucket."""

    root: str
    storage: Storage

    def list_names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, which need not exist."""
        selector = pafs.FileSelector(self.storage.to_path(f"{self.root}/{folder}"), allow_not_found=True)
        found = call_store(self.storage, self.root, lambda files: files.get_file_info(selector))
        return sorted(info.base_name for info in found if info.type == pafs.FileType.File)

    def read(self, name: str) -> bytes:
        def read(files: pafs.FileSystem) -> bytes:
            with files.open_input_stream(self.storage.to_path(f"{self.root}/{name}")) as opened:
                content: bytes = opened.read()
                return content

        return call_store(self.storage, f"{self.root}/{name}", read)

    def write(self, name: str, body: bytes) -> None:
        def write(files: pafs.FileSystem) -> None:
            with files.open_output_stream(self.storage.to_path(f"{self.root}/{name}")) as opened:
                opened.write(body)

        call_store(self.storage, f"{self.root}/{name}", write)

    def delete(self, name: str) -> None:
        call_store(
            self.storage,
            self.root,
            lambda files: files.delete_file(self.storage.to_path(f"{self.root}/{name}")),
        )


def read_chain(objects: Objects, head: Head, bodies: dict[str, bytes]) -> list[tuple[str, dict[str, Any]]]:
    """Return the entries from the first to the newest; raise StoreError if one is missing or changed.

    `bodies` holds those that were read before, by name, and gets the new ones: an entry never changes.
    """
    if head.number == 0:
        return []
    if head.name not in bodies:
        names = [name for name in objects.list_names(ENTRIES) if name not in bodies]
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda name: objects.read(f"{ENTRIES}/{name}"), names)
            bodies.update(zip(names, found, strict=True))
    chain = []
    name: str | None = head.name
    while name is not None:
        body = bodies.get(name)
        if body is None or _digest(body) != int(name[9:25], 16):
            raise StoreError(
                f"{objects.root}/{ENTRIES}/{name}: is missing or was changed, so it is not known what was "
                "scored; restore it from a backup"
            )
        entry = json.loads(body)
        chain.append((name, entry))
        name = entry["previous"]
    return chain[::-1]


def write_entry(objects: Objects, base: Head, content: dict[str, Any]) -> Head:
    """Write the entry that follows `base`; return its head. It counts when a commit names it."""
    previous = base.name if base.number else None
    body = json.dumps(
        {"entry_version": 1, "number": base.number + 1, "previous": previous, **content}
    ).encode()
    head = Head(base.number + 1, _digest(body))
    objects.write(f"{ENTRIES}/{head.name}", body)
    return head


def _digest(body: bytes) -> int:
    """Return the first 63 bits of the SHA-256: the largest number that a transaction holds."""
    return int.from_bytes(hashlib.sha256(body).digest()[:8], "big") >> 1
