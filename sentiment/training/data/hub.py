"""Load data from the Hugging Face hub; with HF_HUB_OFFLINE, tables from the cache of `datasets`.

`datasets` finds the files of each split, and reads those of tables. Text files are left to the readers of
this project, because `datasets` changes values: `007` becomes 7.
"""

import contextlib
import errno
import functools
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import ConfigError, MissingInputError, SentimentError, UnreadableFileError
from .card_settings import add_stated_form
from .cards import ClassNames, StatedClasses
from .source import BATCH_ROWS, Batch, Location, ReadOptions, Source
from .split_names import choose_splits
from .table_files import find_nested, to_list

_PROBE_TIMEOUT_SECONDS = 5
# The builders of text files in `datasets`, and the classes of their configurations.
_TEXT_BUILDERS = ("csv", "json", "text")
_TEXT_CONFIGS = ("CsvConfig", "JsonConfig", "TextConfig")
_HUB_FILE = re.compile(r"hf://datasets/([^@]+)@([^/]+)/(.+)")

# Returns the location of a text file, with the names of the classes of its columns.
Locate = Callable[[Path, ReadOptions, StatedClasses], Location]
# Fetches a file if need be, and returns its location.
Find = Callable[[], Location]


def is_hub_reachable() -> bool:
    """Request the hub's front page once, because the hub's own client retries for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT_SECONDS):
            return True
    except urllib.error.HTTPError:  # even an error is an answer
        return True
    except OSError:
        return False


def locate_hub_splits(
    name: str, options: ReadOptions, locate: Locate
) -> tuple[dict[str, list[Location]], list[str]]:
    """Return the locations of a data set of the hub, `name` or `name:config`, by split, and unused splits.

    With HF_HUB_OFFLINE, tables are found in the cache, text files are not. `locate` is called for text files,
    with `options` and what the data set states about their form. Raises MissingInputError if the hub does not
    answer or does not have the data set, UnreadableFileError if its files cannot be read as one table,
    ConfigError if there is no room for them.
    """
    import datasets

    repository, _, configuration = name.partition(":")
    datasets.disable_progress_bars()
    if not datasets.config.HF_HUB_OFFLINE and not is_hub_reachable():
        raise MissingInputError(
            f"no data set {name!r}: it is not a local file or folder, and the hub does not answer; set "
            "HF_HUB_OFFLINE=1 if an earlier run read its Parquet files; for text files, "
            f"{_suggest_folder(name)}; or pass --dataset_name sample (needs no hub)"
        )
    with _translate_errors(name):
        builder = _load_builder(name, configuration or None)
    if type(builder.config).__name__ in _TEXT_CONFIGS:
        by_split = _locate_text_files(name, builder, options, locate)
    else:
        _refuse_cached_text_files(name, builder)
        with _translate_errors(name):
            loaded = datasets.load_dataset(repository, configuration or None)
        by_split = {
            str(split): [functools.partial(_locate, f"{name}, split {split}", rows)]
            for split, rows in loaded.items()
        }
    splits = choose_splits(list(by_split))
    located = {split: [find() for find in by_split[theirs]] for theirs, split in splits.items()}
    return located, [f"{name}, split {theirs}" for theirs in by_split if theirs not in splits]


def _load_builder(name: str, configuration: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset_builder(name.partition(":")[0], configuration)
    except RuntimeError as error:  # `datasets` has no class for it
        raise MissingInputError(
            f"data set {name!r}: is a loading script, which is never run; look for a copy in Parquet on the "
            "hub"
        ) from error


@contextlib.contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Translate errors of `datasets` while it loads the data set `name`, by kind."""
    import datasets

    repository = name.partition(":")[0]
    try:
        yield
    except datasets.exceptions.DatasetNotFoundError as error:
        raise MissingInputError(
            f"no data set {name!r}: it is not a local file or folder, and the hub has none that you can "
            "read; check --dataset_name, or log in with `hf auth login`"
        ) from error
    except datasets.exceptions.DatasetGenerationError as error:
        raise _explain_transfer(name, error) or UnreadableFileError(
            f"data set {name!r}: its files differ in their columns or are damaged ({type(error).__name__}); "
            f"choose a configuration with --dataset_name {repository}:NAME, or pass the files of one kind"
        ) from error
    except _list_transfer_errors() as error:
        raise _explain_transfer(name, error) or MissingInputError(
            f"no data set {name!r}: it is not a local file or folder, and loading it from the hub failed "
            f"({type(error).__name__}); check --dataset_name, and if it has several configurations, pass "
            f"{repository}:NAME"
        ) from error


def _list_transfer_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    # Which HTTP library the hub's client has, and so the root of its errors, depends on the version.
    return (OSError, RuntimeError, ValueError, *HfHubHTTPError.__bases__)


def _explain_transfer(name: str, error: BaseException) -> SentimentError | None:
    """Return the error to raise if the disk is full, the hub wants credentials, or the network failed."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    chain = [error, *filter(None, [error.__cause__])]
    if any(getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for cause in chain):
        return ConfigError(
            f"data set {name!r}: there is no room for its files in the cache of the hub, "
            f"{datasets.config.HF_CACHE_HOME}; make room, or set HF_HOME to a larger file system"
        )
    if any(_find_status(cause) in (401, 403) for cause in chain):
        return MissingInputError(
            f"data set {name!r}: the hub does not let you read it ({type(error).__name__}); log in with "
            "`hf auth login`, and accept its terms on its page if it has any"
        )
    network = (ConnectionError, TimeoutError, *set(HfHubHTTPError.__bases__) - {OSError})
    if not any(isinstance(cause, network) and _find_status(cause) != 404 for cause in chain):
        return None
    if datasets.config.HF_HUB_OFFLINE:
        return MissingInputError(
            f"no data set {name!r}: HF_HUB_OFFLINE is set, and no earlier run read Parquet files of "
            f"this name; for text files, {_suggest_folder(name)}"
        )
    return MissingInputError(
        f"data set {name!r}: fetching it from the hub failed ({type(error).__name__}); check the network, "
        "and run again"
    )


def _find_status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _suggest_folder(name: str) -> str:
    return (
        f"run `hf download {name.partition(':')[0]} --repo-type dataset --local-dir FOLDER` where the hub "
        "answers, and pass FOLDER"
    )


def _locate_text_files(
    name: str, builder: Any, options: ReadOptions, locate: Locate
) -> dict[str, list[Find]]:
    """Return functions that fetch the text files of each split, so unused splits are not fetched."""
    config = builder.config
    usual = type(config)()
    # A setting with its usual value may not be stated at all.
    stated = {key: value for key, value in vars(config).items() if value != getattr(usual, key, None)}
    options = add_stated_form(f"data set {name!r}", stated, options)
    classes = StatedClasses(_find_class_names(builder.info.features or {}), place=f"data set {name!r}")

    def find(url: str) -> Location:
        return locate(_fetch(name, url), options, classes)

    return {
        str(split): [functools.partial(find, url) for url in urls]
        for split, urls in config.data_files.items()
    }


def _fetch(name: str, url: str) -> Path:
    """Download a file of a data set into the cache of the hub, and return its path there."""
    import huggingface_hub
    from huggingface_hub.utils.tqdm import disable_progress_bars

    found = _HUB_FILE.fullmatch(url)
    if found is None:
        raise MissingInputError(
            f"data set {name!r}: names a file outside the hub; fetch it yourself, and pass the file or folder"
        )
    repository, revision, path = found.groups()
    disable_progress_bars()
    try:
        file = huggingface_hub.hf_hub_download(repository, path, repo_type="dataset", revision=revision)
    except _list_transfer_errors() as error:
        raise _explain_transfer(name, error) or MissingInputError(
            f"data set {name!r}: fetching its file {path} from the hub failed ({type(error).__name__}); run "
            f"again, or {_suggest_folder(name)}"
        ) from error
    return Path(file)


def _refuse_cached_text_files(name: str, builder: Any) -> None:
    """Raise MissingInputError if `builder` has rows of text files that `datasets` read in an earlier run."""
    if builder.info.builder_name in _TEXT_BUILDERS:
        raise MissingInputError(
            f"data set {name!r}: the hub does not answer, and the cache has its text files only as "
            f"`datasets` read them, which changes values; {_suggest_folder(name)}"
        )


def _locate(name: str, rows: Any) -> Location:
    files = tuple(Path(file["filename"]) for file in rows.cache_files)
    return Location(name, files, lambda: open_dataset(name, rows))


def open_dataset(name: str, rows: Any) -> Source:
    """Return a `datasets.Dataset` as a source."""

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        for start in range(0, len(rows), BATCH_ROWS):
            batch: pa.Table = rows.with_format("arrow")[start : start + BATCH_ROWS]
            yield {column: to_list(batch.column(column)) for column in columns}

    names = _find_class_names(rows.features)
    nested = find_nested(rows.features.arrow_schema)
    return Source(name, tuple(rows.column_names), read, names, nested=nested)


def _find_class_names(features: Mapping[str, Any]) -> ClassNames:
    import datasets

    return {
        column: tuple(feature.names)
        for column, feature in features.items()
        if isinstance(feature, datasets.ClassLabel)
    }


def find_cached_or_hub(name: str) -> dict[str, Any]:
    """Return arguments for `from_pretrained`: only local files if the hub does not answer."""
    is_local = Path(name).exists() or not is_hub_reachable()
    return {"local_files_only": is_local, "trust_remote_code": False}
