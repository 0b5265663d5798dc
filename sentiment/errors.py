"""Define the errors of the project; the exit code of a job is the `exit_code` of its error.

A message is one line: what is wrong and where, what was expected and found, and what to do next. It never
contains review text.
"""

from collections.abc import Mapping
from typing import Any


class SentimentError(Exception):
    """Root of all errors; `summary` is set by a job that did part of its work before it failed."""

    exit_code = 1
    # True if another process of the same run has reported the error.
    is_reported = False

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
    """The input path does not exist, or contains no data."""


class UnreadableFileError(InputError):
    """An input file is empty, damaged or in an unexpected format."""


class EmptyInputError(InputError):
    """The input has no rows."""


class SchemaMismatchError(InputError):
    """A column is missing or has a type that cannot be used."""


class AmbiguousInputError(InputError):
    """The input can be read in more than one way; the message names the argument that decides."""


class BadFilesError(InputError):
    """More files than allowed cannot be used; the rows of the other files were scored and published."""


class UnusableLabelsError(InputError):
    """The labels cannot be interpreted, or a class has no review."""


class ModelError(SentimentError):
    """The model cannot be used."""

    exit_code = 4


class ModelNotFoundError(ModelError):
    """There is no model at the model URI."""


class RegistryError(ModelError):
    """The tracking server or its database does not answer, or refuses the credentials."""


class ModelLoadError(ModelError):
    """The model exists but could not be loaded."""


class ModelIntegrityError(ModelError):
    """The files of the model differ from those registered, or are unsafe to load."""


class AliasMovedError(ModelError):
    """Another promotion, or another tool, moved the alias while this one was judged."""

    exit_code = 5


class EncoderUnavailableError(ModelError):
    """The pre-trained encoder could not be fetched or read."""


class UnusableClassifierError(ModelError):
    """The classifier to adopt has no label per text, has no head, or is unsafe to load."""


class TrainingError(SentimentError):
    """Training failed, and not because of the data or the encoder."""


class DivergedError(TrainingError):
    """The loss is no longer a finite number: the learning rate is too high."""


class CheckpointError(TrainingError):
    """A checkpoint could not be written."""


class RunLockedError(TrainingError):
    """Another process trains the same configuration on the same data."""

    exit_code = 5


class LostProcessError(TrainingError):
    """Another process of the same run has ended; its error, or the launcher, states why."""

    is_reported = True


class ObjectStoreError(SentimentError):
    """An object store does not answer, refuses the credentials, or has no such bucket."""

    exit_code = 3


class StoreError(SentimentError):
    """The store could not be read or written."""


class StoreLockedError(StoreError):
    """Another run is writing to the same store."""

    exit_code = 5


class GateError(SentimentError):
    """A quality gate refused a result."""

    exit_code = 6


class HeldBatchError(GateError):
    """Too many rows of a batch were rejected; the batch stays staged for inspection until the next run."""


class RefusedChallengerError(GateError):
    """A gate refused the challenger; the alias stays where it is."""


class LostJobError(SentimentError):
    """A job that runs as a process of its own was killed, or ended without writing its error."""


class ScoringError(SentimentError):
    """A Spark run failed, and not because of the input, the model or the store."""


class MonitoringError(SentimentError):
    """The results of a night could not be made or delivered; its scores are published."""
