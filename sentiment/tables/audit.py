"""Count the staged rows of a batch and check that it may be published."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .. import schema
from ..errors import HeldBatchError, StoreError
from .selection import SKIP_REASON
from .store.folder import REJECTED

# Columns of the published rejects, after the id columns.
REJECTED_COLUMNS = (schema.REJECT_REASON, *schema.TABLE_COLUMNS)


@dataclass(frozen=True)
class Counts:
    """Hold row counts of a batch: scored rows by label and stage, other rows by reason, invalid scores.

    `unsure` counts scored rows too.
    """

    labels: dict[str, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    skipped_by_reason: dict[str, int] = field(default_factory=dict)
    unsure: int = 0
    bad_scores: int = 0

    @property
    def scored(self) -> int:
        return sum(self.labels.values())

    @property
    def rejected(self) -> int:
        return sum(self.rejected_by_reason.values())

    @property
    def skipped(self) -> int:
        return sum(self.skipped_by_reason.values())

    def __add__(self, other: "Counts") -> "Counts":
        def add(name: str) -> dict[str, int]:
            return dict(Counter(getattr(self, name)) + Counter(getattr(other, name)))

        parts = (add("labels"), add("stages"), add("rejected_by_reason"), add("skipped_by_reason"))
        return Counts(*parts, self.unsure + other.unsure, self.bad_scores + other.bad_scores)


def list_scored_columns(prediction_types: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of the published scores, after the id columns, of a model with these columns."""
    return (*(name for name in prediction_types if name != schema.REJECT_REASON), *schema.TABLE_COLUMNS)


def find_lowest_score(labels: Sequence[str]) -> float:
    """Return the lowest score that the likeliest of these labels can have, less the rounding of a sum."""
    return 1 / len(labels) - 1e-6


def count_rows(predictions: DataFrame, label_names: Sequence[str]) -> Counts:
    """Count rows of `scoring.score_reviews` in one pass; a score is bad if null, NaN or out of its range."""
    is_bad = F.col(schema.SCORE).isNull() | ~F.col(schema.SCORE).between(find_lowest_score(label_names), 1.0)
    groups = (
        predictions.groupBy(SKIP_REASON, schema.REJECT_REASON, schema.LABEL, schema.STAGE)
        .agg(
            F.count(F.lit(1)).alias("rows"),
            F.count_if(is_bad).alias("bad"),
            F.count_if(F.col(schema.UNSURE)).alias("unsure"),
        )
        .collect()
    )
    labels, stages, reasons, skipped = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    unsure = bad_scores = 0
    for group in groups:
        if group[SKIP_REASON] is not None:
            skipped[group[SKIP_REASON]] += group["rows"]
            continue
        if group[schema.REJECT_REASON] is not None:
            reasons[group[schema.REJECT_REASON]] += group["rows"]
            continue
        labels[str(group[schema.LABEL])] += group["rows"]
        stages[str(group[schema.STAGE])] += group["rows"]
        unsure += group["unsure"]
        bad_scores += group["bad"]
    return Counts(dict(labels), dict(stages), dict(reasons), dict(skipped), unsure, bad_scores)


def audit(counts: Counts, input_rows: int, labels: Sequence[str]) -> None:
    """Raise StoreError unless every input row is counted and all scores, labels and stages are valid."""
    if counts.scored + counts.rejected + counts.skipped != input_rows:
        raise StoreError(
            f"audit: {input_rows:,} rows were read, {counts.scored:,} scored, {counts.rejected:,} rejected "
            f"and {counts.skipped:,} skipped, which does not add up; the batch was not published; the input "
            "may have changed during the run: run again"
        )
    are_known = set(counts.labels) <= set(labels) and set(counts.stages) <= set(schema.STAGES)
    if counts.bad_scores or not are_known:
        raise StoreError(
            f"audit: {counts.bad_scores:,} scores outside [{1 / len(labels):.2g}, 1]; labels "
            f"{sorted(counts.labels)}, expected {list(labels)}; stages {sorted(counts.stages)}, expected "
            f"{list(schema.STAGES)}; the batch was not published; choose another model version"
        )


def check_rejects(counts: Counts, max_share: float, staged: Path) -> None:
    """Raise HeldBatchError if more than `max_share` of the rows that were not skipped are rejected."""
    done = counts.scored + counts.rejected
    if done and counts.rejected / done > max_share:
        reasons = ", ".join(
            f"{reason} {rows:,}" for reason, rows in sorted(counts.rejected_by_reason.items())
        )
        raise HeldBatchError(
            f"{counts.rejected:,} of {done:,} rows were rejected ({counts.rejected / done:.1%}: {reasons}), "
            f"more than max_reject_share {max_share:.1%}; the batch was not published and stays in {staged} "
            "until the next run; correct the input, or allow more rejects with --max_reject_share"
        )


def audit_files(
    staged: Path, counts: Counts, id_columns: tuple[str, ...], scored_columns: tuple[str, ...]
) -> None:
    """Raise StoreError unless the staged files hold the counted rows and exactly the expected columns."""
    for folder, rows, columns in (
        (staged, counts.scored, scored_columns),
        (staged / REJECTED, counts.rejected, REJECTED_COLUMNS),
    ):
        found_rows = 0
        for path in folder.glob("part-*"):
            metadata = pq.read_metadata(path)
            found_rows += metadata.num_rows
            if metadata.schema.to_arrow_schema().names != [*id_columns, *columns]:
                raise StoreError(
                    f"audit: {path.name} has other columns than {columns}; the batch was not published"
                )
        if found_rows != rows:
            raise StoreError(
                f"audit: the files hold {found_rows:,} of {rows:,} counted rows; the batch was not published"
            )
