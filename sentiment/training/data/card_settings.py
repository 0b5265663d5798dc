"""Follow the settings that the card of a data set states for its files, or refuse them."""

import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ConfigError, UnreadableFileError
from ...schema import show_columns
from .cards import CARD
from .csv_files import check_delimiter
from .source import ReadOptions

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


def refuse_filters(where: str, stated: Mapping[str, Any]) -> None:
    """Raise UnreadableFileError if a configuration leaves out rows of its tables, such as Parquet files."""
    if stated.get("filters") is not None:
        raise _make_error(where, ["filters"], "files")


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
        raise _make_error(where, unknown, "text files")
    found = {
        _TAKEN[key]: _read_setting(where, key, value)
        for key, value in taken.items()
        if getattr(options, _TAKEN[key]) is None
    }
    return replace(options, **found)


def _make_error(where: str, settings: Sequence[str], kind: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"{where}: its card, {CARD}, states {', '.join(sorted(settings))} for its {kind}, which cannot be "
        "followed; fetch the files, write them as Parquet or plain CSV, and pass a folder with only these"
    )


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
