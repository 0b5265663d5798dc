"""Places of a store: a folder, a Delta table on the same disk, and a Delta table on an S3 server.

A place knows how to name the store for the job, how a plain reader reads it, and what may be left in it.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow.fs import FileSelector, FileType

from sentiment.tables.deltalog import find_table, make_options
from sentiment.tables.storage import Storage, find_storage
from sentiment.tables.store.opening import find_store, open_store
from sentiment.tables.uris import DELTA_PREFIX, resolve_uri
from tests.factories import Bucket

FOLDER, DELTA, S3 = "folder", "delta", "s3"
on_every_store = pytest.mark.parametrize("kind", [FOLDER, DELTA, S3])
quick_on_a_folder = pytest.mark.parametrize(
    "kind", [pytest.param(FOLDER, marks=pytest.mark.quick), DELTA, S3]
)
_SCORES, _REJECTS = ["review_id", "label", "score"], ["review_id", "reject_reason"]
# Makes a place of a kind for the tests that use a folder.
MakePlace = Callable[[str, Path], "Place"]


@dataclass(frozen=True)
class Place:
    """A place for one store. `options` are those of its storage, and `options_file` is a file with them."""

    kind: str
    output: str
    options: Mapping[str, str] | None = None
    options_file: str | None = None

    @property
    def arguments(self) -> list[str]:
        """The arguments of the job that name the store."""
        return [
            "--output",
            self.output,
            *(["--storage_options", self.options_file] if self.options_file else []),
        ]

    @property
    def config(self) -> dict[str, str]:
        """The options of `ScoreConfig` that name the store."""
        more = {"storage_options": self.options_file} if self.options_file else {}
        return {"output": self.output, **more}

    @property
    def has_lock(self) -> bool:
        """True if a second run is refused when it starts, not when it publishes."""
        return self.kind != S3

    @property
    def root(self) -> str:
        return resolve_uri(self.output)

    @property
    def storage(self) -> Storage:
        return find_storage(self.root, self.options)

    def read_scores(self) -> pd.DataFrame:
        """Return all scored rows, as a plain reader of Parquet or Delta sees them; none without a table."""
        if self.kind == FOLDER:
            return pd.read_parquet(self.output)
        return self.open_table().to_pandas()

    def open_table(self, version: int | None = None) -> DeltaTable:
        return DeltaTable(self.root, version=version, storage_options=make_options(self.storage))

    def has_scores(self) -> bool:
        """Return True if a plain reader finds a table with files."""
        if self.kind == FOLDER:
            return any(Path(self.output).glob("*/*/*.parquet"))
        # `is_deltatable` keeps Python from running while it asks, and moto answers in this process.
        table = find_table(self.root, self.storage)
        return table is not None and bool(table.file_uris())

    def read_rejects(self) -> pd.DataFrame:
        """Return ids and reasons of all rejected rows."""
        if self.kind == FOLDER:
            frames = [
                pd.read_parquet(file, columns=_REJECTS)
                for file in sorted(Path(self.output).glob("*/*/_rejected/part-*"))
            ]
        else:
            store = find_store(self.output, self.options)
            files = store.list_files(store.list_batches(), is_rejected=True)
            frames = [file.load(_REJECTS).to_pandas() for file in files]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_REJECTS)

    def read(self) -> pd.DataFrame:
        """Return scores and rejects, one row per published row, in the order of ids."""
        scored = self.read_scores()[_SCORES]
        rows = [*scored.to_dict("records"), *self.read_rejects().to_dict("records")]
        table = pd.DataFrame(rows, columns=[*_SCORES, "reject_reason"], dtype=object)
        return table.sort_values("review_id", kind="stable").reset_index(drop=True)

    def find_damage(self) -> list[str]:
        """Return what `verify` finds in all batches."""
        store = find_store(self.output, self.options)
        return [damage for batch in store.list_batches() for damage in store.find_damage(batch)]

    def count_batches(self) -> int:
        return len(find_store(self.output, self.options).list_batches())

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Return time and size of each file."""
        selector = FileSelector(self.storage.to_path(self.root), recursive=True, allow_not_found=True)
        found = self.storage.open().get_file_info(selector)
        start = len(self.storage.to_path(self.root)) + 1
        return {
            info.path[start:]: (info.mtime_ns or 0, info.size) for info in found if info.type == FileType.File
        }

    def list_left(self) -> list[str]:
        """Return files of no published batch.

        A Delta store may hold such files until `vacuum`, which this runs, so the older versions are gone.
        """
        if self.kind == FOLDER:
            folder = Path(self.output)
            left = [p.name for p in folder.parent.iterdir() if p.name.startswith(".")]
            return left + [p.name for p in folder.iterdir() if not p.name.startswith("model=")]
        with open_store(self.output, self.options) as store:
            store.vacuum()
            entries = {batch.location for batch in store.list_batches()}
            rejects = {file.path for file in store.list_files(store.list_batches(), is_rejected=True)}
        adds = pa.table(self.open_table().get_add_actions()).column("path").to_pylist()
        named = {f"{self.root}/{path}" for path in adds} | entries | rejects
        files = [f"{self.root}/{name}" for name in self.snapshot()]
        return [path for path in files if path not in named and not _is_log(path)]


def _is_log(path: str) -> bool:
    """Return True for a file of the Delta log that a reader may use."""
    folder, _, name = path.rpartition("/")
    is_named = name.endswith((".json", ".crc", ".parquet")) and not name.startswith("_commit")
    return folder.endswith("/_delta_log") and (is_named or name == "_last_checkpoint")


def make_place(kind: str, folder: Path, bucket: Bucket | None) -> Place:
    """Make a new place, in the folder or in the bucket."""
    if kind == FOLDER:
        return Place(kind, str(folder / "scores"))
    if kind == DELTA:
        return Place(kind, f"{DELTA_PREFIX}{folder / 'scores'}")
    assert bucket is not None
    file = folder / "storage.json"
    file.write_text(json.dumps(bucket.options))
    return Place(kind, f"{bucket.uri}/{uuid.uuid4().hex[:12]}/scores", bucket.options, str(file))
