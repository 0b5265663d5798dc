"""Give access to the prepared rows of a data set, which stay on disk."""

import hashlib
import itertools
import mmap
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .description import N_BANDS, SCHEMA
from .preparation import Prepared
from .splits import Candidates

# Linux maps up to 2 MiB around a byte that is read, about a block of rows. A part has rows of at most
# _PART_BLOCKS blocks, so about 64 MB are mapped, whether rows are neighbours or not.
_PART_BLOCKS, _BLOCK_ROWS = 32, 4096


class PreparedRows:
    """Read the rows of all splits, one after the other, from memory-mapped files.

    Mapped pages count as memory of the process until they are released. After a release the next access
    reads them again, mostly from the page cache.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._name = prepared.folder.name
        self._mapped: list[mmap.mmap] = []
        tables = {
            split: pa.ipc.open_stream(pa.py_buffer(self._map(prepared.find_file(split)))).read_all()
            for split in prepared.splits
        }
        starts = np.cumsum([0, *map(len, tables.values())])
        self._places = dict(zip(tables, itertools.pairwise(starts), strict=True))
        self._all = pa.concat_tables(tables.values())
        self._texts = datasets.Dataset(self._all.select(["text"]), fingerprint=self._name)
        self._bands = np.frombuffer(self._map(prepared.bands_file), np.uint32).reshape(-1, N_BANDS)

    @property
    def has_groups(self) -> bool:
        """Return True if the data set says which rows belong to one review."""
        return not self._all["group"].null_count

    def find_rows(self, split: str) -> np.ndarray:
        """Return the places of the rows of one split (int32)."""
        return np.arange(*self._places[split], dtype=np.int32)

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return a column of `SCHEMA` for rows."""
        taken: np.ndarray = self._all[name].to_numpy()[rows]
        self.release()
        return taken

    def are_texts(self, rows: np.ndarray) -> np.ndarray:
        """Return a mask of the rows that have a text that a model would score."""
        mask: np.ndarray = pc.is_null(self._all["reason"]).to_numpy()[rows]
        self.release()
        return mask

    def take_texts(self, rows: np.ndarray) -> list[str]:
        return [text for part in self._cut(rows) for text in self._texts[rows[part].tolist()]["text"]]

    def take_band(self, band: int, rows: np.ndarray) -> np.ndarray:
        """Return one of the `N_BANDS` bands for rows."""
        return np.concatenate([self._bands[rows[part], band] for part in self._cut(rows)])

    def make_dataset(self, split: Candidates, with_details: bool = False) -> datasets.Dataset:
        """Return a memory-mapped data set with `text`, `label`, `group` if known, and details if wanted."""
        # Columns for all rows are joined before rows are selected, else `datasets` would copy the texts.
        details = [name for name in self._all.column_names if name not in SCHEMA.names]
        table = self._all.select(["text", *(details if with_details else [])])
        columns = {"label": split.labels, **({} if split.groups is None else {"group": split.groups})}
        for name, values in columns.items():
            whole = np.full(len(table), -1, dtype=values.dtype)
            whole[split.rows] = values
            table = table.append_column(name, pa.array(whole))
        # The fingerprint is given, because `datasets` would read all texts to make one.
        fingerprint = hashlib.sha256(self._name.encode())
        fingerprint.update(split.rows.data)
        fingerprint.update(split.labels.data)
        # `Dataset.select` would hold the places of the rows several times.
        places = pa.table({"indices": pa.array(split.rows, pa.uint64())})
        return datasets.Dataset(
            table,
            fingerprint=fingerprint.hexdigest()[:16],
            indices_table=datasets.table.InMemoryTable(places),
        )

    def load_frame(self, split: Candidates, with_details: bool = False) -> pd.DataFrame:
        """Return what `make_dataset` does, in memory."""
        rows = self.make_dataset(split, with_details)
        frames = [rows.select(range(part.start, part.stop)).to_pandas() for part in self._cut(split.rows)]
        whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
        return whole

    def _map(self, file: Path) -> mmap.mmap:
        with file.open("rb") as opened:
            self._mapped.append(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        return self._mapped[-1]

    def _cut(self, rows: np.ndarray) -> Iterator[slice]:
        """Yield parts of the rows, at least one, and release the pages of each when the next is asked for."""
        changes = np.flatnonzero(np.diff(rows // _BLOCK_ROWS)) + 1
        starts = [0, *changes[_PART_BLOCKS - 1 :: _PART_BLOCKS].tolist()]
        for start, end in itertools.pairwise([*starts, len(rows)]):
            yield slice(start, end)
            self.release()

    def release(self) -> None:
        """Release the mapped pages of all rows."""
        for mapped in self._mapped:
            mapped.madvise(mmap.MADV_DONTNEED)
