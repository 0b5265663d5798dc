"""Describe a checked input: its usable files, the columns to read, and what was quarantined."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pyarrow as pa

from ... import schema
from ...errors import ConfigError, EmptyInputError
from ..storage import LOCAL, Storage
from .files import BadFile, Columns, InputFile
from .types import check_carried, is_string

_SHOWN_FILES = 3


@dataclass(frozen=True)
class ReviewTable:
    """Hold a checked input: root, usable files from the oldest to the newest, columns to read.

    Files of one modification time are in path order. Quarantined files are in path order.
    """

    root: str
    files: tuple[InputFile, ...]
    columns: Columns
    bad_files: tuple[BadFile, ...] = ()
    storage: Storage = LOCAL
    # Version of a Delta table, None for plain files.
    version: int | None = None

    @property
    def rows(self) -> int:
        """Return the rows of the usable files, without those that a Delta table has deleted."""
        return sum(file.rows - len(file.deleted_rows) for file in self.files)

    @property
    def id_types(self) -> dict[str, str]:
        """Return each id column's type: `string` (also for folder names), or Arrow's name of the type."""
        types = dict.fromkeys(self.columns.ids, "string")
        for file in self.files:
            if file.rows:
                types |= {
                    n: name_kind(k) for n, k in file.column_types if n in types and not pa.types.is_null(k)
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


def show_paths(paths: list[str]) -> str:
    """Join the first few paths, and state how many more there are."""
    more = f" and {len(paths) - _SHOWN_FILES:,} more" if len(paths) > _SHOWN_FILES else ""
    return ", ".join(paths[:_SHOWN_FILES]) + more


def check_columns(
    id_col: str, text_col: str, date_col: str | None = None, order_col: str | None = None
) -> Columns:
    """Parse the column arguments; raise ConfigError if they cannot make a scored table."""
    ids, texts = schema.split_columns(id_col), schema.split_columns(text_col)
    if not ids or not texts:
        raise ConfigError("id_col and text_col: expected at least one column name each")
    predicted = (*schema.PREDICTION_COLUMNS, schema.EXPECTED, schema.PROBABILITIES)
    taken = {schema.TEXT, *predicted, *schema.TABLE_COLUMNS, *schema.STORE_KEYS}
    clashes = [name for name in ids if name in taken or name.startswith("_")]
    if clashes:
        raise ConfigError(
            f"id_col: {', '.join(clashes)} is a name that the scored table reserves; rename the column"
        )
    both = [name for name in ids if name in texts]
    if both:
        raise ConfigError(f"id_col: {', '.join(both)} is in text_col, and scores must not hold review text")
    if len(set(ids)) != len(ids):
        raise ConfigError("id_col: a column is listed twice, expected each column once")
    return Columns(ids, texts, date_col, order_col)


def make_table(
    root: str, storage: Storage, columns: Columns, checked: list[InputFile], bad: list[BadFile]
) -> ReviewTable:
    """Return the table of the checked files; raise an InputError if no file or no row can be used."""
    usable = sorted(_without(checked, bad), key=lambda file: (file.modified_ns, file.path))
    if bad and not usable:
        raise bad[0].error
    for file in usable:
        for name, kind in file.column_types:
            if name in (*columns.ids, columns.order):
                check_carried(file.path, name, kind)
    table = ReviewTable(root, tuple(usable), columns, tuple(sorted(bad, key=lambda i: i.path)), storage)
    if table.rows == 0 and not bad:
        raise EmptyInputError(f"{root}: has no rows, expected at least one review")
    return table


def _without(files: list[InputFile], bad: list[BadFile]) -> list[InputFile]:
    paths = {item.path for item in bad}
    return [file for file in files if file.path not in paths]


def name_kind(kind: pa.DataType) -> str:
    """Return the name of an id's type in manifests and errors; `string` for every form of strings."""
    return "string" if is_string(kind) else str(kind)
