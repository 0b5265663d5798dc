"""Read the card of a hub data set, the YAML header of its README.md: configurations, files, class names.

Older data sets state their class names in `dataset_infos.json` instead.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ...errors import AmbiguousInputError, UnreadableFileError
from .csv_files import check_delimiter
from .source import ReadOptions
from .split_names import choose_splits, shorten
from .splits import TRAIN
from .table_files import list_class_labels
from .text_files import translate_errors

CARD, INFOS = "README.md", "dataset_infos.json"

ClassNames = dict[str, tuple[str, ...]]
# Settings of `datasets` for text files that `ReadOptions` has too, and those that change no value.
_TAKEN = {
    **dict.fromkeys(("sep", "delimiter"), "delimiter"),
    **dict.fromkeys(("names", "column_names"), "column_names"),
    "encoding": "encoding",
}
_HARMLESS = {
    *("name", "version", "data_dir", "data_files", "description", "features"),
    *("chunksize", "engine", "memory_map"),
}


def choose_configuration(folder: Path, configuration: str | None) -> dict[str, Any] | None:
    """Return the configuration of a hub data set by its name, or the default; None if its card has none."""
    entries = _read_card(folder).get("configs") or []
    configurations = {str(entry.get("config_name")): entry for entry in entries if isinstance(entry, dict)}
    if configuration is None and len(configurations) > 1:
        defaults = [
            name for name, entry in configurations.items() if entry.get("default") or name == "default"
        ]
        configuration = defaults[0] if len(defaults) == 1 else None
    if configuration is None and len(configurations) == 1:
        configuration = next(iter(configurations))
    if configuration is None and not configurations:
        return None
    if not configurations:
        raise AmbiguousInputError(
            f"{folder}: its {CARD} has no configurations; pass --dataset_name {folder} without a name of one"
        )
    if configuration not in configurations:
        raise AmbiguousInputError(
            f"{folder}: has the configurations {shorten(list(configurations))}; choose with "
            f"--dataset_name {folder}:NAME"
        )
    return configurations[configuration]


def add_stated_form(where: str, given: Mapping[str, Any], usual: Any, options: ReadOptions) -> ReadOptions:
    """Return the options with the form of text files that a configuration of a data set states.

    `given` are its settings, `usual` is a configuration of `datasets` with the defaults. The options win.
    Raises UnreadableFileError if it states something that the readers do not know.
    """
    stated = {
        key: value
        for key, value in given.items()
        if key in vars(usual) and key not in _HARMLESS and value != getattr(usual, key)
    }
    unknown = sorted(stated.keys() - _TAKEN)
    try:
        codecs.lookup(stated.get("encoding") or "utf-8")
    except LookupError:
        unknown.append("encoding")
    if unknown:
        raise UnreadableFileError(
            f"{where}: its card states {', '.join(unknown)} for its text files, which cannot be followed; "
            "fetch the files, write them as Parquet or plain CSV, and pass a folder with only these"
        )
    found = {_TAKEN[key]: value for key, value in stated.items()}
    if "column_names" in found:
        found["column_names"] = tuple(map(str, found["column_names"]))
    check_delimiter(found.get("delimiter"))
    return replace(options, **{key: value for key, value in found.items() if getattr(options, key) is None})


def find_class_names(folder: Path, entry: dict[str, Any] | None) -> ClassNames:
    """Return the class names by column that a hub data set states for a configuration (None: for any).

    As in `datasets`, `dataset_infos.json` counts only if the card has no `dataset_info`. Raises
    AmbiguousInputError if several configurations could be meant and their names differ.
    """
    described = _read_card(folder).get("dataset_info") or []
    path = folder / (CARD if described else INFOS)
    try:
        infos = _list_card_infos(described) if described else _list_old_infos(path)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnreadableFileError(
            f"{path}: its description of the data set cannot be understood ({type(error).__name__}), so the "
            "names of its classes are not known; mend it or remove it"
        ) from error
    chosen = None if entry is None else entry.get("config_name")
    found: ClassNames = {}
    for name, class_names in infos:
        if chosen is None or name in (None, chosen):
            for column, classes in class_names.items():
                if found.setdefault(column, classes) != classes:
                    raise AmbiguousInputError(
                        f"{path}: names the classes of column {column!r} differently in its configurations, "
                        "and it is not known which one the files have; remove the others from it"
                    )
    return found


def _list_card_infos(infos: Any) -> list[tuple[str | None, ClassNames]]:
    """Return the class names by column of each configuration, with its name if it has one."""
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
            # YAML reads an unquoted `no` as a truth value.
            yield (
                feature["name"],
                tuple(map(str, classes.values() if isinstance(classes, dict) else classes)),
            )


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
    text = card.read_text(encoding="utf-8-sig", errors="replace")
    match = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    try:
        header = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        raise UnreadableFileError(f"{card}: its header is not valid YAML; mend it or remove it") from error
    return header if isinstance(header, dict) else {}
