"""Read the card of a hub data set, the YAML header of its README.md: configurations, files, class names.

Older data sets state their class names in `dataset_infos.json` instead.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ...errors import AmbiguousInputError, ConfigError, UnreadableFileError
from ...schema import show_columns
from .csv_files import check_delimiter
from .source import ReadOptions
from .split_names import choose_splits, shorten
from .splits import TRAIN
from .table_files import list_class_labels
from .text_files import translate_errors

CARD, INFOS = "README.md", "dataset_infos.json"

ClassNames = dict[str, tuple[str, ...]]
# Settings of `datasets` for text files that `ReadOptions` has too. Of two for one option, the later counts.
_TAKEN = {
    **dict.fromkeys(("sep", "delimiter"), "delimiter"),
    **dict.fromkeys(("names", "column_names"), "column_names"),
    "encoding": "encoding",
}
# Settings that change no value.
_HARMLESS = {
    *("config_name", "default", "name", "version", "data_dir", "data_files", "description", "features"),
    *("chunksize", "engine", "low_memory", "memory_map", "use_threads", "block_size", "verbose"),
}
# Values that change nothing; null never does, except as `header`.
_USUAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("doublequote", "keep_default_na", "na_filter", "skip_blank_lines"), (True,)),
    **dict.fromkeys(("index_col", "skipinitialspace"), (False,)),
    **dict.fromkeys(("quoting", "skiprows", "skipfooter"), (0,)),
    **{"quotechar": ('"',), "decimal": (".",), "encoding_errors": ("strict",), "on_bad_lines": ("error",)},
}


def choose_configuration(folder: Path, configuration: str | None) -> dict[str, Any] | None:
    """Return the configuration of a hub data set by its name, or the default; None if its card has none.

    In older data sets, the name is that of a description of the classes.
    """
    entries = _read_card(folder).get("configs") or []
    configurations = {str(entry.get("config_name")): entry for entry in entries if isinstance(entry, dict)}
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


def add_stated_form(where: str, stated: Mapping[str, Any], options: ReadOptions) -> ReadOptions:
    """Return the options with the form of text files that a configuration of a data set states.

    The options win. Raises UnreadableFileError if it states something that the readers do not know, or that
    is no such setting.
    """
    taken = {key: stated[key] for key in _TAKEN if stated.get(key) is not None}
    has_names = options.column_names is not None or bool({"names", "column_names"} & taken.keys())
    unknown = [
        str(key)
        for key, value in stated.items()
        if key not in (*_TAKEN, *_HARMLESS) and not _is_usual(key, value, has_names)
    ]
    if unknown:
        raise UnreadableFileError(
            f"{where}: its card, {CARD}, states {', '.join(sorted(unknown))} for its text files, which "
            "cannot be followed; fetch the files, write them as Parquet or plain CSV, and pass a folder with "
            "only these"
        )
    found = {
        _TAKEN[key]: _read_setting(where, key, value)
        for key, value in taken.items()
        if getattr(options, _TAKEN[key]) is None
    }
    return replace(options, **found)


def _is_usual(key: str, value: Any, has_names: bool) -> bool:
    """Return True if a setting says what the readers do anyway; with names, they expect no header."""
    if key == "header":
        return value == "infer" or (value is None if has_names else value == 0 and value is not False)
    return value is None or value in _USUAL.get(key, ())


def _read_setting(where: str, key: str, value: Any) -> Any:
    """Return a setting as `ReadOptions` has it. Raises UnreadableFileError."""
    option = _TAKEN[key]
    read, expected = _SETTINGS[option]
    try:
        return read(value)
    except (ConfigError, LookupError, TypeError, ValueError) as error:
        found = show_columns(map(str, value)) if isinstance(value, list | tuple) else f"{value!r:.40}"
        raise UnreadableFileError(
            f"{where}: its card, {CARD}, states {key} for its text files: expected {expected}, found "
            f"{found or 'none'}; mend the card, or pass --{option}"
        ) from error


def _read_delimiter(value: Any) -> str | None:
    if not isinstance(value, str):
        raise TypeError
    return check_delimiter(value)


def _read_encoding(value: Any) -> str:
    "a".encode(value)  # Python also has encodings that are none of texts, such as rot13
    return codecs.lookup(value).name


def _read_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError
    # YAML reads an unquoted `no` as a truth value.
    names = [str(name).strip() for name in value if type(name) in (str, int)]
    if not all(names) or len(set(names)) < max(len(value), 1):
        raise ValueError
    return tuple(names)


_SETTINGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "delimiter": (_read_delimiter, "one character or tab"),
    "encoding": (_read_encoding, "the name of a text encoding of Python"),
    "column_names": (_read_names, "a list of names that differ"),
}


def find_class_names(folder: Path, entry: dict[str, Any] | None) -> tuple[ClassNames, frozenset[str]]:
    """Return the class names by column that a hub data set states for a configuration (None: for any).

    Return also the columns that have other class names in another configuration that could be meant; they are
    not among the first.
    """
    chosen = None if entry is None else entry.get("config_name")
    found: ClassNames = {}
    unclear = set()
    for name, class_names in _list_infos(folder):
        if chosen is None or name in (None, chosen):
            for column, classes in class_names.items():
                if found.setdefault(column, classes) != classes:
                    unclear.add(column)
    clear = {column: classes for column, classes in found.items() if column not in unclear}
    return clear, frozenset(unclear)


def _list_infos(folder: Path) -> list[tuple[str | None, ClassNames]]:
    """Return the class names by column of each configuration, with its name if it has one.

    As in `datasets`, `dataset_infos.json` counts only if the card has no `dataset_info`.
    """
    described = _read_card(folder).get("dataset_info") or []
    path = folder / (CARD if described else INFOS)
    try:
        return _list_card_infos(described) if described else _list_old_infos(path)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnreadableFileError(
            f"{path}: its description of the data set cannot be understood ({type(error).__name__}), so the "
            "names of its classes are not known; mend it or remove it"
        ) from error


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
