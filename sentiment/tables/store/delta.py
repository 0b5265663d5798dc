"""Publish scores as a Delta table, on a mounted file system or in a bucket.

::

    part-*.parquet  _delta_log/                  the scores: any Delta reader sees whole batches only
    _sentiment/manifests/00000007-<head>.json    one entry per change of ours; each names the one before it
    _sentiment/rejected/part-*.parquet           the rejects

Each commit has two application transactions: the number of its entry, and its head, the first 63 bits of the
SHA-256 of the entry. So what was done is known from the table's snapshot only, atomic with its rows, and
survives log cleanup and OPTIMIZE. Readers and VACUUM skip names that begin with `_`.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ... import schema
from ...errors import ConfigError, ObjectStoreError, StoreError, StoreLockedError
from ...process.files import sync
from ..deltalog import (
    PROBE,
    check_conditional_put,
    find_table,
    import_deltalake,
    list_adds,
    list_deleted_rows,
    make_options,
    translate,
)
from ..storage import Storage, find_storage
from ..uris import resolve_uri
from . import compaction, erasure
from .chain import ENTRIES, HEAD, NUMBER, Head, Objects, find_head, read_chain, write_entry
from .files import Ids, Staging, StoredFile, WrittenFile
from .manifests import MANIFEST_VERSION, BatchId, Manifest, PublishedFile, parse_manifest
from .protocol import Batch, Report
from .verification import check_counts

_REJECTED = "_sentiment/rejected"
# An error of a commit proves nothing, so the table is asked what happened; then the commit is tried again.
_ATTEMPTS = 4
_COMMIT_RETRIES = 15
_FIRST_PAUSE_SECONDS = 0.5
# deltalake writes a local log entry under such a name, and links it to its own.
_UNLINKED = re.compile(r"\.json#[0-9]+$")


class DeltaStore:
    """Keep batches in a Delta table. Writes as of the snapshot that `list_batches` saw first.

    A commit of another run in between raises StoreLockedError: what is pending may have changed.
    """

    def __init__(self, root: str, storage: Storage) -> None:
        self.root = root
        self.storage = storage
        self._objects = Objects(root, storage)
        self._entries: dict[str, bytes] = {}
        self._base: Head | None = None

    @classmethod
    def find(cls, path: str, options: Mapping[str, str] | None = None) -> "DeltaStore":
        """Return the store at `delta:/path` or at a URI, which need not exist."""
        import_deltalake()
        root = resolve_uri(path)
        return cls(root, find_storage(root, options))

    @classmethod
    def create(cls, path: str, options: Mapping[str, str] | None = None) -> "DeltaStore":
        """Return the store for writing. Raises ConfigError if the place holds another table or is unsafe."""
        store = cls.find(path, options)
        table = find_table(store.root, store.storage)
        if table is not None and find_head(table) == Head() and list_adds(table):
            raise ConfigError(
                f"{store.root}: is a Delta table with rows that this job did not write; choose another "
                "--output"
            )
        if not store.storage.is_local:
            check_conditional_put(store.root, store.storage)
        return store

    def list_batches(self) -> list[Batch]:
        table = find_table(self.root, self.storage)
        head = find_head(table)
        if self._base is None:
            self._base = head
        batches: dict[str, Batch] = {}
        for name, entry in read_chain(self._objects, head, self._entries):
            for gone in entry["removed"]:
                batches.pop(gone, None)
            for added in entry["added"]:
                manifest = parse_manifest(json.dumps(added["manifest"]), name)
                batches[added["name"]] = Batch(added["name"], f"{self.root}/{ENTRIES}/{name}", manifest)
        return sorted(batches.values(), key=lambda batch: (batch.manifest.sequence, batch.name))

    def list_files(self, batches: Sequence[Batch], is_rejected: bool) -> list[StoredFile]:
        if is_rejected:
            return [
                StoredFile(f"{self.root}/{file.name}", batch.name, self.storage)
                for batch in batches
                for file in batch.manifest.files
                if file.name.startswith(_REJECTED)
            ]
        table = find_table(self.root, self.storage)
        if table is None or not batches:
            return []
        adds = list_adds(table)
        deleted = list_deleted_rows(table, (add["path"] for add in adds))
        columns = _read_schema(table)
        return [
            StoredFile(
                f"{self.root}/{add['path']}",
                self.root,
                self.storage,
                deleted.get(add["path"], ()),
                columns,
            )
            for add in adds
        ]

    def stage(self) -> Staging:
        """Return the table's own folder: a file is not part of the table before it is committed."""
        if self.storage.is_local:
            for name in (ENTRIES, _REJECTED):
                try:
                    os.makedirs(f"{self.root}/{name}", exist_ok=True)
                except OSError as error:
                    raise StoreError(f"{self.root}: cannot be written ({error.strerror})") from error
        return Staging(self.root, self.storage, f"{self.root}/{_REJECTED}")

    def publish(
        self, staging: Staging, batch: BatchId, manifest: Manifest, files: Sequence[WrittenFile]
    ) -> Batch:
        """Commit the files as one version of the table.

        Raises StoreLockedError if another run has changed the store since this one read it, StoreError if the
        commit fails. After a lost answer the table is asked whether the commit landed.
        """
        named = [
            PublishedFile(file.path[len(self.root) + 1 :], file.rows, file.size_bytes, file.sha256)
            for file in files
        ]
        manifest = replace(manifest, files=tuple(sorted(named, key=lambda file: file.name)))
        scored = [file for file in files if not file.is_rejected]
        self._sync([file.path for file in files])
        if scored:
            self._fit_schema(scored[0])
        adds = [_make_add(file, self.root) for file in scored]
        head = self._commit(
            "publish",
            [],
            {batch.folder: manifest},
            lambda table, properties: _append(table, adds, properties),
        )
        return Batch(batch.folder, f"{self.root}/{ENTRIES}/{head.name}", manifest)

    def _fit_schema(self, file: WrittenFile) -> None:
        """Make the table if it is not there, and add the columns that the file has and the table lacks."""
        deltalake = import_deltalake()
        with StoredFile(file.path, "", self.storage).open() as opened:
            wanted = pq.read_schema(opened).remove_metadata()
        table = find_table(self.root, self.storage)
        with translate(self.root):
            if table is None:
                deltalake.DeltaTable.create(
                    self.root,
                    wanted,
                    mode="ignore",
                    name="scores",
                    storage_options=make_options(self.storage),
                )
                return
            held = _read_schema(table)
            for name in set(wanted.names) & set(held.names):
                if wanted.field(name).type != held.field(name).type:
                    raise StoreError(
                        f"{self.root}: column {name} holds {held.field(name).type}, and the new scores "
                        f"{wanted.field(name).type}; choose another --output"
                    )
            new = [
                field for field in deltalake.Schema.from_arrow(wanted).fields if field.name not in held.names
            ]
            if new:
                table.alter.add_columns(new)

    def _commit(
        self,
        operation: str,
        removed: Sequence[str],
        added: Mapping[str, Manifest],
        act: Callable[[Any, Any], None],
    ) -> Head:
        """Write the next entry of the chain, and change the table by `act` in one commit that names it."""
        deltalake = import_deltalake()
        base = self._base if self._base is not None else self._find_head()
        content = {
            "operation": operation,
            "removed": list(removed),
            "added": [
                {"name": name, "manifest": {"manifest_version": MANIFEST_VERSION, **asdict(manifest)}}
                for name, manifest in added.items()
            ],
        }
        head = write_entry(self._objects, base, content)
        self._sync([f"{self.root}/{ENTRIES}/{head.name}"])
        properties = deltalake.CommitProperties(
            app_transactions=[
                deltalake.Transaction(NUMBER, head.number),
                deltalake.Transaction(HEAD, head.digest),
            ],
            custom_metadata={"sentiment.operation": operation, "sentiment.entry": head.name},
            max_commit_retries=_COMMIT_RETRIES,
        )
        self._try_commit(base, head, lambda table: act(table, properties))
        self._base = head
        self._sync_log()
        return head

    def _try_commit(self, base: Head, head: Head, act: Callable[[Any], None]) -> None:
        """Commit once, whatever the answers say: look before every attempt, and after every error."""
        error: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
            try:
                table = find_table(self.root, self.storage)
                found = find_head(table)
                if found == head:
                    return
                if found != base:
                    raise StoreLockedError(
                        f"{self.root}: another run has changed this store since this run read it; nothing "
                        "was published; run again"
                    )
                if table is None:
                    table = self._make_empty()
                with translate(self.root):
                    act(table)
                return
            except ObjectStoreError as failed:
                error = failed
        # The last attempt may have landed although its answer was lost.
        if self._find_head() == head:
            return
        raise StoreError(
            f"{self.root}: the commit failed {_ATTEMPTS} times ({error}); run again: no published row "
            "will be scored twice"
        ) from error

    def _make_empty(self) -> Any:
        """Make the table for a batch without scores; its columns come with the first scores."""
        deltalake = import_deltalake()
        columns = pa.schema([(schema.SEQUENCE, pa.int64())])
        return deltalake.DeltaTable.create(
            self.root, columns, mode="ignore", name="scores", storage_options=make_options(self.storage)
        )

    def _find_head(self) -> Head:
        return find_head(find_table(self.root, self.storage))

    def drop(self, batch: Batch) -> None:
        """Delete the rows of a batch in one commit; files with rows of other batches are rewritten."""
        sequences = ", ".join(str(origin.sequence) for origin in batch.manifest.origins)
        predicate = f"{schema.SEQUENCE} IN ({sequences})"
        has_rows = batch.manifest.scored_rows > 0

        def act(table: Any, properties: Any) -> None:
            if has_rows:
                table.delete(predicate, commit_properties=properties)
            else:
                _append(table, [], properties)

        self._commit("drop", [batch.name], {}, act)

    def compact(self, model_version: str, report: Report) -> Batch | None:
        """Merge the manifests of a model's batches into one, then the small files of the whole table."""
        old = [batch for batch in self.list_batches() if batch.manifest.model_version == model_version]
        if len(old) < 2:
            return None
        for done, batch in enumerate(old):
            report(done, len(old))
            if damage := self.find_damage(batch):
                raise StoreError(
                    f"{batch.name}: {damage[0]}; nothing was compacted; restore or drop the batch"
                )
        files = tuple(
            file for batch in old for file in batch.manifest.files if file.name.startswith(_REJECTED)
        )
        manifest = replace(compaction.merge_manifests([batch.manifest for batch in old]), files=files)
        name = compaction.name_compacted(manifest.parts, model_version, manifest.scored_at).folder
        self._commit(
            "compact",
            [batch.name for batch in old],
            {name: manifest},
            lambda table, given: _append(table, [], given),
        )
        table = find_table(self.root, self.storage)
        if table is not None:
            with translate(self.root):
                table.optimize.compact()
        self._sync_log()
        return next(batch for batch in self.list_batches() if batch.name == name)

    def forget(self, ids: Ids, report: Report) -> list[tuple[str, ...]]:
        """Delete all rows of these ids in one commit; older versions of the table still hold them."""
        batches = self.list_batches()
        table = find_table(self.root, self.storage)
        if table is None:
            return []
        changed: dict[str, Manifest] = {}
        stale: list[str] = []
        scored = self._find_rows(table, ids)
        erased = ids.list_of(scored)
        for done, batch in enumerate(batches):
            report(done, len(batches))
            manifest = batch.manifest
            own = [origin.sequence for origin in manifest.origins]
            manifest = erasure.subtract(
                manifest, scored.filter(pc.is_in(scored[schema.SEQUENCE], pa.array(own))), is_rejected=False
            )
            manifest, old_files, rejected = erasure.erase_rejects(self._objects, manifest, ids, _REJECTED)
            stale += old_files
            erased += rejected
            if manifest != batch.manifest:
                changed[batch.name] = manifest
        if not changed:
            return []
        source = erasure.make_source(ids, _read_schema(table))
        match = " AND ".join(f't."{name}" = s."{name}"' for name in ids.columns)

        def act(table: Any, properties: Any) -> None:
            if len(scored):
                merging = table.merge(
                    source, match, source_alias="s", target_alias="t", commit_properties=properties
                )
                merging.when_matched_delete().execute()
            else:
                _append(table, [], properties)

        self._commit("forget", list(changed), changed, act)
        for name in stale:
            self._objects.delete(name)
        return erased

    def _find_rows(self, table: Any, ids: Ids) -> pa.Table:
        """Return the scored rows of these ids."""
        found = []
        for file in self.list_files(self.list_batches(), is_rejected=False):
            rows = file.load()
            found.append(rows.filter(pa.array(ids.find(rows))))
        return (
            pa.concat_tables(found, promote_options="default") if found else _read_schema(table).empty_table()
        )

    @property
    def after_forget(self) -> str:
        return (
            "Older versions of the table still hold the rows. When no reader needs them, remove them for "
            "good:\n"
            "  python -m sentiment.tables vacuum "
            f"{self.root if not self.storage.is_local else 'delta:' + self.root}\n"
            "Remove the rows from the reviews too, or a file that is written again brings them back."
        )

    def vacuum(self) -> int:
        """Remove all files that the newest version does not use, and older versions; return their number.

        A reader of an older version fails afterwards.
        """
        table = find_table(self.root, self.storage)
        if table is None:
            return 0
        with translate(self.root):
            gone = table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
        kept = {name for name, _ in read_chain(self._objects, self._find_head(), self._entries)}
        used = {file.name for batch in self.list_batches() for file in batch.manifest.files}
        names = [f"{ENTRIES}/{name}" for name in self._objects.list_names(ENTRIES) if name not in kept]
        names += [
            f"{_REJECTED}/{n}" for n in self._objects.list_names(_REJECTED) if f"{_REJECTED}/{n}" not in used
        ]
        names += self._list_left_by_kills()
        for name in names:
            self._objects.delete(name)
        return len(gone) + len(names)

    def _list_left_by_kills(self) -> list[str]:
        """Return files that only the run that wrote them uses: probes, and log entries before their link."""
        probes = [f"_sentiment/{name}" for name in self._objects.list_names("_sentiment")]
        entries = [f"_delta_log/{name}" for name in self._objects.list_names("_delta_log")]
        return [name for name in probes if name.startswith(PROBE)] + [
            name for name in entries if _UNLINKED.search(name)
        ]

    def find_damage(self, batch: Batch) -> list[str]:
        """Compare the rows of the snapshot, and the files that are still as published, with the manifest."""
        manifest = batch.manifest
        table = find_table(self.root, self.storage)
        held = {add["path"] for add in list_adds(table)} if table is not None else set()
        found = []
        for file in manifest.files:
            is_rejected = file.name.startswith(_REJECTED)
            if not is_rejected and file.name not in held:
                continue  # OPTIMIZE or a deletion has rewritten its rows; they are counted below
            try:
                body = self._objects.read(file.name)
            except ObjectStoreError:
                found.append(f"{file.name} is missing")
                continue
            if hashlib.sha256(body).hexdigest() != file.sha256:
                found.append(f"{file.name} is not the file that was published")
        if not found:
            rows = self._count_rows(tuple(origin.sequence for origin in manifest.origins))
            if rows != manifest.scored_rows:
                found.append(
                    f"the table holds {rows:,} of its rows, but the manifest states {manifest.scored_rows:,}"
                )
        return found + check_counts(manifest)

    def _count_rows(self, sequences: tuple[int, ...]) -> int:
        files = self.list_files(self.list_batches(), is_rejected=False)
        own = pa.array(sequences, pa.int64())
        return sum(
            int(pc.sum(pc.is_in(file.load([schema.SEQUENCE])[schema.SEQUENCE], own)).as_py() or 0)
            for file in files
        )

    def clean(self) -> None:
        """Remove nothing: files that no commit names do no harm, and `vacuum` removes them."""

    def _sync(self, paths: Sequence[str]) -> None:
        """Sync local files and their folders, because deltalake does not."""
        if self.storage.is_local:
            for path in (*paths, *{str(Path(path).parent) for path in paths}):
                sync(path)

    def _sync_log(self) -> None:
        if self.storage.is_local:
            log = Path(self.root) / "_delta_log"
            newest = sorted(log.glob("*.json"))[-2:]
            self._sync([str(path) for path in newest])


def _make_add(file: WrittenFile, root: str) -> Any:
    from deltalake.transaction import AddAction

    path = file.path[len(root) + 1 :]
    statistics = json.dumps(dict(file.statistics))
    return AddAction(path, file.size_bytes, {}, int(time.time() * 1000), True, statistics)


def _append(table: Any, adds: Sequence[Any], properties: Any) -> None:
    table.create_write_transaction(list(adds), "append", table.schema(), commit_properties=properties)


def _read_schema(table: Any) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())
