"""Write the rows of a chunk in the executors: files of scores and of rejects, and counts for the audit."""

import functools
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from .. import schema
from ..evaluation import profile
from ..evaluation.profile import Profile
from .audit import Counts, find_lowest_score
from .columns import IS_REPEATED, column
from .store.files import Staging, Stamp, WrittenFile

# Rows of a row group; also the most that a task holds before it writes.
_GROUP_ROWS = 100_000
_STATISTICS_TYPES = (bool, int, float, str)


@dataclass(frozen=True)
class Written:
    """Hold the files of a chunk, and the counts and the profile of their rows."""

    files: tuple[WrittenFile, ...] = ()
    counts: Counts = field(default_factory=Counts)
    profile: Profile = field(default_factory=Profile)


@dataclass(frozen=True)
class _Format:
    """Describe the two files of a task: where they go, their columns, and the values that all rows share."""

    staging: Staging
    ids: tuple[str, ...]
    scored_columns: tuple[str, ...]
    rejected_columns: tuple[str, ...]
    constants: Mapping[str, Any]
    lowest_score: float


def write_rows(
    rows: DataFrame,
    staging: Staging,
    ids: Sequence[str],
    prediction_columns: Sequence[str],
    labels: Sequence[str],
    stamp: Stamp,
    n_files: int,
) -> Written:
    """Score and write the rows of `scoring.score_rows`, with at most `n_files` files of each kind.

    Runs the query. A task that is repeated writes files of new names, and only those of the attempt that
    succeeded are returned.
    """
    form = _Format(
        staging,
        tuple(ids),
        list_scored_columns(prediction_columns),
        (schema.REJECT_REASON, *schema.TABLE_COLUMNS),
        {
            schema.MODEL_VERSION: stamp.model_version,
            schema.SCORED_AT: stamp.scored_at.astimezone(UTC),
            schema.SEQUENCE: stamp.sequence,
        },
        find_lowest_score(labels),
    )

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with _TaskWriter(form) as task:
            for batch in batches:
                task.add(batch)
        if task.counts.rows:
            yield pa.RecordBatch.from_pydict({"written": [json.dumps(task.describe())]})

    # Rows with the same id go to the same file, whatever the number of tasks that scored them.
    gathered = rows.repartition(n_files, *map(column, ids))
    found = [json.loads(row[0]) for row in gathered.mapInArrow(write, "written string").collect()]
    counts = sum((Counts(**part["counts"]) for part in found), Counts())
    files = (
        WrittenFile(**{**file, "columns": tuple(file["columns"])}) for part in found for file in part["files"]
    )
    profiles = (profile.load(part["profile"]) for part in found)
    return Written(tuple(files), counts, functools.reduce(Profile.merge, profiles, Profile()))


def list_scored_columns(prediction_columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the published scores, after the id columns, of a model with these columns."""
    return (*(name for name in prediction_columns if name != schema.REJECT_REASON), *schema.TABLE_COLUMNS)


class _TaskWriter:
    """Divide the rows of one task into scores and rejects, count them, and write a file of each."""

    def __init__(self, form: _Format) -> None:
        self.counts = Counts()
        self._profile = Profile()
        self._form = form
        name = f"part-{uuid.uuid4().hex}"
        staging = form.staging
        scored, rejected = (
            f"{staging.folder}/{name}.parquet",
            f"{staging.folder}/{name}{staging.rejected_suffix}",
        )
        if staging.rejected_folder:
            rejected = f"{staging.rejected_folder}/{name}{staging.rejected_suffix}"
        self._scored = _FileWriter(form, scored, form.scored_columns, is_rejected=False)
        self._rejected = _FileWriter(form, rejected, form.rejected_columns, is_rejected=True)

    def __enter__(self) -> "_TaskWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for file in (self._scored, self._rejected):
            file.close(is_complete=kind is None)

    def add(self, batch: pa.RecordBatch) -> None:
        rows = pa.Table.from_batches([batch])
        is_rejected = pc.is_valid(rows[schema.REJECT_REASON])
        rejected, scored = rows.filter(is_rejected), rows.filter(pc.invert(is_rejected))
        scores = scored[schema.SCORE]
        is_good = pc.and_(pc.greater_equal(scores, self._form.lowest_score), pc.less_equal(scores, 1.0))
        self.counts += Counts(
            labels=_count(scored[schema.LABEL]),
            stages=_count(scored[schema.STAGE]),
            rejected_by_reason=_count(rejected[schema.REJECT_REASON]),
            unsure=_count_true(scored[schema.UNSURE]),
            bad_scores=len(scored) - _count_true(is_good),
            repeated_texts=_count_true(scored[IS_REPEATED]),
        )
        frame = rows.select([name for name in rows.column_names if name not in self._form.ids]).to_pandas()
        self._profile = self._profile.merge(profile.make_profile(frame))
        self._scored.add(scored)
        self._rejected.add(rejected)

    def describe(self) -> dict[str, Any]:
        files = [file.written for file in (self._scored, self._rejected) if file.written is not None]
        return {
            "counts": asdict(self.counts),
            "files": [asdict(file) for file in files],
            "profile": self._profile.as_dict(),
        }


class _FileWriter:
    """Write one Parquet file, if there are rows for it, and describe it."""

    def __init__(self, form: _Format, path: str, columns: tuple[str, ...], is_rejected: bool) -> None:
        self.written: WrittenFile | None = None
        self._form = form
        self._path = path
        self._columns = columns
        self._is_rejected = is_rejected
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self._stream: _DigestingStream | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: pa.Table) -> None:
        if len(rows):
            self._waiting.append(self._arrange(rows))
            self._n_waiting += len(rows)
            if self._n_waiting >= _GROUP_ROWS:
                self._flush()

    def _arrange(self, rows: pa.Table) -> pa.Table:
        """Return the columns of the file, with those that all rows share."""
        for name, value in self._form.constants.items():
            kind = pa.timestamp("us", "UTC") if isinstance(value, datetime) else None
            rows = rows.append_column(name, pa.array([value] * len(rows), kind))
        return rows.select([*self._form.ids, *self._columns])

    def _flush(self) -> None:
        rows = pa.concat_tables(self._waiting)
        if self._writer is None:
            storage = self._form.staging.storage
            self._stream = _DigestingStream(storage.open().open_output_stream(storage.to_path(self._path)))
            self._writer = pq.ParquetWriter(pa.PythonFile(self._stream, mode="w"), rows.schema)
        self._writer.write_table(rows, row_group_size=_GROUP_ROWS)
        self._waiting, self._n_waiting = [], 0

    def close(self, is_complete: bool) -> None:
        """Finish the file and describe what is there now; a file that is not complete stays undescribed."""
        if is_complete and self._n_waiting:
            self._flush()
        if self._writer is None or self._stream is None:
            return
        self._writer.close()
        self._stream.close()
        if not is_complete:
            return
        storage = self._form.staging.storage
        with storage.open().open_input_file(storage.to_path(self._path)) as opened:
            size, metadata = opened.size(), pq.read_metadata(opened)
        self.written = WrittenFile(
            self._path,
            self._is_rejected,
            metadata.num_rows,
            size,
            self._stream.digest,
            tuple(metadata.schema.to_arrow_schema().names),
            _find_statistics(metadata, self._form.ids),
        )


class _DigestingStream:
    """Pass bytes to a stream, and compute their SHA-256 on the way."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self.closed = False

    @property
    def digest(self) -> str:
        return self._sha256.hexdigest()

    def write(self, content: bytes) -> int:
        self._sha256.update(content)
        self._stream.write(content)
        return len(content)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._stream.close()


def _count(values: pa.ChunkedArray) -> dict[str, int]:
    """Count each value; a null counts as `None`, which no audit accepts."""
    return dict(Counter(map(str, values.to_pylist())))


def _count_true(values: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.fill_null(values, False)).as_py() or 0)


def _find_statistics(metadata: pq.FileMetaData, ids: Sequence[str]) -> dict[str, Any]:
    """Return the statistics of the Delta log for the columns whose bounds are exact in JSON.

    The log keeps no bounds of ids: an id that must be forgotten would stay in it.
    """
    smallest, largest, nulls = {}, {}, {}
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    for place in range(metadata.num_columns):
        name = metadata.schema.column(place).path
        found = [group.column(place).statistics for group in groups]
        if any(item is None for item in found) or "." in name:
            continue
        if all(item.has_null_count for item in found):
            nulls[name] = sum(item.null_count for item in found)
        bounds = [(item.min, item.max) for item in found if item.has_min_max]
        if (
            name not in ids
            and len(bounds) == len(found)
            and all(type(low) in _STATISTICS_TYPES for low, _ in bounds)
        ):
            smallest[name], largest[name] = min(low for low, _ in bounds), max(high for _, high in bounds)
    return {"numRecords": metadata.num_rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls}
