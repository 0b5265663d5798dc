"""Read the card of a hub data set, the YAML header of its README.md: configurations, files, class names."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ...errors import AmbiguousInputError, UnreadableFileError
from .split_names import choose_splits, shorten
from .splits import TRAIN

CARD = "README.md"

ClassNames = dict[str, tuple[str, ...]]


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


def find_class_names(folder: Path, entry: dict[str, Any] | None) -> ClassNames:
    """Return the class names by column that the card of a hub data set lists for a configuration."""
    infos = _read_card(folder).get("dataset_info") or []
    infos = [infos] if isinstance(infos, dict) else infos
    infos = [info for info in infos if isinstance(info, dict)]
    if entry is not None:
        chosen = entry.get("config_name")
        infos = [info for info in infos if info.get("config_name", chosen) == chosen]
    try:
        return dict(_list_class_names(infos[0].get("features") or [])) if len(infos) == 1 else {}
    except (AttributeError, KeyError, TypeError) as error:
        raise UnreadableFileError(
            f"{folder / CARD}: its dataset_info cannot be understood ({type(error).__name__}), so the names "
            "of its classes are not known; mend it or remove it"
        ) from error


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
