"""List the data files of a folder; refuse a folder that is, or has, only a part of its data."""

import os
from collections.abc import Collection
from pathlib import Path

from ...errors import MissingInputError, UnreadableFileError
from .cards import INFOS
from .fasttext_files import has_labels, open_fasttext
from .formats import find_reader
from .saved_folders import SPLIT_LIST, STATE, find_saved_files, find_saved_splits
from .split_names import list_missing_shards, shorten

EMPTY_FOLDER = "an empty folder"
NO_DATA = "not a data file"
# What a missing shard is.
EXPECTED = "expected by the names of the other files"
# Files that `datasets` writes next to data.
_DESCRIPTIONS = {"dataset_info.json", INFOS, SPLIT_LIST, STATE}
# Folders in a table whose rows are not those of its files.
_LOGS = {
    "_delta_log": "a Delta table",
    ".hoodie": "a Hudi table",
    "_spark_metadata": "written by a Spark stream",
    "_temporary": "a table that Spark is writing, or has not finished",
}
_ICEBERG, _ICEBERG_SUFFIX = "metadata", ".metadata.json"


def list_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Return the data files, sorted, and the other files with the reason; hidden files are not listed."""

    def refuse(error: OSError) -> None:
        raise UnreadableFileError(f"{error.filename}: cannot be read ({error.strerror}); check the folder")

    files, unused = [], {}
    seen = {folder.resolve()}
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        for name in (*folders, *names):
            if not name.startswith("."):
                check_name(Path(root) / name)
        _refuse_tables(Path(root), folders, names)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        splits = find_saved_splits(Path(root), names, folders)
        for subfolder in [Path(root) / name for name in folders]:
            if splits is not None and subfolder.name not in splits:
                unused[str(subfolder.relative_to(folder))] = f"not listed in {SPLIT_LIST}"
                folders.remove(subfolder.name)
            elif subfolder.resolve() in seen:
                unused[str(subfolder.relative_to(folder))] = "a link to a folder that is read already"
                folders.remove(subfolder.name)
            seen.add(subfolder.resolve())
        if not folders and all(name.startswith(".") for name in names) and Path(root) != folder:
            unused[str(Path(root).relative_to(folder))] = EMPTY_FOLDER
        saved = find_saved_files(Path(root), names)
        for file in (Path(root) / name for name in sorted(names) if not name.startswith(".")):
            if file.name in _DESCRIPTIONS:
                unused[str(file.relative_to(folder))] = "a description"
            elif saved is not None and file.suffix == ".arrow" and file.name not in saved:
                unused[str(file.relative_to(folder))] = f"not listed in {STATE}"
            elif (reader := find_reader(file)) is None or (reader is open_fasttext and not has_labels(file)):
                unused[str(file.relative_to(folder))] = NO_DATA
            else:
                files.append(file)
    return files, unused


def require_shards(folder: Path, files: Collection[Path], needed: Collection[Path]) -> None:
    """Raise MissingInputError if a file that is `needed` belongs to shards of which one is missing."""
    missing = list_missing_shards(files, needed)
    if missing:
        raise MissingInputError(
            f"{folder}: lacks {shorten(missing)}, {EXPECTED}; fetch all of it again, or rename these files "
            "if they are all that you want"
        )


def check_name(path: Path) -> None:
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
