"""Keep labels that readers correct, as a Parquet file that `jobs/finetune.py --dataset_name FOLDER` reads."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import schema
from ..errors import SchemaMismatchError, StoreError
from ..process.files import replace_file
from ..process.locks import hold_lock

FILE = "corrections.parquet"
WHO, WHEN = "who", "when"
_LOCK = ".corrections.lock"
_WAIT_SECONDS = 10


def make_corrections(
    rows: pd.DataFrame,
    ids: Sequence[str],
    text_column: str,
    labels: "pd.Series[str]",
    who: str,
    when: datetime,
) -> pa.Table:
    """Return the rows whose label was changed: text, label, ids, who and when.

    `labels` are the labels as the reader left them, with the index of `rows`. Raises SchemaMismatchError if
    an id column has the name of another column of the file.
    """
    taken = [name for name in ids if name in (schema.TEXT, schema.LABEL, WHO, WHEN)]
    if taken:
        raise SchemaMismatchError(f"the id column {taken[0]!r} has a name that corrections use; rename it")
    changed = rows[(labels != rows[schema.LABEL]) & labels.notna() & rows[text_column].notna()]
    columns: dict[str, object] = {
        schema.TEXT: pa.array(changed[text_column], pa.string()),
        schema.LABEL: pa.array(labels[changed.index], pa.string()),
    }
    columns |= {name: pa.array(changed[name]) for name in ids}
    columns[WHO] = pa.array([who] * len(changed), pa.string())
    columns[WHEN] = pa.array([when] * len(changed), pa.timestamp("us", tz="UTC"))
    return pa.table(columns)


def save_corrections(folder: Path, new: pa.Table, ids: Sequence[str]) -> int:
    """Add corrections to the file of the folder, by one rename; return their number.

    The latest of each id wins. Readers who save at the same time wait for each other. Raises StoreError if
    the folder cannot be written, or has corrections of a table with other ids.
    """
    target = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / _LOCK, _WAIT_SECONDS):
            rows = new
            if target.exists():
                earlier = load_corrections(folder)
                if earlier is None or earlier.schema.names != new.schema.names:
                    raise StoreError(
                        f"{target}: has other columns than {new.schema.names}; choose another folder"
                    )
                rows = _keep_latest(pa.concat_tables([earlier, new]), ids)
            content = pa.BufferOutputStream()
            pq.write_table(rows, content)
            replace_file(target, content.getvalue().to_pybytes())
            return int(rows.num_rows)
    except TimeoutError as error:
        raise StoreError(f"{target}: another reader is saving; save again") from error
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{target}: cannot be written ({type(error).__name__}); check the folder") from error


def load_corrections(folder: Path) -> pa.Table | None:
    """Return the corrections of a folder, None if there are none. Raises StoreError."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({type(error).__name__}); move it away") from error


def apply_corrections(rows: pd.DataFrame, corrections: pa.Table | None, ids: Sequence[str]) -> pd.DataFrame:
    """Return the rows with the corrected label where there is one."""
    if corrections is None or not {*ids} <= {*corrections.column_names}:
        return rows
    known = corrections.select([*ids, schema.LABEL]).to_pandas().set_index(list(ids))[schema.LABEL]
    keys = pd.MultiIndex.from_frame(rows[list(ids)]) if len(ids) > 1 else pd.Index(rows[ids[0]])
    corrected = pd.Series(known.reindex(keys).to_numpy(), index=rows.index)
    return rows.assign(**{schema.LABEL: corrected.fillna(rows[schema.LABEL])})


def _keep_latest(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    frame = table.select(list(ids)).to_pandas()
    kept = ~frame.duplicated(list(ids), keep="last")
    return table.filter(pa.array(kept))
