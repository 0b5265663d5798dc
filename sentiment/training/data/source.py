"""Define the form in which every reader gives rows: a source, read in batches of columns."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import EmptyInputError, SchemaMismatchError

# Values by column name; all lists have the same length.
Batch = dict[str, list[Any]]

BATCH_ROWS = 10_000
# What a report notes about an empty file.
NO_ROWS = "has no rows"

_LATIN = "A-Za-z\u00aa-\u024f\u1e00-\u1eff"
_OTHER = rf"[^\W\d_{_LATIN}]"
# Words of a name stand between other characters than letters, begin with a capital as in `imdbTrain`, or are
# next to letters of another script as in `train数据`.
_BETWEEN_WORDS = re.compile(
    r"[\W\d_]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    rf"|(?<=[{_LATIN}])(?={_OTHER})|(?<={_OTHER})(?=[{_LATIN}])"
)


@dataclass(frozen=True)
class ReadOptions:
    """Hold what a person says about text files; None: found out from each file."""

    delimiter: str | None = None
    encoding: str | None = None
    column_names: tuple[str, ...] | None = None
    # Columns that the header of a CSV file should have: they decide between delimiters.
    expected_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Hold one file, or one split of a hub data set, that is ready to be read.

    `read` takes column names and yields their values in batches of at most `BATCH_ROWS` rows, null as None;
    it raises an InputError that names the line. `class_names` has the names of the classes of a column whose
    values are class numbers; of a column in `unclear_classes` the data set states several such lists. `notes`
    say what was found out about the file, such as its encoding; `warnings` are sentences on what may be read
    otherwise than meant.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[Batch]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    # Rows with the same value in this column belong to one review.
    group_col: str | None = None
    unclear_classes: frozenset[str] = frozenset()
    # Columns of lists or structs, as far as a format states types.
    nested: frozenset[str] = frozenset()

    @property
    def flat_columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if name not in self.nested)


@dataclass(frozen=True)
class Location:
    """Hold where unread rows are: a name, the files with their content, and how to open them.

    `form` is all else that decides what is read from the files: options, and what their data set states.
    `options` are the names of the `ReadOptions` that the reader of the files follows.
    """

    name: str
    content: tuple[Path, ...]
    open: Callable[[], Source]
    form: str = ""
    options: frozenset[str] = frozenset()


def check_once(source: Source, names: Iterable[str]) -> None:
    """Raise SchemaMismatchError if several columns of the source have one of these names."""
    twice = [name for name in names if source.columns.count(name) > 1]
    if twice:
        raise SchemaMismatchError(f"{source.name}: has several columns {twice[0]}; rename all but one")


def open_all(locations: Sequence[Location]) -> tuple[list[Source], list[str]]:
    """Open locations; return the sources, and the names of files that are empty, as Spark writes them.

    Raises EmptyInputError if all are empty.
    """
    sources, empty = [], []
    for location in locations:
        try:
            sources.append(location.open())
        except EmptyInputError:
            if location is locations[-1] and not sources:
                raise
            empty.append(location.name)
    return sources, empty


def split_words(name: str) -> list[str]:
    """Return the words of the name of a column, file or folder, in lower case."""
    # An accent that is a character of its own, as macOS writes it in names of files, is part of its letter.
    return [word.lower() for word in _BETWEEN_WORDS.split(unicodedata.normalize("NFKC", name)) if word]


def batch_rows(rows: Iterator[Sequence[Any]], columns: Sequence[str]) -> Iterator[Batch]:
    """Turn rows, each a sequence of values in the order of `columns`, into batches."""
    taken: list[Sequence[Any]] = []
    for row in rows:
        taken.append(row)
        if len(taken) == BATCH_ROWS:
            yield _turn(taken, columns)
            taken = []
    if taken:
        yield _turn(taken, columns)


def _turn(rows: list[Sequence[Any]], columns: Sequence[str]) -> Batch:
    return {name: list(values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)}
