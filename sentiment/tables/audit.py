"""Check, by its counts, that a batch may be published. No Spark."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import schema
from ..errors import HeldBatchError, StoreError
from .store.files import WrittenFile


@dataclass(frozen=True)
class Counts:
    """Hold row counts of a batch: scored rows by label and stage, other rows by reason, invalid scores.

    `unsure` and `repeated_texts` count scored rows too.
    """

    labels: dict[str, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    skipped_by_reason: dict[str, int] = field(default_factory=dict)
    unsure: int = 0
    bad_scores: int = 0
    # Ids with several texts in one chunk.
    conflicting_ids: int = 0
    # Scored rows whose text the model had just scored for another row.
    repeated_texts: int = 0

    @property
    def rows(self) -> int:
        return self.scored + self.rejected + self.skipped

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
        names = ("unsure", "bad_scores", "conflicting_ids", "repeated_texts")
        return Counts(*parts, *(getattr(self, name) + getattr(other, name) for name in names))


def find_lowest_score(labels: Sequence[str]) -> float:
    """Return the lowest score that the likeliest of these labels can have, less the rounding of a sum."""
    return 1 / len(labels) - 1e-6


def audit(counts: Counts, input_rows: int, labels: Sequence[str]) -> None:
    """Raise StoreError unless every input row is counted and all scores, labels and stages are valid."""
    if counts.rows != input_rows:
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


def check_rejects(counts: Counts, max_share: float, staged: str) -> None:
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
    files: Sequence[WrittenFile],
    counts: Counts,
    scored_columns: Sequence[str],
    rejected_columns: Sequence[str],
) -> None:
    """Raise StoreError unless the written files hold the counted rows and exactly the expected columns."""
    for is_rejected, rows, columns in (
        (False, counts.scored, scored_columns),
        (True, counts.rejected, rejected_columns),
    ):
        some = [file for file in files if file.is_rejected == is_rejected]
        for file in some:
            if file.columns != tuple(columns):
                raise StoreError(
                    f"audit: {file.path} has other columns than {', '.join(columns)}; the batch was not "
                    "published"
                )
        found_rows = sum(file.rows for file in some)
        if found_rows != rows:
            raise StoreError(
                f"audit: the files hold {found_rows:,} of {rows:,} counted rows; the batch was not published"
            )
