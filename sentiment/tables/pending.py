"""Find the pending rows, which no published batch has taken, and cut them into chunks, without Spark.

The rows that a batch has taken are the `consumption` in its manifest: rows scored, rejected or skipped.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from ..errors import SchemaMismatchError
from ..schema import MODEL_FAILED
from .input.files import InputFile
from .input.tables import ReviewTable
from .store.manifests import (
    KNOWN,
    BatchId,
    Consumption,
    FileIdentity,
    Manifest,
    Window,
    digest_content,
)


@dataclass(frozen=True)
class Slice:
    """Select rows [start_row, stop_row) of a file."""

    file: InputFile
    start_row: int
    stop_row: int

    @property
    def rows(self) -> int:
        """Return the number of rows in the slice, with those that a Delta table has deleted."""
        return self.stop_row - self.start_row

    @property
    def live_rows(self) -> int:
        """Return the number of rows in the slice that are not deleted."""
        deleted = self.file.deleted_rows
        return self.rows - (bisect_left(deleted, self.stop_row) - bisect_left(deleted, self.start_row))

    def identity(self) -> FileIdentity:
        """Return the identity of the file and the bounds of the slice, as a manifest holds them."""
        return {**self.file.identity(), "start_row": self.start_row, "stop_row": self.stop_row}


def count_slice_rows(slices: Iterable[Slice]) -> int:
    """Return the number of rows in all slices that are not deleted."""
    return sum(piece.live_rows for piece in slices)


@dataclass(frozen=True)
class Request:
    """Describe which rows a run is to score: columns, dates, model, and whether rows are scored again.

    `retries_after` is 0, or the number of a batch: rows on which this model failed in a batch up to this
    number are tried again.
    """

    id_col: str
    text_col: str
    model_id: str
    window: Window | None
    is_rescore: bool
    retries_after: int = 0

    def is_covered_by(self, batch: Manifest) -> bool:
        """Return True if the rows that a batch has taken are not pending for this request.

        The batch must have the same columns, and all dates of the request. A batch with rows on which its
        model failed covers only requests of that model, and no request that tries these rows again.

        A rescore wants scores of its own model for all rows. So only a batch of that model covers it. If the
        batch skipped known rows, it must be a rescore too: any other batch skips rows that another model has
        scored.
        """
        taken = batch.consumption
        if batch.rejected_by_reason.get(MODEL_FAILED) and (
            taken.model_id != self.model_id or batch.sequence <= self.retries_after
        ):
            return False
        is_same = (taken.id_col, taken.text_col) == (self.id_col, self.text_col)
        has_dates = taken.window is None or taken.window.covers(self.window)
        if not self.is_rescore:
            return is_same and has_dates
        has_known = batch.skipped_rows.get(KNOWN, 0) > 0
        is_mine = taken.model_id == self.model_id and (taken.is_rescore or not has_known)
        return is_same and has_dates and is_mine


def find_pending(table: ReviewTable, manifests: Iterable[Manifest], request: Request) -> list[Slice]:
    """Return the requested rows that no published batch has taken, in the order of the table's files.

    A file counts as new if its size, modification time or footer differs from the manifest. A file in a
    folder whose name states a date outside the window is left out.
    """
    taken = _collect_taken(manifests, request)
    pending = []
    for file in table.files:
        if request.window is not None and file.day is not None and not request.window.includes_day(file.day):
            continue
        at = 0
        for start, stop in sorted(taken.get(_file_key(file.identity()), ())):
            if start > at:
                pending.append(Slice(file, at, start))
            at = max(at, stop)
        if at < file.rows:
            pending.append(Slice(file, at, file.rows))
    return pending


def limit_rows(slices: Sequence[Slice], max_rows: int | None) -> list[Slice]:
    """Return slices of the first `max_rows` rows, deleted ones included; None means all."""
    if max_rows is None:
        return list(slices)
    return next(iter(cut_chunks(slices, max_rows)), [])


def skip_slices(slices: Sequence[Slice], done: Sequence[FileIdentity]) -> list[Slice]:
    """Return the slices without the rows of a batch that was made of the first rows of some of them.

    `done` are the `inputs` in the `consumption` of this batch.
    """
    taken = {(entry["path"], entry["start_row"]): entry["stop_row"] for entry in done}
    left = []
    for piece in slices:
        start = taken.get((piece.file.path, piece.start_row), piece.start_row)
        if start < piece.stop_row:
            left.append(Slice(piece.file, start, piece.stop_row))
    return left


def cut_chunks(slices: Sequence[Slice], chunk_rows: int) -> list[list[Slice]]:
    """Cut slices, in order, into chunks of `chunk_rows` rows with deleted ones; the last may have fewer."""
    chunks: list[list[Slice]] = []
    room = 0
    for piece in slices:
        start = piece.start_row
        while start < piece.stop_row:
            if room == 0:
                chunks.append([])
                room = chunk_rows
            stop = min(piece.stop_row, start + room)
            chunks[-1].append(Slice(piece.file, start, stop))
            room -= stop - start
            start = stop
    return chunks


def make_consumption(request: Request, slices: Iterable[Slice]) -> Consumption:
    """Return the `consumption` of a batch that is made of these slices."""
    return Consumption(
        inputs=tuple(piece.identity() for piece in slices),
        id_col=request.id_col,
        text_col=request.text_col,
        model_id=request.model_id,
        window=request.window,
        is_rescore=request.is_rescore,
        retries_after=request.retries_after,
    )


def name_batch(consumption: Consumption, model_version: str, now: datetime) -> BatchId:
    """Name a batch by its date and by a digest of its inputs, columns and model."""
    return BatchId(model_version, f"{now:%Y-%m-%d}", digest_content(asdict(consumption)))


def check_id_types(table: ReviewTable, manifests: Iterable[Manifest]) -> None:
    """Raise SchemaMismatchError if the input and the store have different id types."""
    types = table.id_types
    for found in manifests:
        if set(found.id_types) == set(types) and found.id_types != types:
            raise SchemaMismatchError(
                f"{table.root}: id types are {types}, but {found.id_types} in the store; "
                "expected the same types; convert the input, or choose another --output"
            )


def _collect_taken(
    manifests: Iterable[Manifest], request: Request
) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    taken: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for batch in (origin for found in manifests for origin in found.origins):
        if request.is_covered_by(batch):
            for entry in batch.consumption.inputs:
                taken[_file_key(entry)].append((entry["start_row"], entry["stop_row"]))
    return taken


def _file_key(identity: FileIdentity) -> tuple[str, ...]:
    return tuple(str(identity[name]) for name in ("path", "size_bytes", "modified_ns", "footer_digest"))
