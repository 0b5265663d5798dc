"""Keep the results of each night as Parquet files in one folder, and read them back.

::

    monitoring/nights/2026-01-31.parquet      one row: NIGHT_COLUMNS
    monitoring/figures/2026-01-31.parquet     one row per figure and reference: FIGURE_COLUMNS
    monitoring/alerts/2026-01-31.parquet      one row per alert: ALERT_COLUMNS
    monitoring/realised/2026-01-31.parquet    one row: REALISED_COLUMNS, replaced when labels come in
    monitoring/profiles/2026-01-31.json       the profile of the night's rows

Each file is replaced by one rename, so a night that is repeated replaces its own rows and no others. The row
in `nights` is written last: figures and alerts of a night without it are not loaded.
"""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import StoreError
from ..evaluation.profile import Profile, load_profile
from ..process import files
from ..tables.uris import DELTA_PREFIX, find_local_path

NIGHT = "night"
# Values of `status`. Nothing was pending in an empty night.
OK, ALERT, EMPTY, FAILED = "ok", "alert", "empty", "failed"
# A night is compared with the nights of so many days before it.
TRAILING_DAYS = 28
NIGHTS, FIGURES, ALERTS, REALISED, PROFILES = "nights", "figures", "alerts", "realised", "profiles"
# Columns of this type are JSON objects in the files and dicts once they are loaded.
_OBJECT = pa.string()
_OBJECTS = ("labels", "stages", "rejects", "steps", "settings", "missing", "delivered")

# `night` is a date. Shares and accuracies are in [0, 1]; a value that is not known is null. `labels`,
# `stages` and `rejects` count rows, `steps` has seconds by the name of the step, `missing` has why a figure
# is missing. `settings` are those of `observation.SETTINGS` that differ from the model's own. `late_files`
# are of earlier days; `rescored_rows` are of a run that scored all rows again.
NIGHT_COLUMNS = pa.schema(
    [
        (NIGHT, pa.date32()),
        ("status", pa.string()),
        ("model_uri", pa.string()),
        ("model_version", pa.string()),
        ("batches", pa.int64()),
        ("input_rows", pa.int64()),
        ("scored_rows", pa.int64()),
        ("rejected_rows", pa.int64()),
        ("skipped_rows", pa.int64()),
        ("rescored_rows", pa.int64()),
        ("reject_share", pa.float64()),
        ("unsure_share", pa.float64()),
        ("expected_rows", pa.float64()),
        ("volume_ratio", pa.float64()),
        ("freshness_hours", pa.float64()),
        ("files", pa.int64()),
        ("late_files", pa.int64()),
        ("bad_files", pa.int64()),
        ("estimated_accuracy", pa.float64()),
        ("estimated_low", pa.float64()),
        ("estimated_high", pa.float64()),
        ("drifted_figures", pa.int64()),
        ("alerts", pa.int64()),
        ("seconds", pa.float64()),
        ("run_id", pa.string()),
        ("labels", _OBJECT),
        ("stages", _OBJECT),
        ("rejects", _OBJECT),
        ("steps", _OBJECT),
        ("settings", _OBJECT),
        ("missing", _OBJECT),
    ]
)
# Accuracy of the rows of a night whose labels have come in; `measured_on` is the night that measured it.
REALISED_COLUMNS = pa.schema(
    [
        (NIGHT, pa.date32()),
        ("realised_accuracy", pa.float64()),
        ("realised_low", pa.float64()),
        ("realised_high", pa.float64()),
        ("realised_rows", pa.int64()),
        ("measured_on", pa.date32()),
    ]
)
# `against` is `model` (the test set of the model) or `trailing` (the 28 days before). `value` and
# `reference_value` are means, or the shares of `category`, the one that differs most. `effect` is the
# largest difference of two shares (KS, or of one category); it counts from `min_effect` on. `is_drifted`
# is about this night, `is_alarm` is True if two of the last three nights drifted.
FIGURE_COLUMNS = pa.schema(
    [
        (NIGHT, pa.date32()),
        ("figure", pa.string()),
        ("against", pa.string()),
        ("rows", pa.int64()),
        ("reference_rows", pa.int64()),
        ("category", pa.string()),
        ("value", pa.float64()),
        ("reference_value", pa.float64()),
        ("psi", pa.float64()),
        ("js", pa.float64()),
        ("ks", pa.float64()),
        ("effect", pa.float64()),
        ("min_effect", pa.float64()),
        ("p_value", pa.float64()),
        ("adjusted_p_value", pa.float64()),
        ("is_drifted", pa.bool_()),
        ("is_alarm", pa.bool_()),
    ]
)
# `kind` is one of `alerts.KINDS`; `severity` is `warning` or `critical`. `key` names the alert. An event that
# lasts has a row per night; `is_new` is true in the first. `delivered` has, by channel, the night on which it
# got each of the `items`.
ALERT_COLUMNS = pa.schema(
    [
        (NIGHT, pa.date32()),
        ("key", pa.string()),
        ("store", pa.string()),
        ("kind", pa.string()),
        ("subject", pa.string()),
        ("severity", pa.string()),
        ("message", pa.string()),
        ("advice", pa.string()),
        ("items", pa.list_(pa.string())),
        ("is_new", pa.bool_()),
        ("raised_at", pa.timestamp("us", tz="UTC")),
        ("delivered", _OBJECT),
    ]
)
_COLUMNS = {NIGHTS: NIGHT_COLUMNS, FIGURES: FIGURE_COLUMNS, ALERTS: ALERT_COLUMNS, REALISED: REALISED_COLUMNS}


def load_nights(folder: str | Path, since: datetime.date | None = None) -> pd.DataFrame:
    """Load one row per night, oldest first: NIGHT_COLUMNS and REALISED_COLUMNS (null without labels).

    `since` leaves earlier nights out, whose files are not read. `night` and `measured_on` are datetime64. No
    folder, or one without nights, gives no rows. Raises StoreError if a file cannot be read.
    """
    nights = load_rows(Path(folder), NIGHTS, since)
    realised = load_rows(Path(folder), REALISED, since)
    return nights.merge(realised, on=NIGHT, how="left")


def load_figures(folder: str | Path, since: datetime.date | None = None) -> pd.DataFrame:
    """Load one row per night, figure and reference: FIGURE_COLUMNS. See `load_nights`."""
    return _load_finished(Path(folder), FIGURES, since)


def load_alerts(folder: str | Path, since: datetime.date | None = None) -> pd.DataFrame:
    """Load one row per alert: ALERT_COLUMNS. See `load_nights`."""
    return _load_finished(Path(folder), ALERTS, since)


def find_default_folder(output: str) -> Path | None:
    """Return the folder next to a store in which its nights are kept; None for a store in a bucket."""
    store = find_local_path(output.removeprefix(DELTA_PREFIX))
    return None if store is None else store.with_name(f"{store.name}-monitoring")


def find_newest(folder: str | Path) -> datetime.date | None:
    """Return the newest night that is finished."""
    files = _list_files(Path(folder), NIGHTS, None)
    return datetime.date.fromisoformat(files[-1].stem) if files else None


def find_state(folder: str | Path) -> tuple[int, ...]:
    """Return what changes when a night is written: the time of the last change of each table."""
    tables = [Path(folder) / name for name in _COLUMNS]
    # A file is replaced by a rename, which changes the time of its folder.
    return tuple(table.stat().st_mtime_ns if table.is_dir() else 0 for table in tables)


def load_profiles(folder: str | Path, nights: Iterable[datetime.date]) -> dict[datetime.date, Profile]:
    """Load the profiles of these nights; a night without one, such as an empty night, is left out."""
    paths = {night: Path(folder) / PROFILES / f"{night.isoformat()}.json" for night in nights}
    return {night: load_profile(path) for night, path in paths.items() if path.exists()}


def write_rows(folder: Path, table: str, night: datetime.date, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the rows of one night in a table; an absent column is null. Raises StoreError, ValueError."""
    columns = _COLUMNS[table]
    if unknown := {name for row in rows for name in row} - {*columns.names}:
        raise ValueError(f"{table}: expected columns of {columns.names}, found {sorted(unknown)}")
    encoded = [
        {name: json.dumps(value) if name in _OBJECTS else value for name, value in row.items()}
        for row in rows
    ]
    content = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([{**row, NIGHT: night} for row in encoded], columns), content)
    replace_file(folder / table / f"{night.isoformat()}.parquet", content.getvalue().to_pybytes())


def write_profile(folder: Path, night: datetime.date, profile: Profile) -> None:
    """Replace the profile of one night. Raises StoreError."""
    content = json.dumps(profile.as_dict(), separators=(",", ":")).encode()
    replace_file(folder / PROFILES / f"{night.isoformat()}.json", content)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, so that it survives a power failure. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_file(path, content)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); check the folder, and run again"
        ) from error


def _load_finished(folder: Path, table: str, since: datetime.date | None) -> pd.DataFrame:
    """Load the rows of the nights that have a file in `nights`."""
    rows = load_rows(folder, table, since)
    finished = pd.to_datetime([path.stem for path in _list_files(folder, NIGHTS, since)])
    return rows[rows[NIGHT].isin(finished)].reset_index(drop=True)


def _list_files(folder: Path, table: str, since: datetime.date | None) -> list[Path]:
    """Return the files of a table, oldest first; each has the name of its night."""
    paths = sorted((folder / table).glob("*.parquet"))
    return [path for path in paths if since is None or path.stem >= since.isoformat()]


def load_rows(folder: Path, table: str, since: datetime.date | None = None) -> pd.DataFrame:
    """Load the rows of one table, those of unfinished nights too. Raises StoreError."""
    columns = _COLUMNS[table]
    try:
        # Files of earlier versions may lack a column, which is null then.
        files = _list_files(folder, table, since)
        # Small files are read three times faster one by one than as one `pyarrow.dataset`.
        parts = [pq.ParquetFile(file).read(use_threads=False) for file in files]
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{folder / table}: a file cannot be read ({type(error).__name__}); "
            "remove it, and run its night again"
        ) from error
    rows = pa.concat_tables([columns.empty_table(), *parts], promote_options="default")
    frame: pd.DataFrame = rows.select(columns.names).to_pandas()
    for name in [field.name for field in columns if pa.types.is_date(field.type)]:
        frame[name] = pd.to_datetime(frame[name])
    for name in [name for name in _OBJECTS if name in frame]:
        frame[name] = [{} if text is None else json.loads(text) for text in frame[name]]
    ordered: pd.DataFrame = frame.sort_values(NIGHT, kind="stable").reset_index(drop=True)
    return ordered
