"""Check the input file by file before Spark reads it.

Without these checks Spark would silently ignore an empty file and read a missing column as null.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from ... import schema
from ...errors import ConfigError, EmptyInputError, InputError, MissingInputError, SchemaMismatchError
from ..store.folder import STORE_KEYS
from .files import BadFile, Columns, InputFile, check_contents, inspect_file, is_string, partition_values
from .paths import find_local_path

Value = TypeVar("Value")

# Files checked at the same time, because each check waits on a network file system.
_READERS = 8
_SHOWN_FILES = 3


@dataclass(frozen=True)
class ReviewTable:
    """Hold a checked input: root, usable and quarantined files in path order, columns to read."""

    root: Path
    files: tuple[InputFile, ...]
    columns: Columns
    bad_files: tuple[BadFile, ...] = ()

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def id_types(self) -> dict[str, str]:
        """Return each id column's type: `string` (also for folder names), or Arrow's name of the type."""
        types = dict.fromkeys(self.columns.ids, "string")
        for file in self.files:
            if file.rows:
                types |= {
                    n: _say_kind(k) for n, k in file.column_types if n in types and not pa.types.is_null(k)
                }
        return types

    def without(self, bad: Iterable[BadFile]) -> "ReviewTable":
        """Return the same table with these files quarantined."""
        aside = (*self.bad_files, *bad)
        usable = _without(list(self.files), list(aside))
        return replace(self, files=tuple(usable), bad_files=aside)

    def list_oddities(self) -> list[str]:
        """Describe harmless findings that may be mistakes: files without rows, files with extra columns."""
        empty = [file.path for file in self.files if not file.rows]
        common = set(self.files[0].column_names) if self.files else set()
        for file in self.files:
            common &= set(file.column_names)
        wider = [file for file in self.files if set(file.column_names) - common]
        notes = []
        if empty:
            notes.append(f"{len(empty):,} input files have no rows: {show_paths(empty)}")
        if wider:
            more = schema.show_columns(sorted(set().union(*(file.column_names for file in wider)) - common))
            notes.append(
                f"{len(wider):,} input files have extra columns ({more}), which are not read: "
                f"{show_paths([file.path for file in wider])}"
            )
        return notes


def show_paths(paths: list[Path]) -> str:
    """Join the first few paths, and state how many more there are."""
    more = f" and {len(paths) - _SHOWN_FILES:,} more" if len(paths) > _SHOWN_FILES else ""
    return ", ".join(map(str, paths[:_SHOWN_FILES])) + more


def check_columns(id_col: str, text_col: str, date_col: str | None = None) -> Columns:
    """Parse the column arguments; raise ConfigError if they cannot make a scored table."""
    ids, texts = schema.split_columns(id_col), schema.split_columns(text_col)
    if not ids or not texts:
        raise ConfigError("id_col and text_col: expected at least one column name each")
    taken = {schema.TEXT, *schema.PREDICTION_COLUMNS, *schema.TABLE_COLUMNS}
    clashes = [name for name in ids if name in taken | set(STORE_KEYS) or name.startswith("_")]
    if clashes:
        raise ConfigError(
            f"id_col: {', '.join(clashes)} is a name that the scored table reserves; rename the column"
        )
    both = [name for name in ids if name in texts]
    if both:
        raise ConfigError(f"id_col: {', '.join(both)} is in text_col, and scores must not hold review text")
    if len(set(ids)) != len(ids):
        raise ConfigError("id_col: a column is listed twice, expected each column once")
    return Columns(ids, texts, date_col)


def inspect_reviews(path: str, columns: Columns) -> ReviewTable:
    """Check the footer of every file under `path` and quarantine files that cannot be used.

    Names that begin with `_` or `.` are ignored, as in every Parquet reader. Raises an InputError if there
    is nothing to read. If no file can be used, raises the error of the first one.
    """
    root = _find_root(path)
    paths = _list_files(root)
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda file: _try(file, lambda: inspect_file(file, root, columns)), paths))
    checked = [item for item in found if isinstance(item, InputFile)]
    bad = [item for item in found if isinstance(item, BadFile)]
    for check in (_check_same_ids(checked, columns.ids), _check_same_partitions(checked, root)):
        bad += check
    usable = _without(checked, bad)
    if bad and not usable:
        raise bad[0].error
    table = ReviewTable(root, tuple(usable), columns, tuple(sorted(bad, key=lambda item: item.path)))
    if table.rows == 0 and not bad:
        raise EmptyInputError(f"{root}: has no rows, expected at least one review")
    return table


def find_damaged(files: Iterable[InputFile], columns: Columns) -> list[BadFile]:
    """Return the files that `files.check_contents` cannot decode; reads every file completely."""
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda file: _try(file.path, lambda: check_contents(file, columns.all)), files)
        return [item for item in found if isinstance(item, BadFile)]


def _try(path: Path, check: Callable[[], "InputFile | None"]) -> "InputFile | BadFile | None":
    try:
        return check()
    except InputError as error:
        return BadFile(path, error)


def _without(files: list[InputFile], bad: list[BadFile]) -> list[InputFile]:
    paths = {item.path for item in bad}
    return [file for file in files if file.path not in paths]


def _find_root(path: str) -> Path:
    root = find_local_path(path)
    if root is None:
        raise InputError(f"{path}: is not on a mounted file system; copy the reviews to one, or mount it")
    if not root.exists():
        raise MissingInputError(f"{root}: no such file or folder; check the input path")
    return root


def _list_files(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    files = []
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        # A linked folder is not entered. It is listed as a file, so that its check quarantines it.
        files += [Path(folder, name) for name in sorted([*names, *links]) if not _is_hidden(name)]
    if not files:
        raise MissingInputError(f"{root}: is a folder without Parquet files")
    return files


def _is_hidden(name: str) -> bool:
    """Apply Spark's rule: names with `_` or `.` first are hidden, except partitions such as `_day=01`."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _check_same_partitions(files: list[InputFile], root: Path) -> Iterator[BadFile]:
    """Yield files that are not in the usual partition folders: Spark would silently ignore them."""
    keys = {file.path: tuple(partition_values(file.path, root)) for file in files}
    usual = _most_common(keys.values())
    for path, found in keys.items():
        if found != usual:
            yield BadFile(
                path,
                SchemaMismatchError(
                    f"{path}: partition columns are {', '.join(found) or 'none'}, but in most files "
                    f"{', '.join(usual or ()) or 'none'}; expected the same for all files; move the file"
                ),
            )


def _check_same_ids(files: list[InputFile], ids: tuple[str, ...]) -> Iterator[BadFile]:
    """Yield files whose ids have an unusual type: the same id would name two reviews, or none."""
    for name in ids:
        kinds = {
            file.path: _say_kind(kind)
            for file in files
            for column, kind in file.column_types
            if column == name and file.rows and not pa.types.is_null(kind)
        }
        usual = _most_common(kinds.values())
        for path, kind in kinds.items():
            if kind != usual:
                error = f"{path}: column {name} holds {kind}, but {usual} in most files; expected one type"
                yield BadFile(path, SchemaMismatchError(error))


def _most_common(values: Iterable[Value]) -> Value | None:
    """Return the most frequent value, the first one if several are equally frequent."""
    return next((value for value, _ in Counter(values).most_common(1)), None)


def _say_kind(kind: pa.DataType) -> str:
    return "string" if is_string(kind) else str(kind)
