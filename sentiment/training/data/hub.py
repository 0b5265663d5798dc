"""Load data from the Hugging Face hub, or from its cache if the hub does not answer."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import MissingInputError

_PROBE_TIMEOUT_SECONDS = 5


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


def load_hub_splits(name: str) -> dict[str, pd.DataFrame]:
    """Load the splits of a data set from the hub; with HF_HUB_OFFLINE, from the local cache.

    Raises MissingInputError if the hub does not answer or does not have the data set.
    """
    import datasets

    if not datasets.config.HF_HUB_OFFLINE and not is_hub_reachable():
        raise MissingInputError(
            f"no data set {name!r}: it is not a local file or folder, and the hub does not answer; pass "
            "--dataset_name sample (needs no hub) or a Parquet, CSV or JSONL file"
        )
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name)
    except (OSError, ValueError) as error:  # errors of the library are subclasses of these
        raise MissingInputError(
            f"no data set {name!r}: it is not a local file or folder, and loading it from the hub failed "
            f"({type(error).__name__}); check --dataset_name"
        ) from error
    return {str(split): name_classes(rows) for split, rows in loaded.items()}


def name_classes(rows: Any) -> pd.DataFrame:
    """Return the rows of a `datasets.Dataset`, with class names instead of numbers; -1 becomes null.

    Data sets number their classes in any order, so only the names are reliable.
    """
    import datasets

    frame: pd.DataFrame = rows.to_pandas()
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.ClassLabel):
            frame[column] = frame[column].map(dict(enumerate(feature.names)))
    return frame


def find_cached_or_hub(name: str) -> dict[str, Any]:
    """Return arguments for `from_pretrained`: only local files if the hub does not answer."""
    is_local = Path(name).exists() or not is_hub_reachable()
    return {"local_files_only": is_local, "trust_remote_code": False}
