"""Merge the manifests and the files of several batches."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ...errors import StoreError
from .files import open_files
from .manifests import BatchId, Manifest, digest_content
from .protocol import MAX_FILE_ROWS


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
        conflicting_ids=sum(m.conflicting_ids for m in manifests),
        repeated_texts=sum(m.repeated_texts for m in manifests),
        forgotten_rows=sum(m.forgotten_rows for m in manifests),
        # Each part keeps its own.
        profile=None,
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


def name_compacted(parts: Sequence[Manifest], model_version: str, scored_at: str) -> BatchId:
    """Name the compacted batch that replaces these batches."""
    return BatchId(
        model_version, scored_at[:10], digest_content([asdict(part.consumption) for part in parts])
    )


def merge_files(folders: Iterable[Path], target: Path, rows: int) -> None:
    """Copy the rows of all files in these folders into as few files as possible."""
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
