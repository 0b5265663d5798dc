"""Find the files or hub splits of a data set, and which split each belongs to."""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import SAMPLE
from ...errors import AmbiguousInputError, ConfigError, MissingInputError, UnreadableFileError
from .cards import (
    CARD,
    INFOS,
    ClassNames,
    add_stated_form,
    choose_configuration,
    find_class_names,
    list_patterns,
)
from .csv_files import open_csv
from .fasttext_files import has_labels, open_fasttext
from .hub import locate_hub_splits
from .json_files import open_json
from .sample import locate_sample
from .saved_folders import SPLIT_LIST, STATE, find_saved_files
from .source import Location, ReadOptions, Source
from .split_names import list_missing_shards, place_file, shorten
from .splits import SPLITS, TRAIN
from .table_files import open_arrow, open_parquet
from .text_files import COMPRESSIONS, check_signature, translate_errors

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
# Readers that decompress while they read; Parquet and Arrow files are compressed inside.
_COMPRESSIBLE = (open_csv, open_json, open_fasttext)
FORMATS = "Parquet, CSV, TSV, JSON, JSON lines or fastText file (also .gz, .bz2, .xz, .zst)"
# Endings of files that may hold reviews, but have no reader, or no labels (`.txt`).
_OTHER_FORMATS = {
    *(".txt", ".tab", ".psv", ".dat", ".data", ".xml", ".jl", ".jsonlines", ".xlsx", ".xls", ".xlsb", ".ods"),
    *(".pq", ".parq", ".feather", ".ftr", ".orc", ".avro", ".tfrecord", ".pkl", ".pickle", ".h5"),
    *(".db", ".sqlite", ".sqlite3", ".zip", ".tar", ".tgz", ".7z", ".rar", ".lz4", ".snappy"),
    *COMPRESSIONS,
}
# Endings of files whose download or writing was broken off.
_UNFINISHED = {".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2", ".tmp"}
# Files that `datasets` writes next to data.
_DESCRIPTIONS = {"dataset_info.json", INFOS, SPLIT_LIST, STATE}
_EMPTY_FOLDER = "an empty folder"
# Folders in a table whose rows are not those of its files.
_LOGS = {
    "_delta_log": "a Delta table",
    ".hoodie": "a Hudi table",
    "_spark_metadata": "written by a Spark stream",
    "_temporary": "a table that Spark is writing, or has not finished",
}
_ICEBERG, _ICEBERG_SUFFIX = "metadata", ".metadata.json"


@dataclass(frozen=True)
class Locations:
    """Hold the locations by split, and the files that are not used by name with the reason.

    `has_splits` is false where all is train because nothing names a split.
    """

    by_split: dict[str, list[Location]]
    unused: dict[str, str]
    has_splits: bool = True


def find_locations(name: str, options: ReadOptions) -> Locations:
    """Find a file, the files of a folder, or the splits of a hub data set.

    `name:config` chooses a configuration. A file is train. In a folder, file and folder names place each file
    (`place_file`); if none is placed, all are train. Raises MissingInputError if there is nothing,
    AmbiguousInputError if some files of a folder are placed and others not.
    """
    if name == SAMPLE:
        return Locations({TRAIN: [locate_sample()]}, {}, has_splits=False)
    path = _check_path(name)
    folder, _, configuration = name.rpartition(":")
    if path.is_dir():
        return _open_folder(path, None, options)
    if path.exists():
        return Locations({TRAIN: [_locate(path, options)]}, {}, has_splits=False)
    if folder and Path(folder).is_dir():
        return _open_folder(Path(folder), configuration, options)
    if _find_reader(path) or path.is_absolute() or name.startswith((".", "~")):
        raise MissingInputError(f"no data set at {name!r}: no such file or folder; check --dataset_name")
    return _open_hub(name, options)


def find_all(name: str, options: ReadOptions) -> tuple[list[Location], dict[str, str]]:
    """Find a file, or all data files of a folder, whatever split they are for.

    Return them, and the files that are not used with the reason. Raises MissingInputError if there is none.
    """
    path = _check_path(name)
    files, unused = _list_files(path) if path.is_dir() else ([path], {})
    if not files or not path.exists():
        raise MissingInputError(f"no reviews at {name!r}: expected a {FORMATS}, or a folder of these")
    if path.is_dir():
        _require_shards(path, files, files)
    return [_locate(file, options) for file in files], unused


def _locate(
    path: Path,
    options: ReadOptions,
    class_names: ClassNames | None = None,
    unclear: frozenset[str] = frozenset(),
) -> Location:
    reader = _find_reader(path)
    if reader is None:
        raise UnreadableFileError(f"{path}: its name does not end as that of a {FORMATS} does")

    def open_it() -> Source:
        check_signature(path)
        source = reader(path, options)
        return dataclasses.replace(
            source,
            class_names={**(class_names or {}), **source.class_names},
            unclear_classes=unclear - source.class_names.keys(),
        )

    return Location(str(path), (path,), open_it, form=f"{options} {class_names} {sorted(unclear)}")


def _find_reader(path: Path) -> Callable[[Path, ReadOptions], Source] | None:
    suffix = path.suffix.lower()
    if suffix in COMPRESSIONS:
        reader = _READERS.get(Path(path.stem).suffix.lower())
        return reader if reader in _COMPRESSIBLE else None
    return _READERS.get(suffix)


def _open_folder(folder: Path, configuration: str | None, options: ReadOptions) -> Locations:
    files, unused = _list_files(folder)
    if not files:
        scripts = any(name.endswith(".py") for name in unused)
        hint = "; a loading script is never run: save the data set as Parquet" if scripts else ""
        if any(name.endswith(".txt") for name in unused):
            hint += (
                "; text files without __label__ are not read: write the texts, and their labels such as the "
                "names of their folders, as columns of a CSV or Parquet file"
            )
        raise MissingInputError(f"no data set in {str(folder)!r}: expected a {FORMATS}{hint}")
    entry = choose_configuration(folder, configuration)
    # Names of files decide if the configuration does not say which files it has.
    is_by_name = entry is None or not {"data_files", "data_dir"} & entry.keys()
    placed = _place_by_name(folder, files) if entry is None else _place_by_card(folder, entry, files)
    if is_by_name:
        _refuse_unread_splits(folder, unused, set(placed.values()))
    _require_shards(folder, files, placed)
    if entry is not None and any(_find_reader(file) in _COMPRESSIBLE for file in placed):
        options = add_stated_form(str(folder), entry, options)
    for file in files:
        if file not in placed:
            unused[str(file.relative_to(folder))] = "not in the configuration"
    for copy, file in _find_copies(placed).items():
        unused[str(copy.relative_to(folder))] = f"a copy of {file.relative_to(folder)}"
        del placed[copy]
    by_split: dict[str, list[Location]] = {}
    class_names, unclear = find_class_names(folder, entry)
    if CARD in unused and (entry is not None or class_names):
        unused[CARD] = "the card, a description"
    for file in files:
        if file in placed:
            by_split.setdefault(placed[file], []).append(_locate(file, options, class_names, unclear))
    has_splits = not is_by_name or any(place_file(file.relative_to(folder)) for file in files)
    return Locations(_require_train(by_split, str(folder)), unused, has_splits)


def _list_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Return the data files, sorted, and the other files with the reason; hidden files are not listed."""

    def refuse(error: OSError) -> None:
        raise UnreadableFileError(f"{error.filename}: cannot be read ({error.strerror}); check the folder")

    files, unused = [], {}
    seen = {folder.resolve()}
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        for name in (*folders, *names):
            _check_name(Path(root) / name)
        _refuse_tables(Path(root), folders, names)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for subfolder in [Path(root) / name for name in folders]:
            if subfolder.resolve() in seen:
                unused[str(subfolder.relative_to(folder))] = "a link to a folder that is read already"
                folders.remove(subfolder.name)
            seen.add(subfolder.resolve())
        if not folders and all(name.startswith(".") for name in names) and Path(root) != folder:
            unused[str(Path(root).relative_to(folder))] = _EMPTY_FOLDER
        saved = find_saved_files(Path(root), names, folders)
        for file in (Path(root) / name for name in sorted(names) if not name.startswith(".")):
            if file.name in _DESCRIPTIONS:
                unused[str(file.relative_to(folder))] = "a description"
            elif saved is not None and file.suffix == ".arrow" and file.name not in saved:
                unused[str(file.relative_to(folder))] = f"not listed in {STATE}"
            elif (reader := _find_reader(file)) is None or (reader is open_fasttext and not has_labels(file)):
                unused[str(file.relative_to(folder))] = "not a data file"
            else:
                files.append(file)
    return files, unused


def _require_shards(folder: Path, files: Collection[Path], needed: Collection[Path]) -> None:
    missing = list_missing_shards(files, needed)
    if missing:
        raise MissingInputError(
            f"{folder}: lacks {shorten(missing)}, which the names of other files promise; fetch all of it "
            "again, or rename these files if they are all that you want"
        )


def _check_path(name: str) -> Path:
    """Return the name of a data set as a path, which need not exist; raise an error if it can be none."""
    if not name.strip():
        raise ConfigError("dataset_name: is empty, expected a file, a folder or a data set of the hub")
    _check_name(Path(name))
    try:
        os.stat(name)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name of the hub, or of nothing
        pass
    except OSError as error:
        raise MissingInputError(
            f"no data set at {name!r:.200}: it cannot be read ({error.strerror}); check --dataset_name and "
            "the permissions of its folders"
        ) from error
    return Path(name)


def _check_name(path: Path) -> None:
    """Raise UnreadableFileError for a name that no report can have, such as one in cp1252 from an archive."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UnreadableFileError(f"{str(path)!a}: the name is not UTF-8; rename it") from error


def _refuse_tables(root: Path, folders: Collection[str], names: Collection[str]) -> None:
    """Raise UnreadableFileError if a folder is part of a table whose files have rows that do not count."""
    kinds = [kind for log, kind in _LOGS.items() if log in folders]
    if root.name == _ICEBERG and any(name.endswith(_ICEBERG_SUFFIX) for name in names):
        root, kinds = root.parent, ["an Iceberg table"]
    if kinds:
        raise UnreadableFileError(
            f"{root}: is {kinds[0]}, so its files may also have rows that were removed or are not complete; "
            "training does not read it: write the table as Parquet to another folder"
        )


def _refuse_unread_splits(folder: Path, unused: Mapping[str, str], found: Collection[str]) -> None:
    """Raise AmbiguousInputError if a file of another format, such as `test.xlsx`, names a split.

    The names of a folder, such as `test/a.xlsx` or an empty one, and of an unfinished file count only for a
    split of which no file is `found`.
    """
    named = []
    for name, reason in unused.items():
        path = Path(name)
        is_data = path.suffix.lower() in _OTHER_FORMATS
        may_count = is_data or reason == _EMPTY_FOLDER or path.suffix.lower() in _UNFINISHED
        if (is_data and place_file(Path(path.name))) or (
            may_count and place_file(path) not in (None, *found)
        ):
            named.append(name)
    if named:
        raise AmbiguousInputError(
            f"{folder}: {shorten(named)}: names a split, but is no {FORMATS}; write it as "
            "one, or move it away"
        )


def _place_by_name(folder: Path, files: list[Path]) -> dict[Path, str]:
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


def _find_copies(placed: Mapping[Path, str]) -> dict[Path, Path]:
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


def _place_by_card(folder: Path, entry: dict[str, Any], files: list[Path]) -> dict[Path, str]:
    """Place files as a configuration in the README.md of a hub data set does."""
    root = folder / str(entry.get("data_dir") or "")
    if "data_files" not in entry:
        return _place_by_name(root, [file for file in files if file.is_relative_to(root)])
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


def _open_hub(name: str, options: ReadOptions) -> Locations:
    by_split, unused = locate_hub_splits(name, options, _locate)
    return Locations(_require_train(by_split, name), dict.fromkeys(unused, "another split"))


def _require_train(by_split: dict[str, list[Location]], name: str) -> dict[str, list[Location]]:
    if TRAIN not in by_split:
        raise MissingInputError(f"data set {name!r} has no split 'train'; found {sorted(by_split) or 'none'}")
    return {split: by_split[split] for split in SPLITS if split in by_split}
