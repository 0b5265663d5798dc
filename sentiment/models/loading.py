"""Verify the files of a model and load it."""

import logging
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..errors import ModelError, ModelIntegrityError, ModelLoadError, SentimentError
from . import copies, earlier, integrity, signatures
from .registry import ModelReference, resolve_model
from .requirements import REQUIREMENTS_FILE, find_mismatches

ALLOW_UNVERIFIED_VARIABLE = "SENTIMENT_ALLOW_UNVERIFIED"
VERIFY_KEY_VARIABLE = "SENTIMENT_VERIFY_KEY"
# The name under which models log (`inference.engines`), whatever the name of the package that they carry.
MODEL_LOGGER = "sentiment.model"

_log = logging.getLogger(__name__)


@runtime_checkable
class LoadedModel(Protocol):
    """Define what Spark jobs, the service, the app and score.py need from a model.

    Models logged by this version of the project implement it (`inference.pyfunc.SentimentModel`);
    `earlier.EarlierModel` implements it for older ones.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the class names, in the order of the classes."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of its predictions: `schema.PREDICTION_COLUMNS`, and perhaps further ones."""
        ...

    @property
    def engine(self) -> str:
        """Return the name of the engine that runs, such as `int8` or `gpu`."""
        ...

    @property
    def instruction_set(self) -> str:
        """Return the instruction set that the engine runs on, such as `amx`, `avx2` or `cuda`."""
        ...

    @property
    def engine_warning(self) -> str | None:
        """Return why faster engines were refused in this process; None if none was."""
        ...

    @property
    def budget_tokens(self) -> int:
        """Return the largest number of tokens in a mini-batch, padding included."""
        ...

    def row_cost(self, n_tokens: int) -> int:
        """Return how many tokens of the budget a row of `n_tokens` tokens takes, padding included."""
        ...

    def predict_columns(self, values: Sequence[Any]) -> Mapping[str, list[Any]]:
        """Return `columns` for values of any type: a list per column, an item per value."""
        ...


def check_model(
    reference: ModelReference, allow_unverified: bool = False, verify_key: str | Path | None = None
) -> None:
    """Raise ModelIntegrityError unless the model's files are safe to load; nothing of them is imported.

    They must pass `integrity.check_shape`, be those that the registry recorded
    (`allow_unverified` accepts a model without a record), and be signed by `verify_key`, a public key's PEM
    file, if there is one. Raises ConfigError for a key that cannot be used.
    """
    with _name_by_uri(reference):
        integrity.check_shape(reference.folder)
        if reference.files is not None:
            integrity.check_files(reference.folder, reference.files)
        if verify_key:
            signatures.check_signature(reference.folder, reference.signature, Path(verify_key))
    if reference.files is None and not allow_unverified:
        raise ModelIntegrityError(
            f"{reference.uri!r}: the registry has no record of this model's files, so anyone may "
            "have written them; fine-tune and register it again, look at its files and record them with "
            "`sentiment.models.registry.record_model(name, version)`, or, if you trust them, pass "
            f"--allow_unverified ({ALLOW_UNVERIFIED_VARIABLE}=1)"
        )


def load_model(
    model: str | Path | ModelReference,
    options: Mapping[str, Any] | None = None,
    allow_unverified: bool = False,
    verify_key: str | Path | None = None,
) -> LoadedModel:
    """Check a model (`check_model`) and load it; its weights leave the disk when the result is deleted.

    `options` override its model config (`engine`, `cascade`, `device`, `threads`, `min_score`, …).
    Raises ModelNotFoundError if there is none, RegistryError if the registry does not answer,
    ModelIntegrityError if it must not be loaded, ModelLoadError if it cannot be loaded in this process or is
    not a sentiment model; ConfigError for a key that cannot be used.
    """
    reference = model if isinstance(model, ModelReference) else resolve_model(str(model))
    try:
        check_model(reference, allow_unverified, verify_key)
        with _name_by_uri(reference):
            loaded = load_checked(reference.folder, options)
    except SentimentError:
        copies.release(reference.folder)
        raise
    # At exit `copies` removes the whole folder.
    weakref.finalize(loaded, copies.release, reference.folder).atexit = False
    return loaded


def load_checked(folder: Path, options: Mapping[str, Any] | None = None) -> LoadedModel:
    """Load a model whose files have been checked, and which nobody else can change.

    Warns about libraries of other versions than the model was logged with. Raises ModelLoadError.
    """
    if mismatches := find_mismatches(folder):
        _log.warning(
            "the model at %s was logged with other versions than are installed here: %s", folder, mismatches
        )
    chosen = dict(options or {})
    # True if an older version of this package logged the model.
    is_earlier = earlier.is_earlier(folder)
    # An older model does not know these options; MLflow would drop them and warn.
    rules = earlier.take_rules(chosen, folder) if is_earlier else earlier.Rules()
    safe = earlier.find_safe_engine(folder) if is_earlier and chosen.get("engine", "auto") == "auto" else None
    if safe is not None:
        chosen["engine"] = safe[0]
        logging.getLogger(MODEL_LOGGER).warning("%s", safe[1])
    try:
        pyfunc = earlier.load_pyfunc(folder, chosen or None)
        python_model = pyfunc.unwrap_python_model()
    # Loading runs the model's own code, which may raise anything.
    except Exception as error:
        raise ModelLoadError(
            f"the model at {str(folder)!r} could not be loaded: {type(error).__name__}: {error}; "
            f"see {REQUIREMENTS_FILE} among its files for its requirements"
        ) from error
    if is_earlier:
        return earlier.EarlierModel(pyfunc, python_model, rules, safe[1] if safe else None)
    return _require_sentiment_model(python_model, folder)


@contextmanager
def _name_by_uri(reference: ModelReference) -> Iterator[None]:
    """Name the model by its URI in errors, since the path of its private copy means nothing to a reader."""
    try:
        yield
    except ModelError as error:
        raise type(error)(str(error).replace(str(reference.folder), reference.uri)) from error


def allows_unverified() -> bool:
    """Return whether SENTIMENT_ALLOW_UNVERIFIED is 1."""
    return os.environ.get(ALLOW_UNVERIFIED_VARIABLE) == "1"


def find_verify_key() -> str | None:
    """Return the public key's file that the environment names, None if it names none."""
    return os.environ.get(VERIFY_KEY_VARIABLE) or None


def silence_engine_warning() -> None:
    """Keep models from logging their `engine_warning`: the caller reports it."""
    logging.getLogger(MODEL_LOGGER).setLevel(logging.ERROR)


def _require_sentiment_model(python_model: object, folder: Path) -> LoadedModel:
    if not isinstance(python_model, LoadedModel):
        offered = [name for name in vars(LoadedModel) if not name.startswith("_")]
        missing = sorted(name for name in offered if not hasattr(python_model, name))
        raise ModelLoadError(
            f"the model at {str(folder)!r} is not a sentiment model: expected one that offers "
            f"{', '.join(offered)}, found no {', '.join(missing)}; pass the URI of a model that "
            "jobs/finetune.py registered"
        )
    return python_model
