"""Load data from the Hugging Face hub, or from its cache if the hub does not answer."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import MissingInputError, UnreadableFileError
from .source import BATCH_ROWS, Batch, Location, Source
from .table_files import to_list

_PROBE_TIMEOUT_SECONDS = 5
_PANDAS_INDEX = "__index_level_0__"


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


def locate_hub_splits(name: str) -> dict[str, Location]:
    """Load the splits of a data set of the hub, `name` or `name:config`; with HF_HUB_OFFLINE, from the cache.

    Raises MissingInputError if the hub does not answer or does not have the data set, UnreadableFileError if
    its files cannot be read as one table.
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
        # By default pandas reads the texts "N/A" and "None" of a CSV file as null.
        is_csv = type(builder.config).__name__ == "CsvConfig"
        options = {"keep_default_na": False, "na_values": [""]} if is_csv else {}
        loaded = datasets.load_dataset(repository, configuration or None, **options)
    # pandas takes the first values for an index if rows have more values than the header.
    if is_csv and any(_PANDAS_INDEX in rows.column_names for rows in loaded.values()):
        raise UnreadableFileError(
            f"data set {name!r}: rows of a CSV file have more values than its header, so its columns are "
            f"shifted; fetch the files with `hf download {repository} --repo-type dataset`, and "
            "pass their folder"
        )
    return {str(split): _locate(f"{name}, split {split}", rows) for split, rows in loaded.items()}


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


def _locate(name: str, rows: Any) -> Location:
    files = tuple(Path(file["filename"]) for file in rows.cache_files)
    return Location(name, files, lambda: open_dataset(name, rows))


def open_dataset(name: str, rows: Any) -> Source:
    """Return a `datasets.Dataset` as a source."""
    import datasets

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        for start in range(0, len(rows), BATCH_ROWS):
            batch: pa.Table = rows.with_format("arrow")[start : start + BATCH_ROWS]
            yield {column: to_list(batch.column(column)) for column in columns}

    class_names = {
        column: tuple(feature.names)
        for column, feature in rows.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    return Source(name, tuple(rows.column_names), read, class_names)


def find_cached_or_hub(name: str) -> dict[str, Any]:
    """Return arguments for `from_pretrained`: only local files if the hub does not answer."""
    is_local = Path(name).exists() or not is_hub_reachable()
    return {"local_files_only": is_local, "trust_remote_code": False}
