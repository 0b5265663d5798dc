"""The one place that talks to the Hugging Face hub, which may not answer."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import MissingInputError

_PROBE_TIMEOUT_SECONDS = 5


def is_hub_reachable() -> bool:
    """Ask the hub for its front page once: the hub's own client would retry for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT_SECONDS):
            return True
    except urllib.error.HTTPError:  # it answered
        return True
    except OSError:
        return False


def load_hub_splits(name: str) -> dict[str, pd.DataFrame]:
    """Load the splits of a data set by name, from the hub or from what an earlier run cached.

    A label that is stored as a number with names is given as its name: in which order a data set
    numbers its classes is its own affair.

    Raises MissingInputError if the hub does not answer, or does not know it.
    """
    import datasets

    # Whoever sets HF_HUB_OFFLINE means the library's own cache.
    if not datasets.config.HF_HUB_OFFLINE and not is_hub_reachable():
        raise MissingInputError(
            f"no data set {name!r}: there is no such file or folder here, and no hub answers that could "
            "have it; pass --dataset_name sample (needs no hub) or a Parquet, CSV or JSONL file"
        )
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name)
    except (OSError, ValueError) as error:  # the library's own errors are subclasses of these
        raise MissingInputError(
            f"no data set {name!r}: not a file or folder here, and the hub gave {type(error).__name__}"
        ) from error
    return {str(split): name_classes(rows) for split, rows in loaded.items()}


def name_classes(rows: Any) -> pd.DataFrame:
    """Return the rows of a `datasets.Dataset`, its class numbers replaced by their names; -1 means null."""
    import datasets

    frame: pd.DataFrame = rows.to_pandas()
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.ClassLabel):
            frame[column] = frame[column].map(dict(enumerate(feature.names)))
    return frame


def find_cached_or_hub(name: str) -> dict[str, Any]:
    """Arguments for `from_pretrained` that keep it from waiting for a hub that does not answer."""
    is_local = Path(name).exists() or not is_hub_reachable()
    return {"local_files_only": is_local, "trust_remote_code": False}
