"""Erase the rows of given ids from the files of a batch, for good."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ... import schema
from ...errors import ConfigError
from ..input.types import cast_column, check_carried
from .chain import Objects
from .files import Ids, StoredFile
from .manifests import REJECTED, Manifest, PublishedFile
from .protocol import Batch


def load_ids(path: str, columns: tuple[str, ...]) -> Ids:
    """Read ids from a text file with one per line, or a Parquet or CSV file with the id columns.

    Raises ConfigError if the file cannot be read, has no ids or lacks a column.
    """
    file = Path(path)
    try:
        if file.suffix == ".parquet":
            table = pq.read_table(file, columns=list(columns))
            values = [_write_texts(path, name, table[name]) for name in columns]
        elif file.suffix == ".csv":
            frame = pd.read_csv(file, dtype=str, keep_default_na=False, usecols=list(columns))
            values = [frame[name].tolist() for name in columns]
        else:
            if len(columns) > 1:
                raise ConfigError(
                    f"ids: {path} has one value per line, but the ids have {len(columns)} columns "
                    f"({', '.join(columns)}); expected a .csv or .parquet file with these columns"
                )
            # Editors on Windows begin a file with a mark, which is no part of the first id.
            lines = file.read_text(encoding="utf-8-sig").split("\n")
            values = [[line.removesuffix("\r") for line in lines if line.strip()]]
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ConfigError(f"ids: {path} cannot be read with the columns {', '.join(columns)}") from error
    ids = frozenset(row for row in zip(*values, strict=True) if None not in row)
    if not ids:
        raise ConfigError(f"ids: {path} holds no ids")
    return Ids(columns, ids)


def _write_texts(path: str, name: str, values: pa.ChunkedArray) -> list[str | None]:
    """Return the values of an id column as texts of what the store holds."""
    carried = check_carried(path, name, values.type)
    return [
        text for part in values.chunks for text in cast_column(part, carried).cast(pa.string()).to_pylist()
    ]


def copy_without(batch: Batch, target: Path, ids: Ids) -> tuple[Manifest, list[tuple[str, ...]]]:
    """Copy the files of a batch without the rows of these ids; return its manifest, and the rows' ids."""
    manifest, erased = batch.manifest, []
    for file in manifest.files:
        rows = pq.ParquetFile(batch.folder / file.name).read()
        is_erased = ids.find(rows)
        gone, kept = rows.filter(pa.array(is_erased)), rows.filter(pa.array(~is_erased))
        manifest = subtract(manifest, gone, file.name.startswith(REJECTED))
        erased += ids.list_of(gone)
        if len(kept):
            (target / file.name).parent.mkdir(exist_ok=True)
            pq.write_table(kept, target / file.name)
    return manifest, erased


def subtract(manifest: Manifest, gone: pa.Table, is_rejected: bool) -> Manifest:
    """Return the manifest of a batch without these rows. The profile has no ids, and stays."""
    forgotten = manifest.forgotten_rows + len(gone)
    if is_rejected:
        reasons = _subtract(manifest.rejected_by_reason, gone[schema.REJECT_REASON])
        left = manifest.rejected_rows - len(gone)
        return replace(manifest, rejected_rows=left, rejected_by_reason=reasons, forgotten_rows=forgotten)
    n_unsure = sum(map(bool, gone[schema.UNSURE].to_pylist())) if schema.UNSURE in gone.column_names else 0
    return replace(
        manifest,
        scored_rows=manifest.scored_rows - len(gone),
        labels=_subtract(manifest.labels, gone[schema.LABEL]),
        stages=_subtract(manifest.stages, gone[schema.STAGE]),
        unsure_rows=manifest.unsure_rows - n_unsure,
        forgotten_rows=forgotten,
    )


def _subtract(counts: dict[str, int], values: pa.ChunkedArray) -> dict[str, int]:
    left = Counter(counts)
    left.subtract(values.to_pylist())
    return {name: count for name, count in left.items() if count}


def erase_rejects(
    objects: Objects, manifest: Manifest, ids: Ids, folder: str
) -> tuple[Manifest, list[str], list[tuple[str, ...]]]:
    """Write the rejects of a Delta store's batch without these ids to new files.

    Returns the manifest with the new files, the names of the old ones, which are still there, and the ids of
    the rows.
    """
    files, stale, erased = [], [], []
    for file in manifest.files:
        rows = None
        if file.name.startswith(folder):
            rows = StoredFile(f"{objects.root}/{file.name}", "", objects.storage).load()
        is_erased = ids.find(rows) if rows is not None else None
        if rows is None or is_erased is None or not is_erased.any():
            files.append(file)
            continue
        gone = rows.filter(pa.array(is_erased))
        erased += ids.list_of(gone)
        manifest = subtract(manifest, gone, is_rejected=True)
        stale.append(file.name)
        kept = rows.filter(pa.array(~is_erased))
        if len(kept):
            buffer = pa.BufferOutputStream()
            pq.write_table(kept, buffer)
            body = buffer.getvalue().to_pybytes()
            digest = hashlib.sha256(body).hexdigest()
            name = f"{folder}/part-{digest[:32]}.parquet"
            objects.write(name, body)
            files.append(PublishedFile(name, len(kept), len(body), digest))
    return replace(manifest, files=tuple(files)), stale, erased


def make_source(ids: Ids, columns: pa.Schema) -> pa.Table:
    """Return the ids as a table with the types of the table's columns."""
    values = sorted(ids.values)
    arrays = [
        pa.array([value[place] for value in values], pa.string()).cast(columns.field(name).type)
        for place, name in enumerate(ids.columns)
    ]
    return pa.table(arrays, names=list(ids.columns))
