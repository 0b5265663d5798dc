"""What is pending: the input's rows that no manifest says were taken, cut into chunks. No Spark."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from ..errors import SchemaMismatchError
from .files import FileIdentity, InputFile
from .inspection import ReviewTable
from .manifests import Consumption, Manifest, Window
from .store import BatchId

KNOWN = "known"
"""Is what the store has as the newest of its id."""
SUPERSEDED = "superseded"
"""The store has a newer text of the id, and that one is among what the run reads too."""
REPEATED = "repeated"
"""A row of the run has the same id and text, and stands for both."""
WAITING = "waiting"
"""Outside the window of dates: still pending."""
ELSEWHERE = "elsewhere"
"""Its id occurs twice in the run, and the first chunk took all rows of such ids."""


@dataclass(frozen=True)
class Slice:
    """Rows [start_row, stop_row) of a file."""

    file: InputFile
    start_row: int
    stop_row: int

    @property
    def rows(self) -> int:
        return self.stop_row - self.start_row

    @property
    def is_whole(self) -> bool:
        return self.rows == self.file.rows

    def identity(self) -> FileIdentity:
        """What a manifest says of it."""
        return {**self.file.identity(), "start_row": self.start_row, "stop_row": self.stop_row}


def count_rows(slices: Iterable[Slice]) -> int:
    """Rows of all of them."""
    return sum(piece.rows for piece in slices)


@dataclass(frozen=True)
class Request:
    """How a run takes its input: which columns and dates, and whether to score again for this model."""

    id_col: str
    text_col: str
    model_id: str
    window: Window | None
    is_rescore: bool

    def is_covered_by(self, batch: Manifest) -> bool:
        """Whether rows that a batch (as it was scored) took are done for this request too.

        A batch of another model counts, unless this is a rescore; a batch that skipped rows as known has
        left them to the model that scored them, and a rescore takes them again.
        """
        taken = batch.consumption
        is_same = (taken.id_col, taken.text_col) == (self.id_col, self.text_col)
        has_dates = taken.window is None or taken.window.contains(self.window)
        if not self.is_rescore:
            return is_same and has_dates
        left_rows = batch.skipped_rows.get(KNOWN, 0) > 0
        is_mine = taken.model_id == self.model_id and (taken.is_rescore or not left_rows)
        return is_same and has_dates and is_mine


def find_pending(table: ReviewTable, manifests: Iterable[Manifest], request: Request) -> list[Slice]:
    """The rows that the request is for and no published batch has taken, in path order.

    A file with another size, time or footer than a manifest says is another file. Files whose dates are
    known to lie outside the window are left out.
    """
    taken = _collect_taken(manifests, request)
    pending = []
    for file in table.files:
        if request.window is not None and file.day is not None and not request.window.has(file.day):
            continue
        at = 0
        for start, stop in sorted(taken.get(_key(file.identity()), ())):
            if start > at:
                pending.append(Slice(file, at, start))
            at = max(at, stop)
        if at < file.rows:
            pending.append(Slice(file, at, file.rows))
    return pending


def limit_rows(slices: Sequence[Slice], max_rows: int | None) -> list[Slice]:
    """The first `max_rows` rows; None means all."""
    if max_rows is None:
        return list(slices)
    return next(iter(cut_chunks(slices, max_rows)), [])


def skip_rows(slices: Sequence[Slice], n_rows: int) -> list[Slice]:
    """The slices without their first `n_rows` rows."""
    left = []
    for piece in slices:
        start = min(piece.stop_row, piece.start_row + n_rows)
        n_rows -= start - piece.start_row
        if start < piece.stop_row:
            left.append(Slice(piece.file, start, piece.stop_row))
    return left


def cut_chunks(slices: Sequence[Slice], chunk_rows: int) -> list[list[Slice]]:
    """The slices in order, cut so that each chunk but the last has exactly `chunk_rows` rows."""
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


def describe(request: Request, slices: Iterable[Slice], repeats_of: Iterable[Slice] = ()) -> Consumption:
    """What a batch of these slices has taken."""
    return Consumption(
        inputs=tuple(piece.identity() for piece in slices),
        id_col=request.id_col,
        text_col=request.text_col,
        model_id=request.model_id,
        window=request.window,
        is_rescore=request.is_rescore,
        repeats_of=tuple(piece.identity() for piece in repeats_of),
    )


def name_batch(consumption: Consumption, model_version: str, now: datetime) -> BatchId:
    """The same inputs, columns and model always make the same batch."""
    return BatchId(model_version, f"{now:%Y-%m-%d}", _digest(asdict(consumption)))


def name_parts(parts: Sequence[Manifest], model_version: str, scored_at: str) -> BatchId:
    """The name of the batch that holds these."""
    content = [asdict(part.consumption) for part in parts]
    return BatchId(model_version, scored_at[:10], _digest(content))


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def find_left_repeats(manifests: Iterable[Manifest], slices: Iterable[Slice]) -> list[Manifest]:
    """The batches of a run that was stopped between its chunks: their rejects include rows of `slices`."""
    pending = {_key(piece.file.identity()) for piece in slices}
    return [
        found
        for found in manifests
        if any(_key(entry) in pending for part in found.origins for entry in part.consumption.repeats_of)
    ]


def check_id_types(table: ReviewTable, manifests: Iterable[Manifest]) -> None:
    """Raise SchemaMismatchError if ids of the input cannot be those of the store."""
    types = table.id_types
    for found in manifests:
        if set(found.id_types) == set(types) and found.id_types != types:
            raise SchemaMismatchError(
                f"{table.root}: ids are {types}, but {found.id_types} in the store; "
                "expected the same types: choose another --output, or convert the input"
            )


def _collect_taken(
    manifests: Iterable[Manifest], request: Request
) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    taken: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for batch in (origin for found in manifests for origin in found.origins):
        if request.is_covered_by(batch):
            for entry in batch.consumption.inputs:
                taken[_key(entry)].append((entry["start_row"], entry["stop_row"]))
    return taken


def _key(identity: FileIdentity) -> tuple[str, ...]:
    return tuple(str(identity[name]) for name in ("path", "size_bytes", "modified_ns", "footer_digest"))
