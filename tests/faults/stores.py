"""Small stores made without Spark."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment import schema
from sentiment.tables.manifests import Consumption, Manifest

ID_TYPES = {"review_id": "string"}


def make_manifest(sequence: int, scored_rows: int = 1, rejected_rows: int = 1, **overrides: Any) -> Manifest:
    """A manifest of a batch that took a file of its own."""
    taken = {
        **{"path": f"/in/{sequence}.parquet", "size_bytes": 1, "modified_ns": 1, "footer_digest": "x"},
        **{"rows": scored_rows + rejected_rows, "start_row": 0, "stop_row": scored_rows + rejected_rows},
    }
    values: dict[str, Any] = {
        "sequence": sequence,
        "consumption": Consumption((taken,), "review_id", "text", "m-1"),
        "model_uri": "models:/sentiment/3",
        "model_version": "3",
        "scored_at": "2026-01-31T02:00:00+00:00",
        "input_rows": scored_rows + rejected_rows,
        "scored_rows": scored_rows,
        "rejected_rows": rejected_rows,
        "skipped_rows": {},
        "rejected_by_reason": {schema.NULL_TEXT: rejected_rows} if rejected_rows else {},
        "labels": {schema.POSITIVE: scored_rows},
        "stages": {schema.ENCODER: scored_rows},
        "id_types": ID_TYPES,
    }
    return Manifest(**{**values, **overrides})


def write_part(path: Path, n: int, sequence: int = 1, first_id: int = 0) -> None:
    """A scored Parquet file of n rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "review_id": [f"r{first_id + i}" for i in range(n)],
            schema.LABEL: [schema.POSITIVE] * n,
            schema.SCORE: [0.9] * n,
            schema.TEXT_DIGEST: pa.array(range(n), pa.int64()),
            schema.MODEL_VERSION: ["3"] * n,
            schema.SEQUENCE: pa.array([sequence] * n, pa.int64()),
        }
    )
    pq.write_table(table, path)


def write_rejects(path: Path, n: int, sequence: int = 1, first_id: int = 0) -> None:
    """A Parquet file of n rejected rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "review_id": [f"x{first_id + i}" for i in range(n)],
            schema.REJECT_REASON: [schema.NULL_TEXT] * n,
            schema.TEXT_DIGEST: pa.array(range(n), pa.int64()),
            schema.MODEL_VERSION: ["3"] * n,
            schema.SEQUENCE: pa.array([sequence] * n, pa.int64()),
        }
    )
    pq.write_table(table, path)
