"""What was staged, counted, and whether it may be published."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .. import schema
from ..errors import StoreError
from .store import REJECTED

SCORED_COLUMNS = (
    *(schema.LABEL, schema.SCORE, schema.N_TOKENS, schema.TRUNCATED),
    *(schema.MODEL_VERSION, schema.SCORED_AT),
)
REJECTED_COLUMNS = (schema.REJECT_REASON, schema.MODEL_VERSION, schema.SCORED_AT)
"""Columns of the published files, behind the ids."""


@dataclass(frozen=True)
class Counts:
    """The rows of a batch: scored ones by label, rejected ones by reason, and scores that are none."""

    labels: dict[str, int] = field(default_factory=dict)
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    bad_scores: int = 0

    @property
    def scored(self) -> int:
        return sum(self.labels.values())

    @property
    def rejected(self) -> int:
        return sum(self.rejected_by_reason.values())


def count_rows(predictions: DataFrame) -> Counts:
    """Count `scoring.score_reviews`' rows in one pass; a score is bad if null, NaN or not in [0.5, 1]."""
    is_bad = F.col(schema.SCORE).isNull() | ~F.col(schema.SCORE).between(0.5, 1.0)
    groups = (
        predictions.groupBy(schema.REJECT_REASON, schema.LABEL)
        .agg(F.count(F.lit(1)).alias("rows"), F.count_if(is_bad).alias("bad"))
        .collect()
    )
    labels: dict[str, int] = {}
    reasons: dict[str, int] = {}
    bad_scores = 0
    for group in groups:
        reason, label = group[schema.REJECT_REASON], group[schema.LABEL]
        counted, name = (labels, str(label)) if reason is None else (reasons, reason)
        counted[name] = counted.get(name, 0) + group["rows"]
        bad_scores += group["bad"] if reason is None else 0
    return Counts(labels, reasons, bad_scores)


def audit(counts: Counts, input_rows: int) -> None:
    """Raise StoreError unless rows in are rows out, and every score is one of a known label."""
    if counts.scored + counts.rejected != input_rows:
        raise StoreError(
            f"audit: {input_rows:,} rows were read, {counts.scored:,} scored and {counts.rejected:,} "
            "rejected; nothing was published; the input may have changed during the run: run again"
        )
    if counts.bad_scores or not set(counts.labels) <= set(schema.LABELS):
        raise StoreError(
            f"audit: {counts.bad_scores:,} scores outside [0.5, 1], labels {sorted(counts.labels)}; "
            "nothing was published; the model breaks its contract"
        )


def audit_files(staged: Path, counts: Counts, id_columns: tuple[str, ...]) -> None:
    """Raise StoreError unless the files to be published hold the counted rows and exactly their columns."""
    for folder, rows, columns in (
        (staged, counts.scored, SCORED_COLUMNS),
        (staged / REJECTED, counts.rejected, REJECTED_COLUMNS),
    ):
        found_rows = 0
        for path in folder.glob("*.parquet"):
            metadata = pq.read_metadata(path)
            found_rows += metadata.num_rows
            if metadata.schema.to_arrow_schema().names != [*id_columns, *columns]:
                raise StoreError(
                    f"audit: {path.name} has other columns than {columns}; nothing was published"
                )
        if found_rows != rows:
            raise StoreError(
                f"audit: the files hold {found_rows:,} of {rows:,} counted rows; nothing was published"
            )
