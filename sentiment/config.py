"""Hold the configuration of each job: one frozen dataclass, filled from YAML and arguments, checked once."""

import dataclasses
import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml
from pydantic import Field
from pydantic.dataclasses import dataclass

from .errors import ConfigError

Config = TypeVar("Config")

# Batch, online and the dashboard score with it unless a URI is given.
DEFAULT_MODEL_URI = "models:/sentiment@champion"
# The name of the embedded reviews, in the place of a path.
SAMPLE = "sample"

_STRICT_KEYS = pydantic.ConfigDict(extra="forbid")
_Positive = Field(gt=0)


def _check_alias(alias: str | None) -> str | None:
    if alias is not None and re.fullmatch(r"latest|[vV]\d+", alias):
        raise ValueError("MLflow keeps this name for itself")
    return alias


def _read_off(value: object) -> object:
    """YAML reads a plain `off` as false."""
    return "off" if value is False else value


def _check_day(day: str | None) -> str | None:
    if day is not None:
        datetime.date.fromisoformat(day)
    return day


def _read_day(value: object) -> object:
    """YAML reads a plain 2026-01-31 as a date."""
    return str(value) if isinstance(value, datetime.date) else value


_Engine = Annotated[
    Literal["auto", "gpu", "int8_static", "int8", "bf16", "f32", "reference"],
    Field(description="what runs the encoder; auto: the GPU, else what the model carries for a CPU"),
]
_Cascade = Annotated[
    Literal["off", "auto"] | None,
    Field(description="off: the encoder scores every review (default: as the model was logged)"),
    pydantic.BeforeValidator(_read_off),
]
_MaxTextChars = Annotated[
    int | None, _Positive, Field(description="a longer text is a reject (default: as the model was logged)")
]
_Day = Annotated[str | None, pydantic.AfterValidator(_check_day), pydantic.BeforeValidator(_read_day)]


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class FinetuneConfig:
    """Fine-tuning, evaluation, packaging and registration of one model."""

    lr: Annotated[float, _Positive, Field(description="learning rate at its peak")] = 2e-5
    epochs: Annotated[float, _Positive, Field(description="passes over the training rows")] = 2
    train_batch_size: Annotated[int, _Positive, Field(description="reviews per training step")] = 16
    eval_batch_size: Annotated[int, _Positive, Field(description="reviews per evaluation step")] = 64
    dataset_name: Annotated[
        str,
        Field(
            description="a hub data set, `sample`, a Parquet/CSV/JSONL file, or a folder of them with "
            "train[/validation[/test]]"
        ),
    ] = "fancyzhx/amazon_polarity"
    text_col: Annotated[
        str | None,
        Field(description="text column, or several joined: title,content (default: content or text)"),
    ] = None
    label_col: Annotated[str, Field(description="label column")] = "label"
    distilbert_model: Annotated[
        str,
        Field(description="encoder to start from: a hub id, a local folder, or `minilm` (no hub needed)"),
    ] = "distilbert-base-uncased"
    max_length: Annotated[
        int, Field(ge=8, description="tokens of a review that the model reads, special ones included")
    ] = 256
    truncation: Annotated[
        Literal["head", "head_tail"],
        Field(description="what is kept of a longer review: its beginning, or a quarter of it and its end"),
    ] = "head"
    augment: Annotated[
        bool,
        Field(description="vary some training texts: a slip in a word, a number of stars at the end"),
    ] = False
    trained_layers: Annotated[
        int | None,
        _Positive,
        Field(description="train so many of the last layers only (default: all, and the embeddings)"),
    ] = None
    cascade: Annotated[
        Literal["off", "auto"],
        Field(description="auto: a linear stage decides the reviews it is sure of, if validation allows"),
        pydantic.BeforeValidator(_read_off),
    ] = "auto"
    max_train_samples: Annotated[
        int | None, _Positive, Field(description="train on a stratified sample of so many reviews")
    ] = None
    max_eval_samples: Annotated[
        int | None,
        _Positive,
        Field(description="validate, and test, on at most so many reviews each"),
    ] = 20_000
    seed: Annotated[int, Field(ge=0, description="seed of splits, samples and training")] = 42
    registered_model_name: Annotated[
        str, Field(pattern=r"^[^/:@.]+$", description="name in the MLflow registry")
    ] = "sentiment"
    alias: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z][\w-]*$",
            description="registry alias to give the new version, e.g. champion",
        ),
        pydantic.AfterValidator(_check_alias),
    ] = None
    experiment: Annotated[str, Field(description="MLflow experiment")] = "sentiment"
    signing_key: Annotated[
        str | None, Field(description="PEM file of a private key (elliptic curve) to sign the model with")
    ] = None


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class ScoreConfig:
    """Scoring of one Parquet table of reviews into a store of scores."""

    input: Annotated[str, Field(description="Parquet file or folder of reviews, or `sample`")]
    output: Annotated[str, Field(description="folder of the scored table")]
    model_uri: Annotated[str, Field(description="MLflow model")] = DEFAULT_MODEL_URI
    id_col: Annotated[str, Field(description="id column, or several: shop,review")] = "review_id"
    text_col: Annotated[str, Field(description="text column, or several joined: title,content")] = "text"
    rows_per_task: Annotated[
        int, _Positive, Field(description="reviews that one Spark task scores, about")
    ] = 8_000
    date_col: Annotated[
        str | None, Field(description="date column that since and until look at: dates, times or ISO strings")
    ] = None
    since: Annotated[_Day, Field(description="score only rows of this day or later, YYYY-MM-DD")] = None
    until: Annotated[_Day, Field(description="score only rows before this day")] = None
    max_rows: Annotated[
        int | None, _Positive, Field(description="take at most so many rows; the rest stays pending")
    ] = None
    rescore: Annotated[
        bool, Field(description="score also what other models have scored (default: only new reviews)")
    ] = False
    dry_run: Annotated[bool, Field(description="say what is pending, and score nothing")] = False
    chunk_rows: Annotated[
        int, _Positive, Field(description="rows published together; a run that is killed loses no more")
    ] = 200_000
    max_bad_files: Annotated[
        int,
        Field(ge=0, description="more files than these that cannot be used end the run with 3, at its end"),
    ] = 0
    max_reject_share: Annotated[
        float, Field(ge=0, le=1, description="a batch with a greater share of rejects is not published")
    ] = 0.05
    max_text_chars: _MaxTextChars = None
    worker_timeout_seconds: Annotated[
        int, _Positive, Field(description="a Python worker that gives nothing for so long is replaced")
    ] = 3600
    engine: _Engine = "auto"
    cascade: _Cascade = None
    allow_unverified: Annotated[
        bool, Field(description="load a model although the registry has no record of its files")
    ] = False
    verify_key: Annotated[
        str | None, Field(description="PEM file of a public key: refuse a model that it did not sign")
    ] = None

    @pydantic.model_validator(mode="after")
    def _check_dates(self) -> "ScoreConfig":
        if (self.since or self.until) and not self.date_col:
            raise ValueError("since and until need date_col, the column that they look at")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class ServeConfig:
    """The model behind REST: where it listens, what it takes, how much at once."""

    host: Annotated[str, Field(description="address to listen on; any but loopback demands tokens")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Field(ge=0, le=65_535, description="port; 0: any that is free")] = 8080
    model_uri: Annotated[str, Field(description="MLflow model")] = DEFAULT_MODEL_URI
    engine: _Engine = "auto"
    cascade: _Cascade = None
    streams: Annotated[
        int, Field(ge=0, description="mini-batches that a CPU computes side by side; 0: one a core")
    ] = 0
    reload_seconds: Annotated[
        float, Field(ge=0, description="how often to look for a new version of the model; 0: never")
    ] = 30
    insecure: Annotated[bool, Field(description="listen beyond loopback without tokens")] = False
    allow_unverified: Annotated[
        bool, Field(description="serve a model whose files nobody recorded in the registry")
    ] = False
    verify_key: Annotated[
        str | None, Field(description="public key that signed the model (default: SENTIMENT_VERIFY_KEY)")
    ] = None
    tokens_file: Annotated[
        str | None, Field(description="file of lines name:token (default: SENTIMENT_TOKENS_FILE)")
    ] = None
    allowed_hosts: Annotated[
        str | None, Field(description="names that the Host header may have, beside loopback's: a.org,b.org")
    ] = None
    rate_limit: Annotated[
        str | None, Field(description="requests a token may make, such as 600/minute (default: no limit)")
    ] = None
    max_body_bytes: Annotated[int, _Positive, Field(description="a larger body is refused")] = 2_000_000
    max_texts: Annotated[int, _Positive, Field(description="a list of more texts is refused")] = 256
    max_text_chars: _MaxTextChars = None
    max_json_depth: Annotated[int, Field(gt=1, le=200, description="deeper JSON is refused")] = 32
    max_connections: Annotated[int, _Positive, Field(description="more are closed at once")] = 512
    header_seconds: Annotated[float, _Positive, Field(description="to send a request's head in")] = 5
    body_seconds: Annotated[
        float, _Positive, Field(description="to send a body in, or a line of a stream")
    ] = 10
    request_seconds: Annotated[float, _Positive, Field(description="to answer a request in")] = 30
    max_wait_seconds: Annotated[
        float, _Positive, Field(description="a request that would wait longer for its turn is refused")
    ] = 0.5
    drain_seconds: Annotated[float, Field(ge=0, description="to finish what runs in, when told to stop")] = 20


def load_config(config_class: type[Config], path: Path | None, arguments: Mapping[str, Any]) -> Config:
    """Build a config from the YAML file at `path` (None: no file) and arguments, which win.

    `arguments` maps field names to values; None means not given. Raises ConfigError for a file that
    cannot be read, an unknown key, a missing value and a value of the wrong type or out of range.
    """
    values = {**_read_yaml(path), **{k: v for k, v in arguments.items() if v is not None}}
    try:
        return config_class(**values)
    except pydantic.ValidationError as error:
        raise ConfigError(_describe(error, config_class, path)) from error


def config_fields(config_class: type) -> tuple["dataclasses.Field[Any]", ...]:
    """Return the fields of a config class, in order."""
    return dataclasses.fields(config_class)


def _read_yaml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{path}, line {line + 1}" if line is not None else str(path)
        raise ConfigError(f"{where}: not valid YAML; expected lines of `key: value`") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected lines of `key: value`, found a {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def _describe(error: pydantic.ValidationError, config_class: type, path: Path | None) -> str:
    known = ", ".join(field.name for field in config_fields(config_class))
    problems = []
    for detail in error.errors():
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "unexpected_keyword_argument":
            problems.append(f"unknown key {name!r} (known: {known})")
        elif detail["type"] == "missing":
            problems.append(f"{name} is required: pass --{name}")
        else:
            problems.append(f"{name}: {detail['msg']}, found {detail['input']!r}")
    where = f" (config {path})" if path is not None else ""
    return "; ".join(problems) + where
