"""From a model in the registry to one that answers: its files checked, its code imported as recorded."""

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from . import integrity, signatures
from .carried import importing_recorded
from .errors import ModelIntegrityError, ModelLoadError
from .registry import ModelReference, import_mlflow, resolve_model
from .requirements import REQUIREMENTS_FILE, find_mismatches

ALLOW_UNVERIFIED_VARIABLE = "SENTIMENT_ALLOW_UNVERIFIED"
VERIFY_KEY_VARIABLE = "SENTIMENT_VERIFY_KEY"
# Models log under this name (`inference.engines`), whatever the package is called that they carry.
MODEL_LOGGER = "sentiment.model"

_log = logging.getLogger(__name__)


class LoadedModel(Protocol):
    """What `load_model` returns: an `mlflow.pyfunc.PyFuncModel`."""

    def predict(self, data: Any) -> pd.DataFrame: ...


def check_model(
    reference: ModelReference, allow_unverified: bool = False, verify_key: str | Path | None = None
) -> None:
    """Raise ModelIntegrityError unless the model's files are safe to load; nothing of them is imported.

    They must have the shape of every model (`integrity.check_shape`); be those that the registry recorded,
    where only the absence of a record can be allowed; and be signed by `verify_key`, a public key's PEM
    file, if there is one. Raises ConfigError for a key that cannot be used.
    """
    _check_unsigned(reference, allow_unverified)
    if verify_key:
        signatures.check_signature(reference.folder, reference.signature, Path(verify_key))


def load_model(
    model: str | Path | ModelReference,
    options: Mapping[str, Any] | None = None,
    allow_unverified: bool = False,
    verify_key: str | Path | None = None,
) -> LoadedModel:
    """Check a pyfunc (`check_model`) and load it.

    `options` override its model config (`engine`, `cascade`, `device`, `threads`, …). Raises
    ModelNotFoundError if there is none, ModelIntegrityError if it must not be loaded, ModelLoadError if it
    cannot be loaded in this process.
    """
    reference = model if isinstance(model, ModelReference) else resolve_model(str(model))
    check_model(reference, allow_unverified, verify_key)
    return load_checked(reference.folder, reference.files, options)


def load_checked(
    folder: Path, files: Mapping[str, str] | None, options: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Load a model whose files were checked just now; `files` is their record, None if there is none.

    Each module of a recorded model is compared once more as it is imported. Libraries of other versions than
    the model was logged with are a warning. Raises ModelLoadError or ModelIntegrityError.
    """
    mlflow = import_mlflow()
    if mismatches := find_mismatches(folder):
        _log.warning(
            "the model at %s was logged with other versions than are installed here: %s", folder, mismatches
        )
    guard = contextlib.nullcontext(folder) if files is None else importing_recorded(folder, files)
    try:
        with guard as place:
            model: LoadedModel = mlflow.pyfunc.load_model(
                str(place), suppress_warnings=True, model_config=dict(options or {}) or None
            )
    except ModelIntegrityError:
        raise
    # Loading runs the model's own code, which may raise anything; all of it means one thing here.
    except Exception as error:
        if refusal := _find_cause(error, ModelIntegrityError):
            raise refusal from error
        raise ModelLoadError(
            f"the model at {str(folder)!r} could not be loaded: {type(error).__name__}: {error}; "
            f"its requirements are in {REQUIREMENTS_FILE} beside it"
        ) from error
    return model


def allows_unverified() -> bool:
    """Whether the environment says so: SENTIMENT_ALLOW_UNVERIFIED is 1."""
    return os.environ.get(ALLOW_UNVERIFIED_VARIABLE) == "1"


def find_verify_key() -> str | None:
    """The public key's file that the environment names, None if it names none."""
    return os.environ.get(VERIFY_KEY_VARIABLE) or None


def name_engine(model: LoadedModel) -> str:
    """Which engine a loaded model runs, such as `int8` or `gpu`; `unknown` if it is of a kind without."""
    return str(getattr(unwrap_python_model(model), "engine", "unknown"))


def name_instruction_set(model: LoadedModel) -> str:
    """Return the instruction set that a loaded model's engine runs on, such as `amx`, else `unknown`."""
    return str(getattr(unwrap_python_model(model), "instruction_set", "unknown"))


def find_engine_warning(model: LoadedModel) -> str | None:
    """Return why a faster engine of the model does not run in this process; None if the intended one does."""
    warning = getattr(unwrap_python_model(model), "engine_warning", None)
    return None if warning is None else str(warning)


def silence_engine_warning() -> None:
    """Keep models from logging the warning that `find_engine_warning` gives: the caller reports it."""
    logging.getLogger(MODEL_LOGGER).setLevel(logging.ERROR)


def find_budget_tokens(model: LoadedModel) -> int:
    """Tokens of a mini-batch that suits a loaded model's engine; 512 if it does not say."""
    return int(getattr(unwrap_python_model(model), "budget_tokens", 512))


def find_step_tokens(model: LoadedModel) -> int:
    """What a loaded model's engine pads a row to a multiple of; 32 tokens if it does not say."""
    return int(getattr(unwrap_python_model(model), "step_tokens", 32))


def unwrap_python_model(model: LoadedModel) -> Any:
    """The Python model inside the pyfunc, None if it is of another kind."""
    unwrap = getattr(model, "unwrap_python_model", None)
    return unwrap() if unwrap is not None else None


def _check_unsigned(reference: ModelReference, allow_unverified: bool) -> None:
    integrity.check_shape(reference.folder)
    if reference.files is not None:
        integrity.check_files(reference.folder, reference.files)
    elif not allow_unverified:
        raise ModelIntegrityError(
            f"{reference.uri!r}: the registry has no record of this model's files, so they may be anyone's; "
            "fine-tune and register it anew, look at its files and record them with "
            "`sentiment.registry.record_model(name, version)`, or, if you trust them, pass "
            f"--allow_unverified ({ALLOW_UNVERIFIED_VARIABLE}=1)"
        )


def _find_cause(error: BaseException | None, kind: type[ModelIntegrityError]) -> ModelIntegrityError | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
