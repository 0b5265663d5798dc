"""Find the files or hub splits of a data set, by split."""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ...config import SAMPLE
from ...errors import AmbiguousInputError, ConfigError, MissingInputError
from .card_settings import add_stated_form, refuse_filters
from .cards import (
    CARD,
    INFOS,
    choose_configuration,
    find_class_names,
    find_nearest_class_names,
    has_statements,
)
from .folders import EXPECTED, check_name, list_files, require_shards
from .formats import FORMATS, check_options, find_reader, is_text_file, locate_file
from .hub import locate_hub_splits
from .placement import find_copies, place_by_card, place_by_name, refuse_unread_splits
from .sample import locate_sample
from .source import Location, ReadOptions
from .split_names import list_missing_shards, place_file, shorten
from .splits import SPLITS, TRAIN

# Why a file is not used.
ANOTHER_SPLIT = "another split"


@dataclass(frozen=True)
class Locations:
    """Hold the locations by split, and the files that are not used by name with the reason.

    `has_splits` is false where all is train because nothing names a split.
    """

    by_split: dict[str, list[Location]]
    unused: dict[str, str]
    has_splits: bool = True


def find_locations(name: str, options: ReadOptions, required: str = TRAIN) -> Locations:
    """Find a file, the files of a folder, or the splits of a hub data set.

    `name:config` chooses a configuration. A file is train. In a folder, file and folder names place each file
    (`place_file`); if none is placed, all are train. Raises MissingInputError if there is nothing, or splits
    without the `required` one, AmbiguousInputError if some files of a folder are placed and others not,
    ConfigError for an option that no file follows.
    """
    found = _find(name, options)
    if found.has_splits and required not in found.by_split:
        raise MissingInputError(
            f"data set {name!r} has no split {required!r}; found {sorted(found.by_split) or 'none'}; pass "
            "another data set, or the file to use"
        )
    check_options(options, [location for group in found.by_split.values() for location in group])
    by_split = {split: found.by_split[split] for split in SPLITS if split in found.by_split}
    return replace(found, by_split=by_split)


def _find(name: str, options: ReadOptions) -> Locations:
    if name == SAMPLE:
        if Path(name).exists():
            raise AmbiguousInputError(
                f"{SAMPLE}: is a data set of this project, and there is a file or folder of this name "
                f"too; pass ./{SAMPLE} for the latter, else rename it"
            )
        return Locations({TRAIN: [locate_sample()]}, {}, has_splits=False)
    path = _check_path(name)
    folder, _, configuration = name.rpartition(":")
    if path.is_dir():
        return _open_folder(path, None, options)
    if path.exists():
        location = locate_file(path, options, find_nearest_class_names(path))
        return Locations({TRAIN: [location]}, {}, has_splits=False)
    if folder and Path(folder).is_dir():
        return _open_folder(Path(folder), configuration, options)
    if find_reader(path) or path.is_absolute() or name.startswith((".", "~")):
        raise MissingInputError(f"no data set at {name!r}: no such file or folder; check --dataset_name")
    return _open_hub(name, options)


def find_all(
    name: str, options: ReadOptions, may_ignore: bool = False
) -> tuple[list[Location], dict[str, str]]:
    """Find a file, or all data files of a folder, whatever split they are for.

    Return them, and the files that are not used with the reason. Some shards of many are reviews too, so
    missing ones are only among the latter. Raises MissingInputError if there is no file, ConfigError for an
    option that no file follows, unless the files `may_ignore` it.
    """
    path = _check_path(name)
    files, unused = list_files(path) if path.is_dir() else ([path], {})
    if not files or not path.exists():
        raise MissingInputError(f"no reviews at {name!r}: expected a {FORMATS}, or a folder of these")
    if path.is_dir() and (missing := list_missing_shards(files, files)):
        unused[shorten(missing)] = f"not there, but {EXPECTED}"
    locations = [locate_file(file, options) for file in files]
    if not may_ignore:
        check_options(options, locations)
    return locations, unused


def _check_path(name: str) -> Path:
    """Return the name of a data set as a path, which need not exist; raise an error if it can be none."""
    if not name.strip():
        raise ConfigError("dataset_name: is empty, expected a file, a folder or a data set of the hub")
    check_name(Path(name))
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


def _open_folder(folder: Path, configuration: str | None, options: ReadOptions) -> Locations:
    files, unused = list_files(folder)
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
    placed = place_by_name(folder, files) if entry is None else place_by_card(folder, entry, files)
    has_splits = not is_by_name or any(place_file(file.relative_to(folder)) for file in files)
    if is_by_name:
        refuse_unread_splits(folder, unused, set(placed.values()), has_splits)
    require_shards(folder, files, placed)
    _refuse_inner_cards(folder, placed)
    if entry is not None:
        refuse_filters(str(folder), entry)
    if entry is not None and any(map(is_text_file, placed)):
        options = add_stated_form(str(folder), entry, options)
    for file in files:
        if file not in placed:
            unused[str(file.relative_to(folder))] = "not in the configuration"
    for copy, file in find_copies(placed).items():
        unused[str(copy.relative_to(folder))] = f"a copy of {file.relative_to(folder)}"
        del placed[copy]
    by_split: dict[str, list[Location]] = {}
    classes = find_nearest_class_names(folder) if entry is None else find_class_names(folder, entry)
    if CARD in unused and has_statements(folder):
        unused[CARD] = "the card, a description"
    for file in files:
        if file in placed:
            by_split.setdefault(placed[file], []).append(locate_file(file, options, classes))
    return Locations(by_split, unused, has_splits)


def _refuse_inner_cards(folder: Path, files: Collection[Path]) -> None:
    """Raise AmbiguousInputError if files are in a subfolder with a card of its own, as in the hub's cache."""
    inner = {parent for file in files for parent in file.parents if folder in parent.parents}
    with_card = sorted(filter(has_statements, inner))
    if with_card:
        listed = shorten([str(found.relative_to(folder)) for found in with_card])
        raise AmbiguousInputError(
            f"{folder}: {listed}: has a {CARD} or {INFOS} with configurations or class names, which count "
            f"only if the subfolder is the data set; pass {with_card[0]}, or move that file away"
        )


def _open_hub(name: str, options: ReadOptions) -> Locations:
    by_split, unused = locate_hub_splits(name, options, locate_file)
    return Locations(by_split, dict.fromkeys(unused, ANOTHER_SPLIT))
