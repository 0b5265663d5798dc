"""Find the data files of a folder that `datasets` has saved with `save_to_disk`, and miss none of them."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ...errors import MissingInputError, UnreadableFileError
from .split_names import shorten
from .text_files import translate_errors

STATE, SPLIT_LIST = "state.json", "dataset_dict.json"


def find_saved_splits(folder: Path, files: Collection[str], folders: Collection[str]) -> set[str] | None:
    """Return the names of the folders of splits in a saved folder, next to which an earlier save left others.

    `files` and `folders` are the names in it. Return None for a folder that was not saved so. Raises
    UnreadableFileError if the list of what was saved is damaged, MissingInputError if some of it is missing.
    """
    if SPLIT_LIST not in files:
        return None
    return _read_list(folder / SPLIT_LIST, lambda found: found["splits"], folders)


def find_saved_files(folder: Path, files: Collection[str]) -> set[str] | None:
    """Return the names of the data files in a saved folder, next to which `datasets` caches others.

    `files` are the names in it. Return None, and raise errors, as `find_saved_splits` does.
    """
    arrow = {name for name in files if name.endswith(".arrow")}
    if STATE not in files:
        return None
    try:
        return _read_list(
            folder / STATE, lambda found: [file["filename"] for file in found["_data_files"]], arrow
        )
    except UnreadableFileError:
        if arrow:
            raise
        return None  # a file of the same name that means something else


def _read_list(path: Path, pick: Callable[[Any], Collection[str]], present: Collection[str]) -> set[str]:
    with translate_errors(path, "JSON"):
        content = path.read_bytes()
    try:
        saved = {str(name) for name in pick(json.loads(content))}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableFileError(
            f"{path}: is damaged or of another kind ({type(error).__name__}), so it is not known which files "
            "next to it are data; save the data set again with save_to_disk, or move this file and all that "
            "is not data away"
        ) from error
    missing = sorted(saved - set(present))
    if missing:
        raise MissingInputError(
            f"{path}: lists {shorten(missing)}, which the folder lacks; copy all of the folder again"
        )
    return saved
