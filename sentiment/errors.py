"""Define the project's errors as one tree.

::

    SentimentError                      exit 1
    ├── ConfigError                     exit 2   arguments or configuration
    ├── InputError                      exit 3   input data that cannot be used
    │   ├── MissingInputError
    │   ├── UnreadableFileError
    │   ├── EmptyInputError
    │   ├── SchemaMismatchError
    │   ├── BadFilesError                        some files; the rest was scored
    │   └── UnusableLabelsError
    ├── ModelError                      exit 4   a model that cannot be used
    │   ├── ModelNotFoundError
    │   ├── ModelLoadError
    │   ├── ModelIntegrityError                  not the files that were registered, or unsafe to load
    │   └── EncoderUnavailableError
    ├── StoreError                      exit 1
    │   └── StoreLockedError            exit 5   another run holds the store
    ├── GateError                       exit 6   a quality gate said no
    │   └── HeldBatchError                       a batch is staged, and not published
    └── ScoringError                    exit 1   a Spark run that failed

A message is one line that says what is wrong, where, what was expected, what was found and what to
do next. It never contains review text.
"""

from collections.abc import Mapping
from typing import Any


class SentimentError(Exception):
    """Root of the tree; `exit_code` is what a job returns for it.

    `summary` is that of a job which did part of its work before it failed.
    """

    exit_code = 1

    def __init__(self, message: str, summary: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.summary = summary


class ConfigError(SentimentError):
    """An argument or a configuration value is unknown, missing or out of range."""

    exit_code = 2


class InputError(SentimentError):
    """The input data cannot be used."""

    exit_code = 3


class MissingInputError(InputError):
    """There is nothing at the input path."""


class UnreadableFileError(InputError):
    """An input file is empty, damaged or of another format."""


class EmptyInputError(InputError):
    """The input has no rows."""


class SchemaMismatchError(InputError):
    """A column is missing or has a type that cannot be used."""


class BadFilesError(InputError):
    """More files than allowed cannot be used; what is in the others was scored and published."""


class UnusableLabelsError(InputError):
    """The labels cannot be understood, or do not contain both classes."""


class ModelError(SentimentError):
    """The model cannot be used."""

    exit_code = 4


class ModelNotFoundError(ModelError):
    """Nothing is registered or stored under the model URI."""


class ModelLoadError(ModelError):
    """The model was found and could not be loaded."""


class ModelIntegrityError(ModelError):
    """The model's files are not those that were registered, or are of a kind that must not be loaded."""


class EncoderUnavailableError(ModelError):
    """The pre-trained encoder to start from could not be fetched or read."""


class StoreError(SentimentError):
    """The scored table could not be written."""


class StoreLockedError(StoreError):
    """Another run is writing the same store."""

    exit_code = 5


class GateError(SentimentError):
    """A quality gate refused a result."""

    exit_code = 6


class HeldBatchError(GateError):
    """Too many rows of a batch were rejected: it stays staged, to be looked at, until the next run."""


class ScoringError(SentimentError):
    """A distributed run failed for a reason that is not the input's, the model's or the store's."""
