"""Read the results of the nights: the Parquet tables that `jobs/nightly.py` writes, one file per night.

`monitoring/history.py` defines the columns. The app is another reader of the files, as DuckDB would be.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import StoreError

NIGHT, STATUS = "night", "status"
NIGHTS, FIGURES, ALERTS, REALISED = "nights", "figures", "alerts", "realised"
_TABLES = (NIGHTS, FIGURES, ALERTS, REALISED)
OK, EMPTY = "ok", "empty"
# Against the test set of the model, or the nights before.
AGAINST = {"model": "the model's test set", "trailing": "the nights before"}


@dataclass(frozen=True)
class Journal:
    """Hold one row per night (with its realised accuracy), per figure, and per alert; the oldest first."""

    nights: pd.DataFrame
    figures: pd.DataFrame
    alerts: pd.DataFrame


def load_journal(folder: Path, days: int | None = None) -> Journal:
    """Load the nights of the last days before the newest night, all for None.

    Figures and alerts of a night that has no row yet are left out; a folder without nights gives no rows.
    Raises StoreError.
    """
    names = sorted(file.stem for file in (folder / NIGHTS).glob("*.parquet"))
    if days is not None and names:
        since = datetime.date.fromisoformat(names[-1]) - datetime.timedelta(days=days - 1)
        names = [name for name in names if name >= since.isoformat()]
    nights, figures, alerts, realised = (_load(folder / table, names) for table in _TABLES)
    if not realised.empty:
        nights = nights.merge(realised, on=NIGHT, how="left")
    return Journal(nights, figures, alerts)


def find_state(folder: Path) -> tuple[int, ...]:
    """Return what changes when a night is written: the time of the last change of each table."""
    tables = [folder / name for name in _TABLES]
    # A file is replaced by a rename, which changes the time of its folder.
    return tuple(table.stat().st_mtime_ns if table.is_dir() else 0 for table in tables)


def list_drift(figures: pd.DataFrame, against: str) -> pd.DataFrame:
    """Return the newest row of each figure against one reference, the drifted ones first."""
    if figures.empty:
        return figures
    some = figures[figures["against"] == against]
    newest: pd.DataFrame = some[some[NIGHT] == some[NIGHT].max()]
    return newest.sort_values(["is_alarm", "is_drifted", "effect"], ascending=False)


def count_reasons(nights: pd.DataFrame, column: str) -> dict[str, int]:
    """Add up the rows by name in a column of JSON objects, such as `rejects`."""
    counts: dict[str, int] = {}
    for text in nights[column].dropna() if column in nights else ():
        found: Mapping[str, Any] = json.loads(text)
        for name, rows in found.items():
            counts[name] = counts.get(name, 0) + int(rows)
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _load(table: Path, names: Sequence[str]) -> pd.DataFrame:
    """Load the files of these nights, with the columns of all of them; no file gives no rows."""
    files = [file for file in (table / f"{name}.parquet" for name in names) if file.exists()]
    if not files:
        return pd.DataFrame({NIGHT: pd.Series(dtype="datetime64[ns]")})
    try:
        # Small files are read three times faster one by one than as one `pyarrow.dataset`.
        parts = [pq.ParquetFile(file).read(use_threads=False) for file in files]
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{table}: a file cannot be read ({type(error).__name__}); remove it, and run its night again"
        ) from error
    frame: pd.DataFrame = pa.concat_tables(parts, promote_options="default").to_pandas()
    frame[NIGHT] = pd.to_datetime(frame[NIGHT])
    return frame.sort_values(NIGHT, kind="stable").reset_index(drop=True)
