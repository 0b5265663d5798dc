"""Place the data files of a folder into splits, by their names or as a card does."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ...errors import AmbiguousInputError, MissingInputError, UnreadableFileError
from .cards import CARD, list_patterns
from .compression import COMPRESSIONS
from .folders import NO_DATA
from .formats import FORMATS, SUFFIXES, find_reader
from .split_names import is_split_name, place_file, shorten
from .splits import TRAIN
from .text_files import translate_errors

# Endings of files that may hold reviews, but have no reader, or no labels (`.txt`).
_OTHER_FORMATS = {
    *(".txt", ".tab", ".psv", ".dat", ".data", ".xml", ".jl", ".jsonlines", ".xlsx", ".xls", ".xlsb", ".ods"),
    *(".pq", ".parq", ".feather", ".ftr", ".orc", ".avro", ".tfrecord", ".pkl", ".pickle", ".h5"),
    *(".db", ".sqlite", ".sqlite3", ".mdb", ".accdb", ".hdf", ".hdf5", ".json5", ".msgpack", ".npz", ".npy"),
    *(".dta", ".sav", ".zsav", ".por", ".sas7bdat", ".xpt", ".rds", ".rda", ".rdata", ".arff", ".arrows"),
    *(".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".7z", ".rar", ".lz4", ".snappy"),
    *(".gzip", ".z", ".bz", ".bzip2", ".lzma", ".lz", ".lzo", ".zstd", ".br"),
    *COMPRESSIONS,
}
# As in `test.csv.1`, `test.csv~` or `test.csv?download=true`; notes such as `test.csv.md` are no data.
_DATA_INSIDE = re.compile(
    rf"(?:{'|'.join(map(re.escape, set(SUFFIXES) - {'.txt'}))})(?![^\W_])"
    r"(?!.*\.(?:md|rst|html?|pdf|py|ipynb|ya?ml|toml|log)$)",
    re.IGNORECASE,
)
# Endings of files whose download or writing was broken off.
_UNFINISHED = {".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2", ".tmp"}


def place_by_name(folder: Path, files: list[Path]) -> dict[Path, str]:
    """Place files as their names do; all are train if none names a split.

    Raises AmbiguousInputError if some name one and others do not.
    """
    places = {file: place_file(file.relative_to(folder)) for file in files}
    unplaced = [str(file.relative_to(folder)) for file, split in places.items() if split is None]
    if len(unplaced) == len(files):
        return dict.fromkeys(files, TRAIN)
    if unplaced:
        raise AmbiguousInputError(
            f"{folder}: {shorten(unplaced)}: no split, while other files name theirs; put train, validation "
            "or test into the names, or move these files away"
        )
    return {file: split for file, split in places.items() if split is not None}


def place_by_card(folder: Path, entry: dict[str, Any], files: list[Path]) -> dict[Path, str]:
    """Place files as a configuration in the README.md of a hub data set does.

    Raises MissingInputError for a pattern that no file matches, AmbiguousInputError for a file in two splits.
    """
    root = folder / str(entry.get("data_dir") or "")
    if "data_files" not in entry:
        return place_by_name(root, [file for file in files if file.is_relative_to(root)])
    placed: dict[Path, str] = {}
    try:
        by_pattern = [
            # For `datasets` two stars at the end mean files, for Python folders.
            (split, pattern, list(root.glob(f"{pattern}/*" if pattern.endswith("**") else pattern)))
            for split, patterns in list_patterns(entry["data_files"])
            for pattern in patterns
        ]
    except (KeyError, TypeError, ValueError, NotImplementedError) as error:
        raise UnreadableFileError(
            f"{folder / CARD}: its data_files cannot be understood ({type(error).__name__}); expected "
            "entries with a split and a path relative to the data set"
        ) from error
    for split, pattern, matches in by_pattern:
        found = [file for file in matches if file in files]
        if not found:
            raise MissingInputError(
                f"{folder}: its README.md names {pattern!r} for the split {split!r}, but no data file "
                "matches; fetch it, or mend the README.md"
            )
        twice = [str(file.relative_to(folder)) for file in found if placed.get(file, split) != split]
        if twice:
            raise AmbiguousInputError(
                f"{folder}: its README.md places {shorten(twice)} in two splits; mend or remove it"
            )
        placed |= dict.fromkeys(found, split)
    return placed


def refuse_unread_splits(
    folder: Path, unused: Mapping[str, str], found: Collection[str], has_splits: bool
) -> None:
    """Raise AmbiguousInputError if a file of another format, such as `test.xlsx`, names a split.

    What is less surely data counts only for a split of which no file is `found`: the names of a folder, such
    as `test/a.xlsx`, an unfinished download, such as `test.csv.part`, a name with a format inside, such as
    `test.csv.1`, and one without any, such as `test`. A file such as `test/notes.txt` is often no data: its
    folder counts only if other files have splits by their names (`has_splits`).
    """
    named = []
    for name in (name for name, reason in unused.items() if reason == NO_DATA):
        path = Path(name)
        is_unfinished = path.suffix.lower() in _UNFINISHED
        path = path.with_suffix("") if is_unfinished else path
        own, suffix = Path(path.name), path.suffix.lower()
        judged = path if has_splits or suffix != ".txt" else own
        if suffix in _OTHER_FORMATS:
            is_named = (not is_unfinished and place_file(own)) or place_file(judged) not in (None, *found)
        elif find_reader(path) is not None or _DATA_INSIDE.search(own.name):
            is_named = place_file(path) not in (None, *found)
        else:
            has_format = suffix and not is_split_name(suffix[1:])
            is_named = not (is_unfinished or has_format) and place_file(own) not in (None, *found)
        if is_named:
            named.append(name)
    if named:
        raise AmbiguousInputError(
            f"{folder}: {shorten(named)}: names a split, but is no {FORMATS}; write it as "
            "one, or move it away"
        )


def find_copies(placed: Mapping[Path, str]) -> dict[Path, Path]:
    """Return the files that are the same, byte for byte, as an earlier file of their split, with that file.

    Raises AmbiguousInputError if two files of a split differ only in the end of their names, such as
    `train.csv` and `train.csv.gz`: they probably have the same reviews.
    """
    first: dict[tuple[str, bytes], Path] = {}
    copies = {}
    sizes = {file: _measure(file) for file in placed}
    n_files = Counter(sizes.values())
    for file, split in placed.items():
        if n_files[sizes[file]] > 1:
            with translate_errors(file, "data"), file.open("rb") as opened:
                key = split, hashlib.file_digest(opened, "sha256").digest()
            if first.setdefault(key, file) != file:
                copies[file] = first[key]
    bare: dict[tuple[str, Path], Path] = {}
    for file, split in placed.items():
        twin = bare.setdefault((split, _strip_format(file)), file)
        if twin != file and file not in copies:
            raise AmbiguousInputError(
                f"{twin} and {file.name}: probably have the same reviews in two formats; move one of them "
                "away"
            )
    return copies


def _measure(file: Path) -> int:
    with translate_errors(file, "data"):
        return file.stat().st_size


def _strip_format(file: Path) -> Path:
    bare = file.with_suffix("") if file.suffix.lower() in COMPRESSIONS else file
    return bare.with_suffix("")
