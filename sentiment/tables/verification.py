"""Whether a published batch is still what its manifest says."""

import pyarrow as pa
import pyarrow.parquet as pq

from .manifests import MANIFEST
from .store import REJECTED, Batch, digest_file


def find_damage(batch: Batch) -> list[str]:
    """What differs from the manifest: files that are missing, changed or too many, and counts; reads all."""
    manifest = batch.manifest
    found = []
    for file in manifest.files:
        path = batch.folder / file.name
        if not path.is_file():
            found.append(f"{file.name} is missing")
        elif path.stat().st_size != file.size_bytes or digest_file(path) != file.sha256:
            found.append(f"{file.name} is not the file that was published")
        elif _count_rows(batch, file.name) != file.rows:
            found.append(f"{file.name} has other than {file.rows:,} rows")
    listed = {file.name for file in manifest.files} | {MANIFEST}
    there = {str(path.relative_to(batch.folder)) for path in batch.folder.rglob("*") if path.is_file()}
    found += [f"{name} is not of this batch" for name in sorted(there - listed)]
    rejected = sum(file.rows for file in manifest.files if file.name.startswith(REJECTED))
    scored = sum(file.rows for file in manifest.files) - rejected
    if (scored, rejected) != (manifest.scored_rows, manifest.rejected_rows):
        found.append(
            f"its files hold {scored:,} scores and {rejected:,} rejects, the manifest says "
            f"{manifest.scored_rows:,} and {manifest.rejected_rows:,}"
        )
    skipped = sum(manifest.skipped_rows.values())
    if manifest.scored_rows + manifest.rejected_rows + skipped != manifest.input_rows:
        found.append("its counts do not add up to the rows that it took")
    return found


def _count_rows(batch: Batch, name: str) -> int | None:
    try:
        rows: int = pq.read_metadata(batch.folder / name).num_rows
    except (pa.ArrowException, OSError):
        return None
    return rows
