"""Summarise a run for people and dashboards."""

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import schema
from ..config import REJECT
from ..errors import BadFilesError
from .audit import Counts
from .input.files import BadFile
from .pending import count_slice_rows, find_pending
from .plans import Plan
from .store.manifests import KNOWN, SUPERSEDED, WAITING
from .store.protocol import Batch
from .worker import ModelLoad, WorkerEngine


@dataclass(frozen=True)
class RunSummary:
    """Count what a run did with the rows of the usable files.

    Each row is scored, rejected, `skipped` (an earlier run handled it, or the store's newest text of its id
    is the same), `superseded` (its chunk has a later row with its id) or `waiting` (put off by dates,
    `max_rows` or a dry run). `pending_rows` is the number of rows that the run planned to score.
    `conflicting_ids` are those of which a chunk held several texts. `repeated_texts` counts scored rows whose
    text was scored for another row.

    `rows_per_second` covers only the scoring, `seconds` the whole run; `core_seconds_per_1000_rows` and
    `rows_per_core_hour` are its cost on all cores of the run. `worker_start_seconds` is the longest
    time that a Python worker took to load the model. `labels`, `unsure_rows` and `stages` count scored
    rows; `label_names` are all labels of the model, in its order.
    """

    input_rows: int
    pending_rows: int
    scored_rows: int
    rejected_rows: int
    skipped_rows: int
    superseded_rows: int
    conflicting_ids: int
    waiting_rows: int
    input_files: int
    pending_files: int
    bad_files: list[dict[str, str]]
    rejected_by_reason: dict[str, int]
    labels: dict[str, int]
    label_names: tuple[str, ...]
    unsure_rows: int
    repeated_texts: int
    stages: dict[str, int]
    rows_per_second: float
    core_seconds_per_1000_rows: float | None
    rows_per_core_hour: float | None
    seconds: float
    engines: list[str]
    instruction_sets: list[str]
    model_loads: int
    python_workers: int
    worker_start_seconds: float | None
    model_uri: str
    model_version: str
    output: str
    batch: str | None
    batches: list[str]
    dry_run: bool
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """Hold what chunks of this run published, and files that Spark could not read.

    `score_seconds` is the time that the scoring took.
    """

    batches: tuple[Batch, ...] = ()
    counts: Counts = field(default_factory=Counts)
    score_seconds: float = 0.0
    loads: frozenset[ModelLoad] = frozenset()
    workers: frozenset[WorkerEngine] = frozenset()
    bad_files: tuple[BadFile, ...] = ()
    cores: int = 0

    @property
    def n_workers(self) -> int:
        return len({worker.process for worker in self.workers})

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.batches + other.batches,
            self.counts + other.counts,
            self.score_seconds + other.score_seconds,
            self.loads | other.loads,
            self.workers | other.workers,
            self.bad_files + other.bad_files,
            max(self.cores, other.cores),
        )


def check_bad_files(summary: RunSummary, max_bad_files: int) -> None:
    """Raise BadFilesError, with the summary, if more files than allowed are quarantined."""
    bad = summary.bad_files
    if len(bad) > max_bad_files:
        more = f"; {len(bad) - 1:,} more are in the summary" if len(bad) > 1 else ""
        raise BadFilesError(
            f"{len(bad):,} of {len(bad) + summary.input_files:,} input files cannot be used, more than "
            f"max_bad_files {max_bad_files}; the other files are done; the first error is: "
            f"{bad[0]['reason']}{more}",
            summary.as_dict(),
        )


def summarise(plan: Plan, outcome: Outcome, output: str, seconds: float) -> RunSummary:
    counts = outcome.counts
    done_rows = counts.scored + counts.rejected
    skips = counts.skipped_by_reason
    pending_rows = count_slice_rows(plan.pending)
    core_seconds = outcome.score_seconds * outcome.cores
    waiting = skips.get(WAITING, 0) + (pending_rows if plan.config.dry_run else 0)
    # Earlier runs took every row that is neither pending nor put off by dates or max_rows.
    put_off = _count_put_off(plan)
    return RunSummary(
        input_rows=plan.table.rows,
        pending_rows=pending_rows,
        scored_rows=counts.scored,
        rejected_rows=counts.rejected,
        skipped_rows=plan.table.rows - pending_rows - put_off + skips.get(KNOWN, 0),
        superseded_rows=skips.get(SUPERSEDED, 0),
        conflicting_ids=counts.conflicting_ids,
        waiting_rows=waiting + put_off,
        input_files=len(plan.table.files),
        pending_files=len({piece.file.path for piece in plan.pending}),
        bad_files=[bad.as_dict() for bad in plan.table.bad_files],
        rejected_by_reason=counts.rejected_by_reason,
        labels=counts.labels,
        label_names=plan.model.labels,
        unsure_rows=counts.unsure,
        repeated_texts=counts.repeated_texts,
        stages=counts.stages,
        rows_per_second=done_rows / outcome.score_seconds if done_rows else 0.0,
        core_seconds_per_1000_rows=core_seconds / done_rows * 1000 if done_rows else None,
        rows_per_core_hour=done_rows / core_seconds * 3600 if done_rows and core_seconds else None,
        seconds=seconds,
        engines=sorted({worker.engine for worker in outcome.workers}),
        instruction_sets=sorted({worker.instruction_set for worker in outcome.workers}),
        model_loads=len(outcome.loads),
        python_workers=outcome.n_workers,
        worker_start_seconds=max((load.seconds for load in outcome.loads), default=None),
        model_uri=plan.config.model_uri,
        model_version=plan.model.version,
        output=output,
        batch=outcome.batches[-1].location if outcome.batches else None,
        batches=[batch.location for batch in outcome.batches],
        dry_run=plan.config.dry_run,
        warnings=_list_warnings(plan, counts) + _list_engine_warnings(outcome),
    )


def _count_put_off(plan: Plan) -> int:
    """Count the rows that would be pending too if the run had no dates and no `max_rows`."""
    anytime = replace(plan.request, window=None)
    manifests = [batch.manifest for batch in plan.batches]
    return count_slice_rows(find_pending(plan.table, manifests, anytime)) - count_slice_rows(plan.pending)


def _list_engine_warnings(outcome: Outcome) -> list[str]:
    """Return each reason why workers did not run the intended engine, with the number of these workers."""
    counts = Counter(worker.warning for worker in outcome.workers if worker.warning is not None)
    return [
        f"{warning} (in {count:,} of {outcome.n_workers:,} Python workers)"
        for warning, count in sorted(counts.items())
    ]


def _list_warnings(plan: Plan, counts: Counts) -> list[str]:
    warnings = plan.table.list_oddities()
    trained_on, text_col = plan.model.text_col, plan.config.text_col
    if trained_on is not None and schema.split_columns(trained_on) != schema.split_columns(text_col):
        warnings.append(f"the model was trained on text_col {trained_on}, this run scores {text_col}")
    null_ids = counts.rejected_by_reason.get(schema.NULL_ID, 0)
    if null_ids:
        warnings.append(f"{null_ids:,} rows have no {plan.config.id_col}: rejected as {schema.NULL_ID}")
    if counts.conflicting_ids:
        warnings.append(
            f"{counts.conflicting_ids:,} ids have several texts in one chunk: "
            + ("their rows were rejected" if plan.config.on_duplicate == REJECT else "the latest was scored")
        )
    warnings += [
        f"quarantined: {bad.error}"
        for bad in plan.table.bad_files
        if len(plan.table.bad_files) <= plan.config.max_bad_files
    ]
    others = {b.manifest.model_version for b in plan.batches} - {plan.model.version}
    if not plan.pending and others and not plan.config.rescore:
        warnings.append(
            f"no rows are pending; rows scored by model version {', '.join(sorted(others))} stay as they "
            f"are: pass --rescore to score them with version {plan.model.version}"
        )
    return warnings
