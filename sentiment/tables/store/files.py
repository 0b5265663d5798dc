"""Describe the Parquet files of a store: as executors write them, and as they are published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ...errors import ConfigError
from ..storage import LOCAL, Storage


@dataclass(frozen=True)
class WrittenFile:
    """Describe a file that an executor wrote; its path is in the staging folder or in the store.

    `statistics` are those of the Delta log: smallest and largest value and number of nulls of each column.
    """

    path: str
    is_rejected: bool
    rows: int
    size_bytes: int
    sha256: str
    columns: tuple[str, ...]
    statistics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stamp:
    """Hold the values that every row of a batch has next to its prediction."""

    model_version: str
    scored_at: datetime
    sequence: int


@dataclass(frozen=True)
class Staging:
    """Name the folder into which executors write the files of one batch, each under a name of its own.

    Files there are not published. An executor that was given up may still write there.
    """

    folder: str
    storage: Storage = LOCAL
    # Folder of the rejects, if it is another one.
    rejected_folder: str = ""
    rejected_suffix: str = ".parquet"


@dataclass(frozen=True)
class StoredFile:
    """Describe a published file to read.

    `deleted_rows` are the numbers, from 0 and rising, of those that another tool has deleted.
    """

    path: str
    batch: str
    storage: Storage = LOCAL
    deleted_rows: tuple[int, ...] = field(default=(), repr=False)
    # The columns of its table, None if only its footer states them.
    columns: pa.Schema | None = None

    def open(self) -> pa.NativeFile:
        return self.storage.open().open_input_file(self.storage.to_path(self.path))

    def load(self, names: Sequence[str] | None = None) -> pa.Table:
        """Load the rows that are not deleted, with these columns or all that the file has."""
        with self.open() as opened:
            rows = _with_plain_strings(pq.read_table(opened, columns=names).replace_schema_metadata(None))
        if not self.deleted_rows:
            return rows
        kept = np.ones(len(rows), dtype=bool)
        kept[list(self.deleted_rows)] = False
        return rows.filter(pa.array(kept))

    def read_schema(self) -> pa.Schema:
        """Return the columns of the table, or read those in the footer."""
        if self.columns is not None:
            return self.columns
        with self.open() as opened:
            return pq.read_schema(opened).remove_metadata()

    def keep(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """Return the rows of a batch that are not deleted; `first_row` is the number of its first row."""
        if not self.deleted_rows:
            return batch
        numbers = np.arange(first_row, first_row + len(batch))
        return batch.filter(pa.array(~np.isin(numbers, self.deleted_rows)))


@dataclass(frozen=True)
class Ids:
    """Hold the ids to erase, as tuples of texts, and the names of their columns."""

    columns: tuple[str, ...]
    values: frozenset[tuple[str, ...]]

    def find(self, rows: pa.Table) -> "pd.Series[bool]":
        """Return True for the rows that have one of the ids.

        Raises ConfigError if an id cannot be a value of its column.
        """
        wanted = set(zip(*map(self._write, self.columns, (rows[n].type for n in self.columns)), strict=True))
        return pd.Series([row in wanted for row in self.list_of(rows)], dtype=bool)

    def list_of(self, rows: pa.Table) -> list[tuple[str, ...]]:
        """Return the id of each row, as texts."""
        texts = (rows[name].cast(pa.string()).to_pylist() for name in self.columns)
        return list(zip(*texts, strict=True))

    def _write(self, name: str, kind: pa.DataType) -> list[str]:
        """Return the values of a column as the store's values are written: `1.0` and `1` are one number."""
        place = self.columns.index(name)
        try:
            texts: list[str] = (
                pa.array([value[place] for value in self.values]).cast(kind).cast(pa.string()).to_pylist()
            )
        except pa.ArrowException as error:
            raise ConfigError(
                f"ids: a value of column {name} is no {kind}, as in the store; nothing was erased"
            ) from error
        return texts


def _with_plain_strings(rows: pa.Table) -> pa.Table:
    """Return the rows with one type of string: files that deltalake has rewritten hold views."""
    fields = [
        field.with_type(pa.string()) if field.type in (pa.string_view(), pa.large_string()) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def open_files(files: Sequence[Path]) -> ds.Dataset:
    """Open Parquet files as one table with the columns of all of them; a value is null where a file has none.

    Batches differ: some have probabilities, and those of earlier versions have no column `unsure`.
    """
    # All files of a folder belong to one batch.
    some = {file.parent: file for file in files}.values()
    columns = pa.unify_schemas([pq.read_schema(file).remove_metadata() for file in some])
    return ds.dataset([str(file) for file in files], schema=columns, format="parquet")
