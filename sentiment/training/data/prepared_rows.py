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

# Linux maps up to 2 MiB around a byte that is read, so this many rows map about 64 MB at most.
_PART_ROWS = 32


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

    def load(self, split: str) -> dict[str, np.ndarray]:
        """Return the columns of one split that decide which rows are used, and `rows`, their places."""
        start, end = self._places[split]
        table = self._all.slice(start, end - start)
        has_groups = not self._all["group"].null_count
        names = ("label", "digest", "words_digest", *(["group"] if has_groups else []))
        columns = {name: table[name].to_numpy() for name in names}
        columns["is_text"] = pc.is_null(table["reason"]).to_numpy()
        columns["rows"] = np.arange(start, end)
        self._release()
        return columns

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        taken: np.ndarray = self._all[name].to_numpy()[rows]
        self._release()
        return taken

    def take_texts(self, rows: np.ndarray) -> list[str]:
        return [text for part in self._cut(rows) for text in self._texts[part.tolist()]["text"]]

    def take_bands(self, rows: np.ndarray) -> np.ndarray:
        """Return the bands of rows, of shape (rows, N_BANDS)."""
        return np.concatenate([self._bands[part] for part in self._cut(rows)])

    def make_dataset(self, split: Candidates, with_details: bool = False) -> datasets.Dataset:
        """Return a memory-mapped data set with `text`, `label`, `group` if known, and details if wanted."""
        # Columns for all rows are joined before rows are selected, else `datasets` would copy the texts.
        details = [name for name in self._all.column_names if name not in SCHEMA.names]
        table = self._all.select(["text", *(details if with_details else [])])
        columns = {"label": split.labels, **({} if split.groups is None else {"group": split.groups})}
        for name, values in columns.items():
            whole = np.full(len(table), -1, dtype=np.int64)
            whole[split.rows] = values
            table = table.append_column(name, pa.array(whole))
        # The fingerprint is given, because `datasets` would read all texts to make one.
        fingerprint = hashlib.sha256(self._name.encode())
        fingerprint.update(split.rows.data)
        fingerprint.update(split.labels.data)
        return datasets.Dataset(table, fingerprint=fingerprint.hexdigest()[:16]).select(split.rows)

    def load_frame(self, split: Candidates, with_details: bool = False) -> pd.DataFrame:
        """Return what `make_dataset` does, in memory."""
        rows = self.make_dataset(split, with_details)
        frames = [rows.select(part).to_pandas() for part in self._cut(np.arange(len(rows)))]
        whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
        return whole

    def _map(self, file: Path) -> mmap.mmap:
        with file.open("rb") as opened:
            self._mapped.append(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        return self._mapped[-1]

    def _cut(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the rows in parts, and release the pages of each part when the next one is asked for."""
        for start in range(0, max(1, len(rows)), _PART_ROWS):
            yield rows[start : start + _PART_ROWS]
            self._release()

    def _release(self) -> None:
        for mapped in self._mapped:
            mapped.madvise(mmap.MADV_DONTNEED)
