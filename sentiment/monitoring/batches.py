"""Find the batches of a store, and load their rows."""

import functools

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .. import schema
from ..errors import StoreError
from ..tables.store.manifests import WAITING
from ..tables.store.protocol import Batch, Store
from .published import PublishedBatch


def list_published(store: Store) -> list[PublishedBatch]:
    """Return the batches of a store as they were scored, also those that were compacted since."""
    return [
        PublishedBatch(
            number=manifest.sequence,
            name=f"{manifest.sequence} of {manifest.scored_at}",
            model_uri=manifest.model_uri,
            model_version=manifest.model_version,
            ids=tuple(manifest.id_types),
            label_names=manifest.label_names,
            input_rows=manifest.input_rows - manifest.skipped_rows.get(WAITING, 0),
            scored_rows=manifest.scored_rows,
            skipped_rows=sum(manifest.skipped_rows.values()) - manifest.skipped_rows.get(WAITING, 0),
            is_rescore=manifest.consumption.is_rescore,
            inputs=manifest.consumption.inputs,
            bad_files=manifest.bad_files,
            # None in a batch of an earlier version.
            profile=manifest.profile,
            load_rows=functools.partial(load_rows, store, batch, manifest.sequence),
        )
        for batch in store.list_batches()
        for manifest in batch.manifest.origins
    ]


def load_rows(store: Store, batch: Batch, number: int) -> pd.DataFrame:
    """Load the scored rows and rejects of batch `number`; after compaction its files hold others too."""
    files = [file for kind in (False, True) for file in store.list_files([batch], kind)]
    if not files:
        raise StoreError(
            f"{batch.name}: has no files of rows; `python -m sentiment.tables verify` checks a store"
        )
    # Scored rows and rejects have different columns: a value is null where a file has none.
    tables = [file.load() for file in files]
    found = pa.concat_tables(tables, promote_options="default")
    rows: pd.DataFrame = found.filter(pc.equal(found[schema.SEQUENCE], number)).to_pandas()
    return rows
