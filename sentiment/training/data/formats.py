"""Find the reader of a data file by the end of its name, and the options that it follows."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import ConfigError, UnreadableFileError
from ...schema import show_columns
from .cards import StatedClasses
from .compression import COMPRESSIONS
from .csv_files import open_csv
from .fasttext_files import open_fasttext
from .json_files import open_json
from .source import Location, ReadOptions, Source
from .split_names import shorten
from .table_files import open_arrow, open_parquet
from .text_files import check_signature

_READERS: dict[str, Callable[[Path, ReadOptions], Source]] = {
    ".parquet": open_parquet,
    ".arrow": open_arrow,
    ".csv": open_csv,
    ".tsv": open_csv,
    ".json": open_json,
    ".jsonl": open_json,
    ".ndjson": open_json,
    ".txt": open_fasttext,
}
# Readers of text, and the options that they follow. They decompress while they read; Parquet and Arrow files
# are compressed inside.
_TEXT_READERS: dict[Callable[[Path, ReadOptions], Source] | None, frozenset[str]] = {
    open_csv: frozenset({"delimiter", "encoding", "column_names"}),
    open_json: frozenset({"encoding"}),
    open_fasttext: frozenset({"encoding"}),
}
# Which files follow an option that a person gives.
_FOLLOWERS = {
    "delimiter": "CSV files",
    "column_names": "CSV files",
    "encoding": "text files such as CSV or JSON lines",
}
FORMATS = "Parquet, CSV, TSV, JSON, JSON lines or fastText file (also .gz, .bz2, .xz, .zst)"


# Ends of the names of data files.
SUFFIXES = tuple(_READERS)
NO_CLASSES = StatedClasses({})


def locate_file(path: Path, options: ReadOptions, stated: StatedClasses = NO_CLASSES) -> Location:
    """Return a file with its reader. Raises UnreadableFileError if no reader has such names.

    Class names in the file win over those that its data set has `stated`.
    """
    reader = find_reader(path)
    if reader is None:
        raise UnreadableFileError(f"{path}: its name does not end as that of a {FORMATS} does")

    def open_it() -> Source:
        check_signature(path)
        source = reader(path, options)
        named = [name for name in source.columns if name in stated.names and name not in source.class_names]
        notes = [f"class names of {show_columns(named)}: as in {stated.place}"] if named else []
        return dataclasses.replace(
            source,
            class_names={**stated.names, **source.class_names},
            unclear_classes=frozenset(stated.unclear) - source.class_names.keys(),
            notes=(*source.notes, *notes),
        )

    return Location(
        str(path), (path,), open_it, f"{options} {stated}", _TEXT_READERS.get(reader, frozenset())
    )


def find_reader(path: Path) -> Callable[[Path, ReadOptions], Source] | None:
    """Return the function that opens files with such a name; None if there is none."""
    suffix = path.suffix.lower()
    if suffix in COMPRESSIONS:
        reader = _READERS.get(Path(path.stem).suffix.lower())
        return reader if reader in _TEXT_READERS else None
    return _READERS.get(suffix)


def is_text_file(path: Path) -> bool:
    """Return True for a file of text, which has an encoding, and may be compressed."""
    return find_reader(path) in _TEXT_READERS


def check_options(options: ReadOptions, locations: Sequence[Location]) -> None:
    """Raise ConfigError for an option that is given, but that none of the locations follows."""
    for option, kind in _FOLLOWERS.items():
        if getattr(options, option) is not None and not any(option in place.options for place in locations):
            names = [location.name for location in locations]
            raise ConfigError(
                f"{option}: only for {kind}, found {shorten(names)}; leave it out, also of the config file"
            )
