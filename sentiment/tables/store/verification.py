"""Check that a published batch still matches its manifest."""

import pyarrow as pa
import pyarrow.parquet as pq

from ...models.integrity import digest_file
from .manifests import MANIFEST, REJECTED, Manifest
from .protocol import Batch


def find_damage(batch: Batch) -> list[str]:
    """List missing, changed and extra files and wrong counts; reads every file completely."""
    manifest = batch.manifest
    found = []
    for file in manifest.files:
        path = batch.folder / file.name
        if not path.is_file():
            found.append(f"{file.name} is missing")
        elif path.stat().st_size != file.size_bytes or digest_file(path) != file.sha256:
            found.append(f"{file.name} is not the file that was published")
        elif _count_rows(batch, file.name) != file.rows:
            found.append(f"{file.name} does not have {file.rows:,} rows")
    listed = {file.name for file in manifest.files} | {MANIFEST}
    there = {str(path.relative_to(batch.folder)) for path in batch.folder.rglob("*") if path.is_file()}
    found += [f"{name} is not in the manifest" for name in sorted(there - listed)]
    rejected = sum(file.rows for file in manifest.files if file.name.startswith(REJECTED))
    scored = sum(file.rows for file in manifest.files) - rejected
    if (scored, rejected) != (manifest.scored_rows, manifest.rejected_rows):
        found.append(
            f"the files hold {scored:,} scores and {rejected:,} rejects, but the manifest states "
            f"{manifest.scored_rows:,} and {manifest.rejected_rows:,}"
        )
    return found + check_counts(manifest)


def check_counts(manifest: Manifest) -> list[str]:
    """Return what is wrong with the counts of a manifest."""
    others = sum(manifest.skipped_rows.values()) + manifest.forgotten_rows
    if manifest.scored_rows + manifest.rejected_rows + others != manifest.input_rows:
        return ["the manifest's counts do not add up to its input rows"]
    return []


def _count_rows(batch: Batch, name: str) -> int | None:
    try:
        rows: int = pq.read_metadata(batch.folder / name).num_rows
    except (pa.ArrowException, OSError):
        return None
    return rows
