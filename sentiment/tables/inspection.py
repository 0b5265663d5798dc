"""The input, checked file by file before Spark sees it.

Spark drops a zero-byte file without a word, and a missing column becomes null: the checks come first.
"""

import dataclasses
import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .. import schema
from ..errors import (
    ConfigError,
    EmptyInputError,
    InputError,
    MissingInputError,
    SchemaMismatchError,
    UnreadableFileError,
)
from .paths import find_local_path
from .store import STORE_KEYS

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

    def find_changed(self) -> Path | None:
        """The first file that is no longer as it was when checked, or None."""
        for file in self.files:
            try:
                stat = file.path.stat()
            except OSError:
                return file.path
            if (stat.st_size, stat.st_mtime_ns) != (file.size_bytes, file.modified_ns):
                return file.path
        return None

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
    taken = {schema.TEXT, *schema.PREDICTION_COLUMNS, schema.MODEL_VERSION, schema.SCORED_AT}
    clashes = [name for name in ids if name in taken | set(STORE_KEYS) or name.startswith("_")]
    if clashes:
        raise ConfigError(
            f"id_col: {', '.join(clashes)} is a name that the scored table keeps for itself; "
            "rename the column"
        )
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
    root = _find_root(path)
    files = tuple(_inspect_file(file, root, ids, texts) for file in _list_files(root))
    _check_same_ids(files, ids)
    _check_same_partitions(files, root)
    table = ReviewTable(root, files, ids, texts)
    if table.rows == 0:
        raise EmptyInputError(f"{root}: has no rows, expected at least one review")
    return table


def _find_root(path: str) -> Path:
    root = find_local_path(path)
    if root is None:
        raise InputError(f"{path}: only paths of a mounted file system can be read; copy or mount it")
    if not root.exists():
        raise MissingInputError(f"{root}: there is no such file or folder")
    return root


def _list_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    files = []
    seen: set[str] = set()  # links may lead in a circle, or to a folder that is here already
    for folder, folders, names in os.walk(root, followlinks=True):
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        files += [Path(folder, name) for name in sorted(names) if not _is_hidden(name)]
    if not files:
        raise MissingInputError(f"{root}: is a folder without Parquet files")
    return files


def _is_hidden(name: str) -> bool:
    """Spark's rule: what begins with `_` or `.`, less partition folders such as `_day=01`."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


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
    _check_columns(path, columns, (*ids, *texts), set(_partition_keys(path, root)))
    types = tuple((name, columns.field(name).type) for name in (*ids, *texts) if name in columns.names)
    if metadata.num_rows:
        _check_types(path, dict(types), ids, texts)
    return InputFile(path, stat.st_size, stat.st_mtime_ns, footer_digest, metadata.num_rows, types)


def _partition_keys(path: Path, root: Path) -> list[str]:
    return [part.partition("=")[0] for part in path.relative_to(root).parts[:-1] if "=" in part]


def _check_columns(path: Path, columns: pa.Schema, names: tuple[str, ...], partitions: set[str]) -> None:
    missing = [name for name in names if name not in columns.names and name not in partitions]
    if missing:
        raise SchemaMismatchError(
            f"{path}: has no column {', '.join(missing)}; found {schema.show_columns(columns.names)}; "
            "choose with --id_col and --text_col"
        )
    twice = [name for name in names if columns.names.count(name) > 1]
    if twice:
        raise SchemaMismatchError(f"{path}: has two columns {', '.join(twice)}; rename one")


def _check_same_partitions(files: tuple[InputFile, ...], root: Path) -> None:
    """Beside partition folders, Spark leaves out files that are in none, without a word."""
    first = _partition_keys(files[0].path, root)
    for file in files:
        keys = _partition_keys(file.path, root)
        if keys != first:
            raise SchemaMismatchError(
                f"{file.path}: lies in partitions {keys or 'none'}, "
                f"but {files[0].path} in {first or 'none'}; "
                "expected the same depth for all files"
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
