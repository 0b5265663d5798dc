"""Read the card of a hub data set, the YAML header of its README.md: configurations, files, class names.

Older data sets state their class names in `dataset_infos.json` instead.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ...errors import AmbiguousInputError, UnreadableFileError
from .split_names import choose_splits, shorten
from .splits import TRAIN
from .table_files import list_class_labels
from .text_files import translate_errors

CARD, INFOS = "README.md", "dataset_infos.json"

ClassNames = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class StatedClasses:
    """Hold the class names by column that a data set states; `place` is where, for a message.

    The columns in `unclear` have other class names in another configuration that could be meant; they are
    not among `names`.
    """

    names: ClassNames
    unclear: tuple[str, ...] = ()
    place: str = ""


def choose_configuration(folder: Path, configuration: str | None) -> dict[str, Any] | None:
    """Return the configuration of a hub data set by its name, or the default; None if its card has none.

    In older data sets, the name is that of a description of the classes.
    """
    configurations = _list_configurations(folder)
    if configuration is None and len(configurations) > 1:
        defaults = [
            name for name, entry in configurations.items() if entry.get("default") or name == "default"
        ]
        configuration = defaults[0] if len(defaults) == 1 else None
    if configuration is None and len(configurations) == 1:
        configuration = next(iter(configurations))
    if not configurations:
        return None if configuration is None else _choose_info(folder, configuration)
    if configuration not in configurations:
        raise AmbiguousInputError(_list_choices(folder, list(configurations)))
    return configurations[configuration]


def _list_configurations(folder: Path) -> dict[str, dict[str, Any]]:
    entries = _read_card(folder).get("configs") or []
    entries = entries if isinstance(entries, list) else []
    return {str(entry.get("config_name")): entry for entry in entries if isinstance(entry, dict)}


def _choose_info(folder: Path, configuration: str) -> dict[str, Any]:
    """Return a configuration of an older data set, which names its classes but not its files."""
    names = {str(name): name for name, _ in _list_infos(folder) if name is not None}
    if not names:
        raise AmbiguousInputError(
            f"{folder}: its {CARD} has no configurations; pass --dataset_name {folder} without a name of one"
        )
    if configuration not in names:
        raise AmbiguousInputError(_list_choices(folder, list(names)))
    # As in `datasets`, files in a folder of this name belong to the configuration.
    is_folder = (folder / configuration).is_dir()
    return {"config_name": names[configuration], **({"data_dir": configuration} if is_folder else {})}


def _list_choices(folder: Path, names: list[str]) -> str:
    return f"{folder}: has the configurations {shorten(names)}; choose with --dataset_name {folder}:NAME"


def has_statements(folder: Path) -> bool:
    """Return True if a folder has a card that states configurations or class names."""
    return bool(_list_configurations(folder)) or any(names for _, names in _list_infos(folder))


def find_nearest_class_names(path: Path) -> StatedClasses:
    """Return the class names that the nearest card at or above a file or folder states for any configuration.

    Columns with other class names, or none, in another configuration are unclear.
    """
    # A link, as in the cache of the hub, has its card next to it, and not next to its target.
    path = Path(os.path.abspath(path))
    folder = next(filter(has_statements, (path, *path.parents)), None)
    if folder is None:
        return StatedClasses({})
    infos = _list_infos(folder)
    found = [_choose_classes(infos, entry) for entry in _list_configurations(folder).values() or [None]]
    columns = {column for each in found for column in (*each.names, *each.unclear)}
    clear = {
        column: classes
        for column, classes in found[0].names.items()
        if all(each.names.get(column) == classes for each in found)
    }
    place = os.path.relpath(_find_place(folder), path if path.is_dir() else path.parent)
    return StatedClasses(clear, tuple(sorted(columns - clear.keys())), place)


def find_class_names(folder: Path, entry: dict[str, Any]) -> StatedClasses:
    """Return the class names that a hub data set states for a configuration."""
    return replace(_choose_classes(_list_infos(folder), entry), place=_find_place(folder).name)


def _choose_classes(
    infos: Sequence[tuple[str | None, ClassNames]], entry: dict[str, Any] | None
) -> StatedClasses:
    """Return the class names of a configuration (None: of any)."""
    chosen = None if entry is None else entry.get("config_name")
    found: ClassNames = {}
    unclear = set()
    for name, class_names in infos:
        if chosen is None or name in (None, chosen):
            for column, classes in class_names.items():
                if found.setdefault(column, classes) != classes:
                    unclear.add(column)
    clear = {column: classes for column, classes in found.items() if column not in unclear}
    return StatedClasses(clear, tuple(sorted(unclear)))


def _list_infos(folder: Path) -> list[tuple[str | None, ClassNames]]:
    """Return the class names by column of each configuration, with its name if it has one.

    As in `datasets`, `dataset_infos.json` counts only if the card has no `dataset_info`.
    """
    described = _read_card(folder).get("dataset_info") or []
    path = _find_place(folder)
    try:
        return _list_card_infos(described) if described else _list_old_infos(path)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnreadableFileError(
            f"{path}: its description of the data set cannot be understood ({type(error).__name__}), so the "
            "names of its classes are not known; mend it or remove it"
        ) from error


def _find_place(folder: Path) -> Path:
    return folder / (CARD if _read_card(folder).get("dataset_info") else INFOS)


def _list_card_infos(infos: Any) -> list[tuple[str | None, ClassNames]]:
    infos = [infos] if isinstance(infos, dict) else infos
    return [
        (info.get("config_name"), dict(_list_class_names(info.get("features") or [])))
        for info in infos
        if isinstance(info, dict)
    ]


def _list_old_infos(path: Path) -> list[tuple[str | None, ClassNames]]:
    """Return what `_list_card_infos` does, from the file of an older data set; nothing if there is none."""
    if not path.is_file():
        return []
    with translate_errors(path, "JSON"):
        content = path.read_bytes()
    infos = json.loads(content).items()
    return [(name, list_class_labels(info.get("features") or {})) for name, info in infos]


def _list_class_names(features: Iterable[dict[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for feature in features:
        kind = feature.get("dtype")
        if isinstance(kind, dict) and "class_label" in kind:
            classes = kind["class_label"]["names"]
            if isinstance(classes, dict):  # by class number, in any order
                by_number = {int(number): name for number, name in classes.items()}
                classes = [by_number[number] for number in range(len(classes))]
            # YAML reads an unquoted `no` as a truth value.
            yield feature["name"], tuple(map(str, classes))


def list_patterns(data_files: Any) -> Iterable[tuple[str, list[str]]]:
    """Yield splits with their patterns.

    `data_files` is a pattern, a list of them, a list of splits with paths, or paths by split.
    """
    if isinstance(data_files, str):
        yield TRAIN, [data_files]
        return
    if isinstance(data_files, dict):
        data_files = [{"split": split, "path": path} for split, path in data_files.items()]
    splits = choose_splits([str(entry["split"]) for entry in data_files if not isinstance(entry, str)])
    for entry in data_files:
        if isinstance(entry, str):
            yield TRAIN, [entry]
        elif entry["split"] in splits:
            paths = entry["path"]
            yield splits[entry["split"]], [paths] if isinstance(paths, str) else list(paths)


def _read_card(folder: Path) -> dict[str, Any]:
    """Return the YAML header of the README.md in a hub data set; empty if there is none."""
    card = folder / CARD
    if not card.is_file():
        return {}
    with translate_errors(card, "text"):
        text = card.read_text(encoding="utf-8-sig", errors="replace")
    match = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    try:
        header = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        raise UnreadableFileError(f"{card}: its header is not valid YAML; mend it or remove it") from error
    return header if isinstance(header, dict) else {}
