"""The input: Parquet files checked one by one before Spark sees them, then read as ids and text.

Spark drops a zero-byte file without a word, and a missing column becomes null: the checks come first.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from .. import schema
from ..errors import (
    ConfigError,
    EmptyInputError,
    InputError,
    MissingInputError,
    SchemaMismatchError,
    UnreadableFileError,
)

_FOOTER_TAIL_BYTES = 8
"""The last bytes of a Parquet file: its footer's length (4, little-endian) and `PAR1`."""


FileIdentity = dict[str, Any]
"""Path, size, modification time, footer digest and rows of a file, as a manifest holds them."""


@dataclass(frozen=True)
class InputFile:
    """One file as it was when checked: what tells whether it is still the same one."""

    path: Path
    size_bytes: int
    modified_ns: int
    footer_digest: str
    rows: int
    column_types: tuple[tuple[str, pa.DataType], ...]
    """Arrow types of the id and text columns that are in the file, not in the names of its folders."""

    @property
    def null_columns(self) -> frozenset[str]:
        """Columns that have no type because they have no value: writers that infer types make such files."""
        return frozenset(name for name, kind in self.column_types if pa.types.is_null(kind))

    def identity(self) -> FileIdentity:
        """What a manifest says of it."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "modified_ns": self.modified_ns,
            "footer_digest": self.footer_digest,
            "rows": self.rows,
        }


@dataclass(frozen=True)
class ReviewTable:
    """A checked input: its root, its files in path order, and which columns are ids and text."""

    root: Path
    files: tuple[InputFile, ...]
    id_columns: tuple[str, ...]
    text_columns: tuple[str, ...]

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    def without(self, consumed: Collection[FileIdentity]) -> "ReviewTable":
        """The same table less the files that were consumed just as they are now."""
        known = {tuple(sorted(identity.items())) for identity in consumed}
        files = tuple(f for f in self.files if tuple(sorted(f.identity().items())) not in known)
        return dataclasses.replace(self, files=files)


def check_columns(id_col: str, text_col: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Id and text columns of the arguments. Raises ConfigError if they cannot make a scored table."""
    ids, texts = schema.split_columns(id_col), schema.split_columns(text_col)
    if not ids or not texts:
        raise ConfigError("id_col and text_col: expected at least one column name each")
    taken = {*schema.PREDICTION_COLUMNS, schema.MODEL_VERSION, schema.SCORED_AT}
    clashes = [name for name in ids if name in taken]
    if clashes:
        raise ConfigError(f"id_col: {', '.join(clashes)} is a column that the scores have themselves")
    both = [name for name in ids if name in texts]
    if both:
        raise ConfigError(f"id_col: {', '.join(both)} is review text, which the scores must not hold")
    if len(set(ids)) != len(ids):
        raise ConfigError("id_col: a column is named twice")
    return ids, texts


def inspect_reviews(path: str, id_col: str, text_col: str) -> ReviewTable:
    """Check every file under `path` (footer, columns, types) and count the rows, without Spark.

    Files and folders whose name begins with `_` or `.` are skipped, as every Parquet reader does. Raises
    an InputError that names the file and what is wrong with it.
    """
    ids, texts = check_columns(id_col, text_col)
    root = _local_path(path)
    files = tuple(_inspect_file(file, root, ids, texts) for file in _list_files(root))
    _check_same_ids(files, ids)
    table = ReviewTable(root, files, ids, texts)
    if table.rows == 0:
        raise EmptyInputError(f"{root}: has no rows, expected at least one review")
    return table


def read_reviews(spark: SparkSession, table: ReviewTable) -> DataFrame:
    """The id columns and `text`, null where all text columns are null; one row per row of the files."""
    reader = spark.read
    if table.root.is_dir():
        reader = reader.option("basePath", str(table.root))
    files = [file for file in table.files if file.rows]
    parts = []
    # Spark reads a column without type as a number, and then fails on the files where it is text.
    for nulls in sorted({file.null_columns for file in files}, key=len):
        rows = reader.parquet(*(str(file.path) for file in files if file.null_columns == nulls))
        for name in nulls:
            rows = rows.withColumn(name, F.lit(None).cast(StringType()))
        ids = [_column(name) for name in table.id_columns]
        parts.append(rows.select(*ids, join_texts(table.text_columns)))
    return functools.reduce(DataFrame.unionByName, parts)


def join_texts(names: tuple[str, ...]) -> Column:
    """`text`: the non-null columns joined by a space, null if all are null."""
    columns = [_column(name) for name in names]
    if len(columns) == 1:
        return columns[0].alias(schema.TEXT)
    is_any = F.coalesce(*columns).isNotNull()
    return F.when(is_any, F.concat_ws(schema.TEXT_JOINER, *columns)).alias(schema.TEXT)


def _column(name: str) -> Column:
    return F.col("`" + name.replace("`", "``") + "`")


def _local_path(path: str) -> Path:
    if "://" in path and not path.startswith("file://"):
        raise InputError(f"{path}: only paths of a mounted file system can be read; copy or mount it")
    root = Path(path.removeprefix("file://")).absolute()
    if not root.exists():
        raise MissingInputError(f"{root}: there is no such file or folder")
    return root


def _list_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    files = [
        file
        for file in sorted(root.rglob("*"))
        if file.is_file() and not any(p.startswith(("_", ".")) for p in file.relative_to(root).parts)
    ]
    if not files:
        raise MissingInputError(f"{root}: is a folder without Parquet files")
    return files


def _inspect_file(path: Path, root: Path, ids: tuple[str, ...], texts: tuple[str, ...]) -> InputFile:
    try:
        stat = path.stat()
        footer_digest = _digest_footer(path)
        metadata = pq.read_metadata(path)
        columns = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise UnreadableFileError(
            f"{path}: not a readable Parquet file ({size:,} bytes, {type(error).__name__}); "
            "remove or repair it"
        ) from error
    partitions = {part.partition("=")[0] for part in path.relative_to(root).parts if "=" in part}
    _check_columns(path, columns, (*ids, *texts), partitions)
    types = tuple((name, columns.field(name).type) for name in (*ids, *texts) if name in columns.names)
    if metadata.num_rows:
        _check_types(path, dict(types), ids, texts)
    return InputFile(path, stat.st_size, stat.st_mtime_ns, footer_digest, metadata.num_rows, types)


def _check_columns(path: Path, columns: pa.Schema, names: tuple[str, ...], partitions: set[str]) -> None:
    missing = [name for name in names if name not in columns.names and name not in partitions]
    if missing:
        raise SchemaMismatchError(
            f"{path}: has no column {', '.join(missing)}; found {', '.join(columns.names)}; "
            "choose with --id_col and --text_col"
        )


def _check_types(
    path: Path, types: dict[str, pa.DataType], ids: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    """Texts must be strings, ids plain values."""
    for name in (name for name in texts if name in types):
        if not _is_string(types[name]) and not pa.types.is_null(types[name]):
            raise SchemaMismatchError(
                f"{path}: column {name} holds {types[name]}, expected strings; choose with --text_col"
            )
    for name in (name for name in ids if name in types):
        if pa.types.is_nested(types[name]):
            raise SchemaMismatchError(
                f"{path}: column {name} holds {types[name]}, expected plain values; choose with --id_col"
            )


def _check_same_ids(files: tuple[InputFile, ...], ids: tuple[str, ...]) -> None:
    """An id that is a number in one file and a string in another names two reviews, or none."""
    first: dict[str, tuple[Path, str]] = {}
    for file in (file for file in files if file.rows):
        for name, kind in file.column_types:
            if name not in ids or pa.types.is_null(kind):
                continue
            said = "string" if _is_string(kind) else str(kind)
            path, expected = first.setdefault(name, (file.path, said))
            if said != expected:
                raise SchemaMismatchError(
                    f"{file.path}: column {name} holds {said}, but {expected} in {path}; expected one type"
                )


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _digest_footer(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(-min(_FOOTER_TAIL_BYTES, path.stat().st_size), 2)
        tail = file.read()
        length = int.from_bytes(tail[:4], "little") + _FOOTER_TAIL_BYTES
        file.seek(-min(length, path.stat().st_size), 2)
        return hashlib.sha256(file.read(length)).hexdigest()[:16]
