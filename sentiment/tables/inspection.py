"""The input, checked file by file before Spark sees it.

Spark drops a zero-byte file without a word, and a missing column becomes null: the checks come first.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from .. import schema
from ..errors import ConfigError, EmptyInputError, InputError, MissingInputError, SchemaMismatchError
from .files import BadFile, Columns, InputFile, check_contents, inspect_file, is_string, partition_values
from .paths import find_local_path
from .store import STORE_KEYS

Value = TypeVar("Value")

_READERS = 8
"""Files looked at together: on a network file system each look waits."""
_SHOWN_FILES = 3


@dataclass(frozen=True)
class ReviewTable:
    """A checked input: its root, its usable files and its bad ones in path order, and the columns to read."""

    root: Path
    files: tuple[InputFile, ...]
    columns: Columns
    bad_files: tuple[BadFile, ...] = ()

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def id_types(self) -> dict[str, str]:
        """How each id column is typed in the files: `string`, or Arrow's word; folders give strings."""
        types = dict.fromkeys(self.columns.ids, "string")
        for file in self.files:
            if file.rows:
                types |= {
                    n: _say_kind(k) for n, k in file.column_types if n in types and not pa.types.is_null(k)
                }
        return types

    def without(self, bad: Iterable[BadFile]) -> "ReviewTable":
        """The same table with these files set aside."""
        aside = (*self.bad_files, *bad)
        usable = _without(list(self.files), list(aside))
        return replace(self, files=tuple(usable), bad_files=aside)

    def list_oddities(self) -> list[str]:
        """What harms nothing and yet may be a mistake: files without rows, files with further columns."""
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
                f"{len(wider):,} input files have columns that others have not ({more}), which are not read: "
                f"{show_paths([file.path for file in wider])}"
            )
        return notes


def show_paths(paths: list[Path]) -> str:
    """The first few, and how many more."""
    more = f" and {len(paths) - _SHOWN_FILES:,} more" if len(paths) > _SHOWN_FILES else ""
    return ", ".join(map(str, paths[:_SHOWN_FILES])) + more


def check_columns(id_col: str, text_col: str, date_col: str | None = None) -> Columns:
    """Columns of the arguments. Raises ConfigError if they cannot make a scored table."""
    ids, texts = schema.split_columns(id_col), schema.split_columns(text_col)
    if not ids or not texts:
        raise ConfigError("id_col and text_col: expected at least one column name each")
    taken = {schema.TEXT, *schema.PREDICTION_COLUMNS, *schema.TABLE_COLUMNS}
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
    return Columns(ids, texts, date_col)


def inspect_reviews(path: str, columns: Columns) -> ReviewTable:
    """Check the footer of every file under `path`, without Spark; a file that cannot be used is set aside.

    Files and folders whose name begins with `_` or `.` are skipped, as every Parquet reader does. Raises
    an InputError if there is nothing to read, or no file that can be used: then it is the first one's.
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
    """The files whose content cannot be decoded; reads all of each (`files.check_contents`)."""
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
        raise InputError(f"{path}: only paths of a mounted file system can be read; copy or mount it")
    if not root.exists():
        raise MissingInputError(f"{root}: there is no such file or folder")
    return root


def _list_files(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    files = []
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        # A linked folder is not entered: it is a bad file, by name, like a link to a file elsewhere.
        files += [Path(folder, name) for name in sorted([*names, *links]) if not _is_hidden(name)]
    if not files:
        raise MissingInputError(f"{root}: is a folder without Parquet files")
    return files


def _is_hidden(name: str) -> bool:
    """Spark's rule: what begins with `_` or `.`, less partition folders such as `_day=01`."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _check_same_partitions(files: list[InputFile], root: Path) -> Iterator[BadFile]:
    """Beside partition folders, Spark leaves out files that are in none, without a word."""
    keys = {file.path: tuple(partition_values(file.path, root)) for file in files}
    usual = _most_common(keys.values())
    for path, found in keys.items():
        if found != usual:
            yield BadFile(
                path,
                SchemaMismatchError(
                    f"{path}: lies in partitions {', '.join(found) or 'none'}, but most files in "
                    f"{', '.join(usual or ()) or 'none'}; expected the same depth for all files"
                ),
            )


def _check_same_ids(files: list[InputFile], ids: tuple[str, ...]) -> Iterator[BadFile]:
    """An id that is a number in one file and a string in another names two reviews, or none."""
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
    """The most frequent one, the first of those equally frequent."""
    return next((value for value, _ in Counter(values).most_common(1)), None)


def _say_kind(kind: pa.DataType) -> str:
    return "string" if is_string(kind) else str(kind)
