"""Load published scores into memory, without Spark."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ... import schema
from ...errors import MissingInputError
from .folder import REJECTED, Batch, Store, find_folder

LATEST = "latest"
ALL = "all"


def load_scores(path: str, model: str = LATEST) -> pd.DataFrame:
    """Load the published scores of a store, in no particular order.

    `model` is `latest` (each id's newest row), a model version (each id's newest row from it) or `all` (every
    row). An id whose newest row is a reject has no latest score; a row without an id has no score. Raises
    StoreError if a manifest cannot be read, MissingInputError if there are no scores.
    """
    store = Store(find_folder(path))
    batches = choose_batches(store, model)
    scored, rejected = (_load_rows(batches, is_rejected) for is_rejected in (False, True))
    if scored is None:
        raise make_no_scores_error(store, model)
    if model == ALL:
        return _with_truth_values(scored.to_pandas(), scored.schema)
    ids = list(batches[0].manifest.id_types)
    rows = scored.append_column(schema.REJECT_REASON, pa.nulls(len(scored), pa.string()))
    if rejected is not None:
        rows = pa.concat_tables([rows, rejected], promote_options="default")
    frame = rows.to_pandas().dropna(subset=ids)
    newest = frame.sort_values(schema.SEQUENCE, kind="stable").drop_duplicates(ids, keep="last")
    kept: pd.DataFrame = newest.loc[newest[schema.REJECT_REASON].isna(), scored.column_names]
    return _with_truth_values(kept.reset_index(drop=True), scored.schema)


def _with_truth_values(frame: pd.DataFrame, columns: pa.Schema) -> pd.DataFrame:
    """Return the frame with truth values of type bool, or boolean with nulls, of which batches may have some.

    With nulls pandas reads them as objects, and ~ of an object is no negation.
    """
    names = [field.name for field in columns if pa.types.is_boolean(field.type)]
    kinds = {name: "boolean" if frame[name].isna().any() else "bool" for name in names}
    return frame.astype(kinds)


def _load_rows(batches: Iterable[Batch], is_rejected: bool) -> pa.Table | None:
    files = [
        file
        for batch in batches
        for file in sorted(Path(batch.folder, REJECTED if is_rejected else "").glob("part-*"))
    ]
    return open_files(files).to_table() if files else None


def open_files(files: Sequence[Path]) -> ds.Dataset:
    """Open Parquet files as one table with the columns of all of them; a value is null where a file has none.

    Batches differ: some have probabilities, and those of earlier versions have no column `unsure`.
    """
    # All files of a folder belong to one batch.
    some = {file.parent: file for file in files}.values()
    columns = pa.unify_schemas([pq.read_schema(file).remove_metadata() for file in some])
    return ds.dataset([str(file) for file in files], schema=columns, format="parquet")


def choose_batches(store: Store, model: str) -> list[Batch]:
    """Return the batches that `model` selects, in the order of publication."""
    batches = store.list_batches()
    if model in (LATEST, ALL):
        return batches
    return [batch for batch in batches if batch.manifest.model_version == model]


def make_no_scores_error(store: Store, model: str) -> MissingInputError:
    """Return the error for a store without scores of `model`."""
    return MissingInputError(f"{store.root}: holds no scores of model {model!r}")
