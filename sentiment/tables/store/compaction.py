"""Merge the batches of one model version into one, without Spark."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ...errors import StoreError
from ..planning import name_compacted
from .folder import MAX_FILE_ROWS, REJECTED, Batch, Store
from .manifests import Manifest
from .scores import open_files
from .verification import find_damage


def compact(store: Store, model_version: str, progress: Callable[[int, int], None]) -> Batch | None:
    """Replace the batches of a model version by one; return None if there are fewer than two.

    Every row keeps the number of the batch in which it was scored. The caller must hold the store's lock.
    Raises StoreError, and changes nothing, if a batch differs from its manifest or if the file system
    cannot exchange folders.
    """
    old = [batch for batch in store.list_batches() if batch.manifest.model_version == model_version]
    if len(old) < 2:
        return None
    for done, batch in enumerate(old):
        progress(done, len(old))
        damage = find_damage(batch)
        if damage:
            raise StoreError(f"{batch.folder}: {damage[0]}; nothing was compacted; restore or drop the batch")
    staged = store.stage()
    manifest = merge_manifests([batch.manifest for batch in old])
    _merge_rows((b.folder for b in old), staged, manifest.scored_rows)
    _merge_rows((b.folder / REJECTED for b in old), staged / REJECTED, manifest.rejected_rows)
    name = name_compacted(manifest.parts, model_version, manifest.scored_at)
    return store.replace_batches(old, staged, name, manifest)


def merge_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """Return one manifest that holds all others; its number, time and model are those of the newest."""
    parts = tuple(origin for manifest in manifests for origin in manifest.origins)
    newest = max(manifests, key=lambda manifest: manifest.sequence)
    return replace(
        newest,
        input_rows=sum(m.input_rows for m in manifests),
        scored_rows=sum(m.scored_rows for m in manifests),
        rejected_rows=sum(m.rejected_rows for m in manifests),
        skipped_rows=_add(m.skipped_rows for m in manifests),
        rejected_by_reason=_add(m.rejected_by_reason for m in manifests),
        labels=_add(m.labels for m in manifests),
        unsure_rows=sum(m.unsure_rows for m in manifests),
        stages=_add(m.stages for m in manifests),
        bad_files=(),
        files=(),
        # The files of the parts no longer exist.
        parts=tuple(replace(part, files=()) for part in parts),
    )


def _add(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for part in counts:
        total.update(part)
    return dict(total)


def _merge_rows(folders: Iterable[Path], target: Path, rows: int) -> None:
    files = [file for folder in folders for file in sorted(folder.glob("part-*"))]
    if not files:
        return
    ds.write_dataset(
        open_files(files),
        target,
        format="parquet",
        basename_template="part-{i}.parquet",
        max_rows_per_file=MAX_FILE_ROWS,
        max_rows_per_group=MAX_FILE_ROWS,
    )
    written = sum(pq.read_metadata(file).num_rows for file in target.glob("part-*"))
    if written != rows:
        raise StoreError(f"audit: {written:,} of {rows:,} rows were copied; nothing was compacted")
