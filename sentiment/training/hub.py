"""The one place that talks to the Hugging Face hub, which may not answer."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ..errors import MissingInputError

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


def load_hub_dataset(name: str) -> Any:
    """The `datasets.DatasetDict` of that name, from the hub or from what an earlier run cached.

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
        return datasets.load_dataset(name)
    except (OSError, ValueError) as error:  # the library's own errors are subclasses of these
        raise MissingInputError(
            f"no data set {name!r}: not a file or folder here, and the hub gave {type(error).__name__}"
        ) from error


def find_cached_or_hub(name: str) -> dict[str, Any]:
    """Arguments for `from_pretrained` that keep it from waiting for a hub that does not answer."""
    is_local = Path(name).exists() or not is_hub_reachable()
    return {"local_files_only": is_local, "trust_remote_code": False}
