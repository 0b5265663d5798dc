"""Join the rows that a store has scored with labels, or stars, that came in later."""

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .. import schema
from ..errors import UnreadableFileError
from ..tables.store.protocol import Store
from .batches import list_published
from .published import Includes, label_nights
from .realised import Labelled

# Returns the id columns and `truth`, given a table of labels, the ids, and the label names of a model.
FindTruth = Callable[[pa.Table, Sequence[str], Sequence[str]], pd.DataFrame]


def label_store(
    store: Store, path: str, label_col: str, find_truth: FindTruth, nights: Mapping[datetime.date, Includes]
) -> tuple[dict[datetime.date, Labelled], dict[str, str]]:
    """Return the scored rows of each night whose labels have come in, and why some are missing.

    `path` is Parquet with the id columns of the newest batch and `label_col`. Raises an InputError if the
    labels cannot be read, or do not fit the newest batch.
    """
    batches = list_published(store)
    if not batches:
        return {}, {}
    ids = batches[-1].ids
    labels = load_labels(path, ids, label_col)
    return label_nights(
        batches,
        nights,
        functools.partial(load_scored, store, ids, labels),
        functools.partial(find_truth, labels, ids),
    )


def load_labels(path: str, ids: Sequence[str], label_col: str) -> pa.Table:
    """Load the labels that came in: the id columns, as texts, and `label_col`. Raises UnreadableFileError."""
    columns = [*ids, label_col]
    try:
        return with_text_ids(ds.dataset(path, format="parquet").to_table(columns=columns), ids)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableFileError(
            f"labels {path}: expected Parquet with the columns {', '.join(columns)} "
            f"({type(error).__name__}); choose with --labels and --label_col"
        ) from error


def load_scored(store: Store, ids: Sequence[str], labels: pa.Table, numbers: frozenset[int]) -> pd.DataFrame:
    """Load the scored rows of these batches whose first id has a label; each file is read once.

    Ids become texts before pandas sees them, which makes floats of whole numbers where one is null.
    """
    needed = (*ids, schema.LABEL, schema.SCORE, schema.STAGE, schema.MODEL_VERSION, schema.SEQUENCE)
    batches = [
        batch
        for batch in store.list_batches()
        if any(manifest.sequence in numbers for manifest in batch.manifest.origins)
    ]
    found = []
    for file in store.list_files(batches, False):
        with file.open() as opened:
            names = pq.read_schema(opened).names
        rows = with_text_ids(file.load([name for name in needed if name in names]), ids)
        is_wanted = pc.and_(
            pc.is_in(rows[schema.SEQUENCE], pa.array(sorted(numbers), pa.int64())),
            pc.is_in(rows[ids[0]], labels[ids[0]].combine_chunks()),
        )
        found.append(rows.filter(is_wanted))
    joined: pd.DataFrame = pa.concat_tables(found, promote_options="default").to_pandas()
    return joined


def with_text_ids(rows: pa.Table, ids: Sequence[str]) -> pa.Table:
    """Return the rows with their ids as texts."""
    for name in ids:
        rows = rows.set_column(rows.column_names.index(name), name, rows[name].cast(pa.string()))
    return rows
