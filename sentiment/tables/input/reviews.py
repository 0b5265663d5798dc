"""Read the reviews of a checked input in Spark's executors, with pyarrow."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ... import schema
from ...errors import InputError, SchemaMismatchError, UnreadableFileError
from ..columns import IS_DUPLICATE, IS_OUTSIDE, ORDER, POSITION, column, quote
from ..pending import Slice
from ..selection import Selection
from ..storage import Storage
from ..store.manifests import Window
from .dates import parse_days
from .files import BadFile, Columns, InputFile, make_unreadable_error
from .tables import ReviewTable
from .types import cast_column, find_carried_type, name_spark_type

_BATCH_ROWS = 1_024
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class _Part:
    """Describe rows [start_row, stop_row) of a file; `position` is that of the file's row 0.

    `left_out` and `duplicates` are numbers of rows in the file, in rising order: of those that are not read,
    and of those that a selection rejects.
    """

    path: str
    start_row: int
    stop_row: int
    position: int
    partitions: dict[str, str | None]
    left_out: NDArray[np.int64]
    duplicates: NDArray[np.int64]

    def cut(self, start_row: int, stop_row: int) -> "_Part":
        """Return the part that has only these rows."""
        return dataclasses.replace(
            self,
            start_row=start_row,
            stop_row=stop_row,
            left_out=_cut_sorted(self.left_out, start_row, stop_row),
            duplicates=_cut_sorted(self.duplicates, start_row, stop_row),
        )


@dataclass(frozen=True)
class _Reader:
    """Read parts of files as Arrow batches with the columns of `read_reviews`."""

    storage: Storage
    columns: Columns
    window: Window | None
    types: dict[str, pa.DataType]

    @property
    def output(self) -> pa.Schema:
        ids = [(name, self.types[name]) for name in self.columns.ids]
        order = [(ORDER, self.types[self.columns.order])] if self.columns.order else []
        flags = [(IS_OUTSIDE, pa.bool_()), (IS_DUPLICATE, pa.bool_())]
        return pa.schema([*ids, (schema.TEXT, pa.string()), (POSITION, pa.int64()), *flags, *order])

    def read(self, part: _Part) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a part that are not left out; raise an InputError that names the file."""
        found = wrong_dates = 0
        try:
            for first_row, batch in self._read_groups(part):
                start, stop = max(first_row, part.start_row), min(first_row + len(batch), part.stop_row)
                if start < stop:
                    found += stop - start
                    made, n_wrong = self._convert(batch.slice(start - first_row, stop - start), part, start)
                    wrong_dates += n_wrong
                    yield made
        except (pa.ArrowException, OSError) as error:
            raise make_unreadable_error(self.storage, part.path, error) from None
        if found != part.stop_row - part.start_row:
            raise UnreadableFileError(
                f"{part.path}: has fewer rows than its footer states; repair the file, or remove it"
            )
        if wrong_dates and self.window is not None:
            raise SchemaMismatchError(
                f"{part.path}: {wrong_dates:,} of {found:,} values of column {self.window.date_col} are no "
                "dates; "
                "expected dates, times, 2026-01-31, 20260131, `01 31, 2026` or Unix times; correct them, or "
                "choose another --date_col"
            )

    def _read_groups(self, part: _Part) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield batches of the row groups that hold the part, each with the number of its first row."""
        # By default Arrow loads all data before it decodes any: the worker would hold the whole file.
        with (
            self.storage.open().open_input_file(self.storage.to_path(part.path)) as opened,
            pq.ParquetFile(
                opened, page_checksum_verification=True, pre_buffer=False, buffer_size=_READ_BYTES
            ) as file,
        ):
            starts = np.cumsum(
                [0, *(file.metadata.row_group(g).num_rows for g in range(file.num_row_groups))]
            )
            groups = [
                g
                for g in range(file.num_row_groups)
                if starts[g] < part.stop_row and starts[g + 1] > part.start_row
            ]
            held = set(file.schema_arrow.names)
            wanted = [name for name in self.columns.all if name in held]
            at = int(starts[groups[0]]) if groups else 0
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=wanted):
                yield at, batch
                at += len(batch)

    def _convert(self, batch: pa.RecordBatch, part: _Part, first_row: int) -> tuple[pa.RecordBatch, int]:
        """Return the rows in the form of the output, and the number of values that are no dates."""

        def find(name: str) -> pa.Array:
            if name in part.partitions:
                return pa.array([part.partitions[name]] * len(batch), pa.string())
            return batch.column(name)

        columns = self.columns
        numbers = np.arange(first_row, first_row + len(batch))
        arrays = [cast_column(find(name), self.types[name]) for name in columns.ids]
        arrays.append(_join_texts([cast_column(find(name), pa.string()) for name in columns.texts]))
        outside, wrong_dates = self._find_outside(find, len(batch))
        arrays.append(pa.array(part.position + numbers, pa.int64()))
        arrays.append(outside)
        arrays.append(pa.array(np.isin(numbers, part.duplicates, assume_unique=True)))
        if columns.order:
            arrays.append(cast_column(find(columns.order), self.types[columns.order]))
        made = pa.RecordBatch.from_arrays(arrays, schema=self.output)
        if len(part.left_out):
            made = made.filter(pa.array(~np.isin(numbers, part.left_out, assume_unique=True)))
        return made, wrong_dates

    def _find_outside(self, find: Callable[[str], pa.Array], n_rows: int) -> tuple[pa.Array, int]:
        """Return True for rows with a date outside the window or null, and count values that are no dates."""
        window = self.window
        if window is None:
            return pa.array(np.zeros(n_rows, dtype=bool)), 0
        values = find(window.date_col)
        days = parse_days(values)
        iso = pc.strftime(days, format="%Y-%m-%d")
        inside = pc.is_valid(iso)
        if window.since is not None:
            inside = pc.and_(inside, pc.fill_null(pc.greater_equal(iso, window.since), False))
        if window.until is not None:
            inside = pc.and_(inside, pc.fill_null(pc.less(iso, window.until), False))
        return pc.invert(inside), days.null_count - values.null_count


def read_reviews(
    spark: SparkSession,
    table: ReviewTable,
    slices: Sequence[Slice],
    n_tasks: int,
    window: Window | None = None,
    selection: Selection | None = None,
) -> DataFrame:
    """Read one row per row of the slices that is neither deleted nor skipped, in `n_tasks` equal tasks.

    Columns: the ids, `text`, `_position`, `_is_outside`, `_is_duplicate`, and `_order` if there is an order
    column. An id is null if it is NaN or not valid UTF-8, `text` if all text columns are null. `_is_outside`
    is true if the date is outside the window or null. `selection` says which rows are skipped and which are
    duplicates; with it, neither dates nor the order are read again. Lazy: a file that
    cannot be read fails the query (`find_unreadable` names it).
    """
    reader, parts = _prepare(table, slices, window, selection)
    tasks = _cut_evenly(parts, n_tasks)

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for part in tasks[number]:
                    yield from reader.read(part)

    kinds = {field.name: name_spark_type(field.type) for field in reader.output}
    ddl = ", ".join(f"{quote(name)} {kind}" for name, kind in kinds.items())
    rows = spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(read, ddl)
    return rows.select(
        *(_without_broken(name, kinds[name]) for name in table.columns.ids),
        *(F.col(name) for name in reader.output.names[len(table.columns.ids) :]),
    )


def find_unreadable(
    spark: SparkSession, table: ReviewTable, slices: Sequence[Slice], window: Window | None, n_tasks: int
) -> list[BadFile]:
    """Read the slices completely, and return the files of which that fails with the reason."""
    reader, parts = _prepare(table, slices, window)
    tasks = [parts[n::n_tasks] for n in range(min(n_tasks, len(parts)))]
    output = pa.schema([("path", pa.string()), ("kind", pa.string()), ("reason", pa.string())])

    def check(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for part in (part for number in batch.column(0).to_pylist() for part in tasks[number]):
                try:
                    for _ in reader.read(part):
                        pass
                except InputError as error:
                    row = {"path": part.path, "kind": type(error).__name__, "reason": str(error)}
                    yield pa.RecordBatch.from_pylist([row], schema=output)

    found = spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(
        check, "path string, kind string, reason string"
    )
    errors = {kind.__name__: kind for kind in (SchemaMismatchError, UnreadableFileError)}
    rows = {row["path"]: row for row in found.collect()}
    return [BadFile(path, errors[row["kind"]](row["reason"])) for path, row in sorted(rows.items())]


def _prepare(
    table: ReviewTable,
    slices: Sequence[Slice],
    window: Window | None,
    selection: Selection | None = None,
) -> tuple[_Reader, list[_Part]]:
    columns = table.columns
    if selection is None:
        selection = Selection()
    else:  # made from the dates and the order, which are not needed again
        columns = Columns(columns.ids, columns.texts)
    starts = dict(
        zip(
            (file.path for file in table.files),
            np.cumsum([0, *(file.rows for file in table.files)]).tolist(),
            strict=False,
        )
    )
    parts = []
    for piece in slices:
        file, position = piece.file, starts[piece.file.path]
        skipped, duplicates = (
            _cut_sorted(positions, position, position + file.rows) - position
            for positions in (selection.skipped, selection.duplicates)
        )
        left_out = np.union1d(np.asarray(file.deleted_rows, np.int64), skipped)
        whole = _Part(file.path, 0, file.rows, position, dict(file.partitions), left_out, duplicates)
        parts.append(whole.cut(piece.start_row, piece.stop_row))
    return _Reader(table.storage, columns, window, _find_types(table.files, columns)), parts


def _cut_sorted(numbers: NDArray[np.int64], start: int, stop: int) -> NDArray[np.int64]:
    """Return the numbers in [start, stop) of numbers in rising order."""
    first, last = np.searchsorted(numbers, (start, stop))
    return numbers[first:last]


def _find_types(files: Sequence[InputFile], columns: Columns) -> dict[str, pa.DataType]:
    """Return the carried type of each column; strings if no file states one."""
    types: dict[str, pa.DataType] = dict.fromkeys(columns.all, pa.string())
    for file in files:
        for name, kind in file.column_types:
            if file.rows and not pa.types.is_null(kind):
                types[name] = find_carried_type(kind) or pa.string()
    return types


def _cut_evenly(parts: Sequence[_Part], n_tasks: int) -> list[list[_Part]]:
    """Distribute the rows to `n_tasks` tasks in order, so that one large file keeps all cores busy."""
    total = sum(part.stop_row - part.start_row for part in parts)
    size = max(1, -(-total // n_tasks))
    tasks: list[list[_Part]] = [[]]
    room = size
    for part in parts:
        start = part.start_row
        while start < part.stop_row:
            if room == 0:
                tasks.append([])
                room = size
            stop = min(part.stop_row, start + room)
            tasks[-1].append(part.cut(start, stop))
            room -= stop - start
            start = stop
    return tasks


def _without_broken(name: str, kind: str) -> Column:
    """Return an id column with null for invalid UTF-8, which makes most readers fail on the whole table."""
    found = column(name)
    return (F.when(F.is_valid_utf8(found), found) if kind == "string" else found).alias(name)


def _join_texts(texts: Sequence[pa.Array]) -> pa.Array:
    """Join the non-null texts of each row; null if all are null."""
    joined = texts[0]
    for text in texts[1:]:
        # Arrow's own join leaves out the rows of which all texts are null.
        both = pc.binary_join_element_wise(
            pc.fill_null(joined, ""), pc.fill_null(text, ""), schema.TEXT_JOINER
        )
        joined = pc.if_else(pc.is_null(joined), text, pc.if_else(pc.is_null(text), joined, both))
    return joined
