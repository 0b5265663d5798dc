"""Load published scores into memory, without Spark."""

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ... import schema
from ...errors import MissingInputError
from .files import StoredFile
from .opening import find_store
from .protocol import Batch, Store

LATEST = "latest"
ALL = "all"


def load_scores(
    path: str, model: str = LATEST, storage_options: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Load the published scores of a store, in no particular order.

    `path` is a folder, `delta:/path` or the URI of a Delta store, with its `storage_options`.
    `model` is `latest` (each id's newest row), a model version (each id's newest row from it) or `all` (every
    row). An id whose newest row is a reject has no latest score; a row without an id has no score. Raises
    StoreError if a manifest cannot be read, MissingInputError if there are no scores.
    """
    store = find_store(path, storage_options)
    batches = choose_batches(store, model)
    scored, rejected = (
        _load_rows(store.list_files(batches, kind), None if model in (LATEST, ALL) else model)
        for kind in (False, True)
    )
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


def _load_rows(files: Sequence[StoredFile], model: str | None) -> pa.Table | None:
    tables = [file.load() for file in files]
    if not tables:
        return None
    rows = pa.concat_tables(tables, promote_options="default")
    # A Delta table may hold rows of several models in one file.
    return rows.filter(pc.equal(rows[schema.MODEL_VERSION], model)) if model is not None else rows


def choose_batches(store: Store, model: str) -> list[Batch]:
    """Return the batches that `model` selects, in the order of publication."""
    batches = store.list_batches()
    if model in (LATEST, ALL):
        return batches
    return [batch for batch in batches if batch.manifest.model_version == model]


def make_no_scores_error(store: Store, model: str) -> MissingInputError:
    """Return the error for a store without scores of `model`."""
    return MissingInputError(f"{store.root}: holds no scores of model {model!r}")
