"""Start a training: connect its processes, load the encoder, read the reviews."""

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from ..cli import Progress
from ..config import FinetuneConfig
from ..errors import ConfigError
from ..models import registry
from ..models.signatures import check_signing_key
from . import processes
from .data.reading import LabelledReviews, load_labelled_reviews, make_format
from .encoders import Encoder, load_encoder
from .layers import get_first_layers, get_layers
from .rehearsal import rehearse
from .runs import list_params
from .unlabelled import UnlabelledReviews, read_unlabelled


def connect(config: FinetuneConfig, progress: Progress) -> None:
    """Connect the processes of this run. Raises ConfigError if they cannot work together."""
    n_processes = processes.count_processes()
    if n_processes > 1 and config.unlabelled is not None and config.checkpoint_dir is None:
        raise ConfigError("checkpoint_dir: expected a folder that all processes share, found none; pass one")
    if n_processes > 1:
        progress("waiting for all processes", 0, 1, f"{n_processes} expected")
    processes.connect()


def load_first_encoder(config: FinetuneConfig) -> Encoder:
    """Check the signing key, the MLflow store and the names in it, and load the encoder to start from.

    Raises ConfigError if `lr_decay` or `trained_layers` does not go with it.
    """
    with processes.sharing_errors():
        if config.signing_key is not None:
            check_signing_key(Path(config.signing_key))
        if processes.get_rank() == 0:
            registry.open_experiment(config.experiment, list_params(config))
            registry.check_name(config.registered_model_name)
        encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
        if config.lr_decay < 1:
            get_layers(encoder.model)
        if config.trained_layers is not None:
            get_first_layers(encoder.model, config.trained_layers)
        return encoder


def read_reviews(config: FinetuneConfig, progress: Progress) -> LabelledReviews:
    """Read the reviews in the main process; the others find them in the cache of prepared data.

    A process on another machine reads the files there. Raises ConfigError if they are others.
    """
    progress("reading reviews", 0, 1, config.dataset_name)
    read: list[LabelledReviews] = []

    def tell(rows: int, file: str) -> None:
        progress("reading reviews", 0, 0, f"{rows:,} rows, {file}")

    processes.share(lambda: read.append(load_labelled_reviews(config, tell)))
    with processes.sharing_errors():
        reviews = read[0] if read else load_labelled_reviews(config)
    digests = {"reviews": reviews.digest, "class names": _digest_names(reviews.label_names)}
    processes.check_same(f"dataset_name {config.dataset_name!r}", digests)
    return reviews


def _digest_names(names: tuple[str, ...]) -> str:
    """Return a digest of the class names in order: a message must not show names, which may be texts."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def with_labels(encoder: Encoder, labels: tuple[str, ...], config: FinetuneConfig) -> Encoder:
    """Return the encoder with a head for these labels. It is loaded before they are known, to fail early."""
    if labels == encoder.labels:
        return encoder
    return load_encoder(config.distilbert_model, config.max_length, config.seed, labels)


def find_unlabelled(
    config: FinetuneConfig, reviews: LabelledReviews, stack: ExitStack, progress: Progress
) -> UnlabelledReviews | None:
    """Read the reviews without labels, if the configuration names some, into a folder of `stack`."""
    if config.unlabelled is None:
        return None
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="sentiment-unlabelled-")))
    return read_unlabelled(config.unlabelled, reviews, folder, make_format(config), progress)


def try_encoder(encoder: Encoder, config: FinetuneConfig, progress: Progress) -> tuple[str, ...]:
    """Run and export the untrained encoder in the main process; return notes on what is not used of it."""
    problem = None
    if processes.get_rank() == 0:
        progress("trying the encoder", 0, 1, config.distilbert_model)
        problem = rehearse(encoder, config.max_length, config.truncation)
    slow = () if problem is None else (f"the model runs on the engine `reference`: {problem}",)
    return (*encoder.notes, *slow)
