"""Find the files or hub splits of a data set, and which split each belongs to."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...config import SAMPLE
from ...errors import AmbiguousInputError, MissingInputError, UnreadableFileError
from .csv_files import open_csv
from .fasttext_files import has_labels, open_fasttext
from .hub import locate_hub_splits
from .json_files import open_json
from .sample import locate_sample
from .source import Location, ReadOptions, Source
from .splits import SPLITS, TEST, TRAIN, VALIDATION
from .table_files import open_arrow, open_parquet
from .text_files import COMPRESSIONS, check_signature

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
# As in `datasets`; but there `eval` means test.
_KEYWORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "dev", "val", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
# Files that `datasets` writes next to data.
_DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SHOWN_FILES = 5

ClassNames = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Locations:
    """Hold the locations by split, and the files that are not used by name with the reason."""

    by_split: dict[str, list[Location]]
    unused: dict[str, str]


def find_locations(name: str, options: ReadOptions) -> Locations:
    """Find a file, the files of a folder, or the splits of a hub data set.

    `name:config` chooses a configuration. A file is train. In a folder, file and folder names place each file
    (`place_file`); if none is placed, all are train. Raises MissingInputError if there is nothing,
    AmbiguousInputError if some files of a folder are placed and others not.
    """
    if name == SAMPLE:
        return Locations({TRAIN: [locate_sample()]}, {})
    path = Path(name)
    folder, _, configuration = name.rpartition(":")
    if path.is_dir():
        return _open_folder(path, None, options)
    if path.exists():
        return Locations({TRAIN: [_locate(path, options)]}, {})
    if folder and Path(folder).is_dir():
        return _open_folder(Path(folder), configuration, options)
    if _find_reader(path) or path.is_absolute() or name.startswith((".", "~")):
        raise MissingInputError(f"no data set at {name!r}: no such file or folder; check --dataset_name")
    return _open_hub(name)


def find_all(name: str, options: ReadOptions) -> tuple[list[Location], dict[str, str]]:
    """Find a file, or all data files of a folder, whatever split they are for.

    Return them, and the files that are not used with the reason. Raises MissingInputError if there is none.
    """
    path = Path(name)
    files, unused = _list_files(path) if path.is_dir() else ([path], {})
    if not files or not path.exists():
        raise MissingInputError(f"no reviews at {name!r}: expected a {FORMATS}, or a folder of these")
    return [_locate(file, options) for file in files], unused


def place_file(path: Path) -> str | None:
    """Return the split that the words of a relative path name, its file name first; None if none does.

    Words stand between dots, hyphens, underscores, spaces, digits and slashes. Raises AmbiguousInputError if
    one part names two splits.
    """
    for part in reversed(path.parts):
        words = re.split(r"[-._\s\d]+", part.lower())
        found = {_KEYWORDS[word] for word in words if word in _KEYWORDS}
        if len(found) > 1:
            raise AmbiguousInputError(
                f"{path}: {part!r} names the splits {' and '.join(sorted(found))}; rename it"
            )
        if found:
            return found.pop()
    return None


def _locate(path: Path, options: ReadOptions, class_names: ClassNames | None = None) -> Location:
    reader = _find_reader(path)
    if reader is None:
        raise UnreadableFileError(f"{path}: its name does not end as that of a {FORMATS} does")

    def open_it() -> Source:
        check_signature(path)
        source = reader(path, options)
        return dataclasses.replace(source, class_names={**(class_names or {}), **source.class_names})

    return Location(str(path), (path,), open_it)


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
        raise MissingInputError(f"no data set in {str(folder)!r}: expected a {FORMATS}{hint}")
    placed = _place_by_card(folder, configuration, files)
    if placed is None:
        placed = _place_by_name(folder, files)
    for file in files:
        if file not in placed:
            unused[str(file.relative_to(folder))] = "not in the configuration"
    by_split: dict[str, list[Location]] = {}
    class_names = _find_class_names(folder, configuration)
    for file in files:
        if file in placed:
            by_split.setdefault(placed[file], []).append(_locate(file, options, class_names))
    return Locations(_require_train(by_split, str(folder)), unused)


def _list_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Return the data files, sorted, and the other files with the reason; hidden files are not listed."""

    def refuse(error: OSError) -> None:
        raise UnreadableFileError(f"{error.filename}: cannot be read ({error.strerror}); check the folder")

    files, unused = [], {}
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(root) / name for name in sorted(names) if not name.startswith(".")):
            if file.name in _DESCRIPTIONS:
                unused[str(file.relative_to(folder))] = "a description"
            elif (reader := _find_reader(file)) is None or (reader is open_fasttext and not has_labels(file)):
                unused[str(file.relative_to(folder))] = "not a data file"
            else:
                files.append(file)
    return files, unused


def _place_by_name(folder: Path, files: list[Path]) -> dict[Path, str]:
    places = {file: place_file(file.relative_to(folder)) for file in files}
    unplaced = [str(file.relative_to(folder)) for file, split in places.items() if split is None]
    if len(unplaced) == len(files):
        return dict.fromkeys(files, TRAIN)
    if unplaced:
        raise AmbiguousInputError(
            f"{folder}: {_shorten(unplaced)}: no split, while other files name theirs; put train, validation "
            "or test into the names, or move these files away"
        )
    return {file: split for file, split in places.items() if split is not None}


def _place_by_card(folder: Path, configuration: str | None, files: list[Path]) -> dict[Path, str] | None:
    """Place files as the README.md of a hub data set does; return None if it has no configurations."""
    configurations = {str(entry.get("config_name")): entry for entry in _read_configurations(folder)}
    if configuration is None and len(configurations) > 1:
        defaults = [
            name for name, entry in configurations.items() if entry.get("default") or name == "default"
        ]
        configuration = defaults[0] if len(defaults) == 1 else None
    if configuration is None and len(configurations) == 1:
        configuration = next(iter(configurations))
    if configuration is None and not configurations:
        return None
    if configuration not in configurations:
        raise AmbiguousInputError(
            f"{folder}: has the configurations {_shorten(list(configurations)) or 'none'}; choose with "
            f"--dataset_name {folder}:NAME"
        )
    entry = configurations[configuration]
    root = folder / str(entry.get("data_dir") or "")
    if "data_files" not in entry:
        return _place_by_name(root, [file for file in files if file.is_relative_to(root)])
    placed: dict[Path, str] = {}
    for split, patterns in _list_patterns(entry["data_files"]):
        for pattern in patterns:
            found = [file for file in root.glob(pattern) if file in files]
            if not found:
                raise MissingInputError(
                    f"{folder}: its README.md names {pattern!r} for the split {split!r}, but no data file "
                    "matches; fetch it, or mend the README.md"
                )
            placed |= dict.fromkeys(found, split)
    return placed


def _read_configurations(folder: Path) -> list[dict[str, Any]]:
    found = _read_card(folder).get("configs")
    return [entry for entry in found or [] if isinstance(entry, dict)]


def _find_class_names(folder: Path, configuration: str | None) -> ClassNames:
    """Return the class names by column that the card of a hub data set lists."""
    infos = _read_card(folder).get("dataset_info") or []
    infos = [infos] if isinstance(infos, dict) else infos
    if configuration is not None and len(infos) > 1:
        infos = [info for info in infos if info.get("config_name") == configuration]
    names = {}
    for feature in infos[0].get("features", []) if len(infos) == 1 else []:
        kind = feature.get("dtype")
        if isinstance(kind, dict) and "class_label" in kind:
            classes = kind["class_label"]["names"]
            names[feature["name"]] = tuple(classes.values() if isinstance(classes, dict) else classes)
    return names


def _read_card(folder: Path) -> dict[str, Any]:
    """Return the YAML header of the README.md in a hub data set; empty if there is none."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    match = re.match(r"---\r?\n(.*?)\r?\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        header = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        raise UnreadableFileError(f"{card}: its header is not valid YAML; mend it or remove it") from error
    return header if isinstance(header, dict) else {}


def _list_patterns(data_files: Any) -> Iterable[tuple[str, list[str]]]:
    """Yield splits with their patterns.

    `data_files` is a pattern, a list of them, a list of splits with paths, or paths by split.
    """
    if isinstance(data_files, str):
        yield TRAIN, [data_files]
        return
    if isinstance(data_files, dict):
        data_files = [{"split": split, "path": path} for split, path in data_files.items()]
    for entry in data_files:
        if isinstance(entry, str):
            yield TRAIN, [entry]
            continue
        split = place_file(Path(str(entry["split"])))
        if split is not None:
            paths = entry["path"]
            yield split, [paths] if isinstance(paths, str) else list(paths)


def _open_hub(name: str) -> Locations:
    by_split: dict[str, list[Location]] = {}
    unused = {}
    for split, location in locate_hub_splits(name).items():
        place = place_file(Path(split))
        if place is None or place in by_split:
            unused[location.name] = "another split"
        else:
            by_split[place] = [location]
    return Locations(_require_train(by_split, name), unused)


def _require_train(by_split: dict[str, list[Location]], name: str) -> dict[str, list[Location]]:
    if TRAIN not in by_split:
        raise MissingInputError(f"data set {name!r} has no split 'train'; found {sorted(by_split) or 'none'}")
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _shorten(names: list[str]) -> str:
    rest = len(names) - _SHOWN_FILES
    return ", ".join(names[:_SHOWN_FILES]) + (f" and {rest} more" if rest > 0 else "")
