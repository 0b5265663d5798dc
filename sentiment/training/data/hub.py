"""Load data from the Hugging Face hub, or from its cache if the hub does not answer.

`datasets` finds the files of each split, and reads those of tables. Text files are left to the readers of
this project, because pandas changes values: `007` becomes 7.
"""

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import MissingInputError, UnreadableFileError
from .cards import ClassNames, add_stated_form
from .source import BATCH_ROWS, Batch, Location, ReadOptions, Source
from .table_files import to_list

_PROBE_TIMEOUT_SECONDS = 5
_CSV = "csv"
# The classes of the configurations of text files in `datasets`.
_TEXT_CONFIGS = ("CsvConfig", "JsonConfig", "TextConfig")
_HUB_FILE = re.compile(r"hf://datasets/([^@]+)@([^/]+)/(.+)")

# Returns the location of a text file, with the names of the classes of its columns.
Locate = Callable[[Path, ReadOptions, ClassNames], Location]


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


def locate_hub_splits(name: str, options: ReadOptions, locate: Locate) -> dict[str, list[Location]]:
    """Load the splits of a data set of the hub, `name` or `name:config`; with HF_HUB_OFFLINE, from the cache.

    `locate` is called for text files, with `options` and what the data set states about their form. Raises
    MissingInputError if the hub does not answer or does not have the data set, UnreadableFileError if its
    files cannot be read as one table.
    """
    import datasets

    repository, _, configuration = name.partition(":")
    datasets.disable_progress_bars()
    with _translate_errors(name, repository):
        if not datasets.config.HF_HUB_OFFLINE and not is_hub_reachable():
            raise MissingInputError(
                f"no data set {name!r}: it is not a local file or folder, and the hub does not answer; set "
                "HF_HUB_OFFLINE=1 if it is in the cache, or pass --dataset_name sample (needs no hub) or a "
                "file"
            )
        builder = datasets.load_dataset_builder(repository, configuration or None)
        if type(builder.config).__name__ in _TEXT_CONFIGS:
            return _locate_text_files(name, builder, options, locate)
        _refuse_cached_csv(name, builder)
        loaded = datasets.load_dataset(repository, configuration or None)
    return {str(split): [_locate(f"{name}, split {split}", rows)] for split, rows in loaded.items()}


@contextlib.contextmanager
def _translate_errors(name: str, repository: str) -> Iterator[None]:
    """Translate errors of `datasets` while it loads the data set `name`, by kind."""
    import datasets

    try:
        yield
    except datasets.exceptions.DatasetNotFoundError as error:
        raise MissingInputError(
            f"no data set {name!r}: it is not a local file or folder, and the hub has none that you can "
            "read; check --dataset_name, or log in with `hf auth login`"
        ) from error
    except datasets.exceptions.DatasetGenerationError as error:
        raise UnreadableFileError(
            f"data set {name!r}: its files differ in their columns or are damaged ({type(error).__name__}); "
            f"choose a configuration with --dataset_name {repository}:NAME, or pass the files of one kind"
        ) from error
    except RuntimeError as error:  # `datasets` has no class for it
        raise MissingInputError(
            f"data set {name!r}: is a loading script, which is never run; look for a copy in Parquet on the "
            "hub"
        ) from error
    except (OSError, ValueError) as error:
        raise MissingInputError(
            f"no data set {name!r}: it is not a local file or folder, and loading it from the hub failed "
            f"({type(error).__name__}); check --dataset_name, and if it has several configurations, pass "
            f"{repository}:NAME"
        ) from error


def _locate_text_files(
    name: str, builder: Any, options: ReadOptions, locate: Locate
) -> dict[str, list[Location]]:
    config = builder.config
    usual = type(config)()
    # A setting with its usual value may not be stated at all.
    stated = {key: value for key, value in vars(config).items() if value != getattr(usual, key, None)}
    options = add_stated_form(f"data set {name!r}", stated, options)
    class_names = _find_class_names(builder.info.features or {})
    return {
        str(split): [locate(_fetch(name, url), options, class_names) for url in urls]
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
    return Path(huggingface_hub.hf_hub_download(repository, path, repo_type="dataset", revision=revision))


def _refuse_cached_csv(name: str, builder: Any) -> None:
    """Raise MissingInputError if `builder` has rows of CSV files that pandas read in an earlier run."""
    if builder.info.builder_name == _CSV:
        raise MissingInputError(
            f"data set {name!r}: the hub does not answer, and the cache has its CSV files only as pandas "
            "read them, which changes values; where the hub answers, run `hf download "
            f"{name.partition(':')[0]} --repo-type dataset --local-dir FOLDER`, and pass FOLDER"
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

    return Source(name, tuple(rows.column_names), read, _find_class_names(rows.features))


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
