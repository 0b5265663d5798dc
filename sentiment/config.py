"""Define the configuration of each job, and read it from a YAML file and arguments."""

import codecs
import dataclasses
import datetime
import os
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

DEFAULT_MODEL_URI = "models:/sentiment@champion"
# Passed instead of a path, this name means the reviews that come with the project.
SAMPLE = "sample"
# Values of `on_duplicate`.
LATEST, REJECT = "latest", "reject"

# Other characters have a meaning in the URI of a model.
_MODEL_NAME = r"^[^/:@.?#\s]([^/:@.?#]*[^/:@.?#\s])?$"

_STRICT_KEYS = pydantic.ConfigDict(extra="forbid")
_Positive = Field(gt=0)
_PositiveNumber = Field(gt=0, allow_inf_nan=False)
_Share = Field(ge=0, le=1)
# NumPy and scikit-learn take 32 bits, and some steps add to the seed.
_Seed = Field(ge=0, lt=2**31)


def _check_alias(alias: str | None) -> str | None:
    if alias is not None and re.fullmatch(r"latest|[vV]\d+", alias):
        raise ValueError("MLflow reserves this name")
    return alias


def _check_encoding(name: str | None) -> str | None:
    try:
        "".encode(name or "utf-8")  # Python also has encodings that are none of texts, such as base64
        return None if name is None else codecs.lookup(name).name
    except LookupError:
        raise ValueError("Python knows no text encoding of this name") from None


def _check_report(path: str | None) -> str | None:
    if path is None:
        return None
    file = Path(path)
    if file.is_dir() or not file.parent.is_dir():
        raise ValueError("expected a file in a folder that exists")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ValueError("expected a file that can be written; check its permissions and those of its folder")
    return path


def _read_off(value: object) -> object:
    """Return "off" for False: YAML reads a plain `off` as false."""
    return "off" if value is False else value


def _check_day(day: str | None) -> str | None:
    if day is not None:
        datetime.date.fromisoformat(day)
    return day


def _check_days(days: str | None) -> str | None:
    found = [
        datetime.date.fromisoformat(day) for day in (days or "").split("..") if day or ".." in (days or "")
    ]
    if len(found) > 2 or found != sorted(found):
        raise ValueError("expected YYYY-MM-DD, or FIRST..LAST")
    return days


def _read_day(value: object) -> object:
    """Return a date as a string: YAML reads a plain 2026-01-31 as a date."""
    return str(value) if isinstance(value, datetime.date) else value


# A string in the type of a field is its help text on the command line.
_Engine = Annotated[
    Literal["auto", "gpu", "int8_static", "int8", "bf16", "f32", "reference"],
    "engine for the encoder; auto: the GPU, else the engine that the model carries for this CPU",
]
_Cascade = Annotated[
    Literal["off", "auto"] | None,
    "off: the encoder scores every review (default: as the model was logged)",
    pydantic.BeforeValidator(_read_off),
]
_MaxTextChars = Annotated[int | None, _Positive, "reject a longer text (default: as the model was logged)"]
_MinScore = Annotated[
    float | None, Field(ge=0, le=1), "a lower score is marked as unsure (default: as the model was logged)"
]
_TargetAccuracy = Annotated[
    float | None,
    Field(gt=0, lt=1),
    "instead of min_score: the score from which on validation reviews had this accuracy",
]
_Alias = Annotated[
    str | None,
    Field(pattern=r"^[A-Za-z][\w-]*$", max_length=255),
    "registry alias for the new version, e.g. champion",
    pydantic.AfterValidator(_check_alias),
]
_EncoderName = Annotated[str, "encoder to start from: hub id, local folder, or `minilm` (needs no hub)"]
_Truncation = Annotated[
    Literal["head", "head_tail"],
    "part of a longer review to read: its first tokens, or a quarter of them and its last tokens",
]
# MLflow's databases have room for so many characters.
_RegisteredName = Annotated[str, Field(pattern=_MODEL_NAME, max_length=256), "name in the MLflow registry"]
_Experiment = Annotated[str, Field(pattern=r"\S", max_length=500), "MLflow experiment"]
_SigningKey = Annotated[str | None, "PEM file of the private key (elliptic curve) to sign with"]
_LabelScheme = Literal["auto", "polarity", "three_way", "stars", "names"]
_LabelMap = Annotated[
    str | None, "class of each label value, such as 1,2=negative;3=;4,5=positive (default: label_scheme)"
]
_Delimiter = Annotated[str | None, "delimiter of CSV files (default: found out)"]
_Encoding = Annotated[
    str | None,
    pydantic.AfterValidator(_check_encoding),
    "encoding of text files (default: found out if UTF-8, UTF-16 or cp1252)",
]
_ColumnNames = Annotated[str | None, "column names of CSV files without header: label,title,text"]
_Day = Annotated[str | None, pydantic.AfterValidator(_check_day), pydantic.BeforeValidator(_read_day)]


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class FinetuneConfig:
    """Fine-tune, evaluate, package and register one model.

    `--register FOLDER` only registers a model that an earlier run could not register; `--alias` goes with it.
    """

    lr: Annotated[float, _PositiveNumber, "peak learning rate"] = 2e-5
    epochs: Annotated[float, _PositiveNumber, "passes over the training rows"] = 2
    lr_decay: Annotated[
        float, Field(gt=0, le=1), "learning rate of a layer, relative to the layer above it; 1: all the same"
    ] = 1.0
    schedule: Annotated[Literal["linear", "cosine"], "shape of the learning rate after its peak"] = "linear"
    warmup_share: Annotated[float, Field(ge=0, lt=1), "share of the steps before the peak"] = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), "weight decay of AdamW"] = 0.01
    label_smoothing: Annotated[float, Field(ge=0, lt=1), "share of a label that all classes get evenly"] = 0.0
    evaluations: Annotated[int, _Positive, "evaluations per run, at equal distances"] = 4
    patience: Annotated[int, _Positive, "stop after so many evaluations without a better F1"] = 2
    train_batch_size: Annotated[int, _Positive, "reviews per training step, of all processes together"] = 16
    train_tokens: Annotated[
        int | None, _Positive, "about so many tokens per training step, instead of train_batch_size reviews"
    ] = None
    eval_batch_size: Annotated[int, _Positive, "reviews per evaluation step"] = 64
    dataset_name: Annotated[
        str,
        "hub data set (name or name:config), `sample`, a file, or a folder whose file names tell the split",
    ] = "fancyzhx/amazon_polarity"
    unlabelled: Annotated[
        str | None, "reviews without labels to train on too, by the labels of a teacher: a file or a folder"
    ] = None
    text_col: Annotated[
        str | None, "text column, or several joined: title,content (default: content or text)"
    ] = None
    label_col: Annotated[str | None, "label column (default: label)"] = None
    label_scheme: Annotated[
        _LabelScheme,
        "meaning of the labels; auto: two classes; polarity: also stars, of which 3 are left out",
    ] = "auto"
    label_map: _LabelMap = None
    delimiter: _Delimiter = None
    encoding: _Encoding = None
    column_names: _ColumnNames = None
    distilbert_model: _EncoderName = "distilbert-base-uncased"
    max_length: Annotated[int, Field(ge=8), "tokens read per review, special tokens included"] = 256
    truncation: _Truncation = "head"
    augment: Annotated[bool, "add spelling mistakes and star ratings to some training texts"] = False
    trained_layers: Annotated[
        int | None, _Positive, "number of last layers to train (default: all layers and the embeddings)"
    ] = None
    torch_compile: Annotated[
        bool, "compile the encoder by torch.compile: slow first steps, then perhaps faster ones"
    ] = False
    cascade: Annotated[
        Literal["off", "auto"],
        "auto: a linear stage decides clear reviews, and counts in others, if validation shows no loss",
        pydantic.BeforeValidator(_read_off),
    ] = "auto"
    min_score: _MinScore = None
    target_accuracy: _TargetAccuracy = None
    max_train_samples: Annotated[int | None, _Positive, "size of a stratified training sample"] = None
    max_eval_samples: Annotated[int | None, _Positive, "largest validation set, and largest test set"] = (
        20_000
    )
    search: Annotated[int | None, _Positive, "trials of other recipes by Optuna; the best one is kept"] = None
    search_minutes: Annotated[float | None, _Positive, "start no trial after so many minutes of trials"] = (
        None
    )
    seed: Annotated[int, _Seed, "seed of splits, samples and training"] = 42
    checkpoint_dir: Annotated[
        str | None, "folder that a killed run continues from (default: var/checkpoints)"
    ] = None
    checkpoint_minutes: Annotated[float, _Positive, "time between checkpoints"] = 10
    distributor: Annotated[Literal["none", "spark"], "spark: train in processes on a Spark cluster"] = "none"
    num_processes: Annotated[int | None, _Positive, "number of processes of the distributor"] = None
    registered_model_name: _RegisteredName = "sentiment"
    alias: _Alias = None
    experiment: _Experiment = "sentiment"
    signing_key: _SigningKey = None
    report: Annotated[
        str | None, pydantic.AfterValidator(_check_report), "HTML file to write the evaluation report to"
    ] = None
    show_text: Annotated[bool, "quote reviews with a doubtful label in the report"] = False

    @pydantic.model_validator(mode="after")
    def _check_labels(self) -> "FinetuneConfig":
        _check_labels(self)
        _check_min_score(self)
        return self

    @pydantic.model_validator(mode="after")
    def _check_processes(self) -> "FinetuneConfig":
        if (self.distributor == "spark") != (self.num_processes is not None):
            raise ValueError("distributor spark needs num_processes, and only it; else use torchrun")
        if self.unlabelled is not None and (self.search or self.search_minutes):
            raise ValueError("unlabelled trains twice and a search many times; pass one of them")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class RegisterConfig:
    """Register a model that an earlier run could not register, with the settings of that run."""

    register: Annotated[str, "folder of the model, which the earlier run has printed"]
    alias: Annotated[_Alias, "registry alias for the new version (default: that of the earlier run)"] = None
    registered_model_name: Annotated[
        _RegisteredName | None, "name in the model registry (default: that of the earlier run)"
    ] = None


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class AdaptConfig:
    """Adapt an encoder to unlabelled reviews before it is fine-tuned, by masked-language modelling."""

    input: Annotated[str, "Parquet, CSV or JSONL file, or folder, of reviews without labels"]
    output: Annotated[str, "folder of the adapted encoder; pass it to finetune as --distilbert_model"]
    text_col: Annotated[str, "text column, or several joined: title,content"] = "text"
    delimiter: _Delimiter = None
    encoding: _Encoding = None
    column_names: _ColumnNames = None
    distilbert_model: _EncoderName = "distilbert-base-uncased"
    lr: Annotated[float, _PositiveNumber, "peak learning rate"] = 1e-4
    epochs: Annotated[float, _PositiveNumber, "passes over the reviews"] = 1
    minutes: Annotated[
        float | None, _Positive, "stop training after this time and keep the best weights (default: no limit)"
    ] = None
    train_batch_size: Annotated[int, _Positive, "full sequences per training step"] = 16
    eval_batch_size: Annotated[int, _Positive, "full sequences per evaluation step"] = 32
    max_length: Annotated[int, Field(ge=16), "tokens per sequence, special tokens included"] = 256
    masked_share: Annotated[float, Field(gt=0, lt=1), "share of tokens to predict"] = 0.15
    whole_words: Annotated[bool, "mask all tokens of a word together"] = False
    held_out_share: Annotated[float, Field(gt=0, lt=1), "share of reviews that measure the loss"] = 0.05
    max_train_samples: Annotated[int | None, _Positive, "size of a random sample of the reviews"] = None
    seed: Annotated[int, _Seed, "seed of the sample, the held-out reviews, masks and training"] = 42
    experiment: _Experiment = "sentiment"


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class AdoptConfig:
    """Make a classifier that was trained elsewhere fast, check it, package it and register it."""

    model: Annotated[str, "hub id, folder, or MLflow URI of a transformers text classifier"]
    labels_from: Annotated[
        str, Field(pattern=r"\S"), "class names: config, or LABEL_0=negative,LABEL_1=positive"
    ] = "config"
    reviews: Annotated[
        str | None, "file or folder of reviews to compare the engines on (default: texts of the project)"
    ] = None
    text_col: Annotated[str | None, "text column, or several joined: title,content (default: text)"] = None
    label_col: Annotated[
        str | None, "label column of the reviews, to measure accuracy and calibrate scores (default: none)"
    ] = None
    label_scheme: Annotated[
        _LabelScheme,
        "meaning of the label column, as in finetune; auto: the one that suits the labels of the model",
    ] = "auto"
    label_map: _LabelMap = None
    delimiter: _Delimiter = None
    encoding: _Encoding = None
    column_names: _ColumnNames = None
    max_eval_samples: Annotated[int | None, _Positive, "largest test set of labelled reviews"] = 20_000
    max_length: Annotated[
        int | None,
        Field(ge=8),
        "tokens read per review, special tokens included (default: as the model can, at most 512)",
    ] = None
    truncation: _Truncation = "head"
    min_score: _MinScore = None
    target_accuracy: _TargetAccuracy = None
    dry_run: Annotated[bool, "report, and register nothing"] = False
    seed: Annotated[int, _Seed, "seed of splits and samples"] = 42
    registered_model_name: _RegisteredName = "sentiment"
    alias: _Alias = None
    experiment: _Experiment = "sentiment"
    signing_key: _SigningKey = None

    @pydantic.model_validator(mode="after")
    def _check_labels(self) -> "AdoptConfig":
        _check_labels(self)
        if self.label_col is not None and self.reviews is None:
            raise ValueError("label_col is a column of the reviews; pass --reviews too")
        of_files = ("delimiter", "encoding", "column_names")
        unused = [name for name in of_files if getattr(self, name) is not None]
        if unused and self.reviews is None:
            raise ValueError(f"{', '.join(unused)}: only for the file of the reviews; pass --reviews too")
        if self.label_col is None and (self.label_map is not None or self.label_scheme != "auto"):
            raise ValueError("label_map and label_scheme need labels; pass --label_col too")
        if self.label_col is None and self.target_accuracy is not None:
            raise ValueError("target_accuracy needs labelled reviews; pass --reviews and --label_col")
        _check_min_score(self)
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class PromoteConfig:
    """Judge a challenger next to the champion, and move the alias to it if no gate refuses it."""

    challenger: Annotated[
        str | None,
        Field(pattern=r"^models:/[^/@]+(/|@).+$"),
        "model to judge: models:/NAME/VERSION",
    ] = None
    test: Annotated[
        str | None,
        "labelled reviews that no model has seen: a file, or a data set with a split `test`",
    ] = None
    alias: Annotated[
        str,
        Field(pattern=r"^[A-Za-z][\w-]*$"),
        "alias of the champion, which moves",
        pydantic.AfterValidator(_check_alias),
    ] = "champion"
    gates: Annotated[str | None, "YAML file of the bounds (default: conf/gates.yaml)"] = None
    text_col: Annotated[
        str | None, "text column, or several joined: title,content (default: that of the challenger)"
    ] = None
    label_col: Annotated[str | None, "label column (default: label)"] = None
    label_scheme: Annotated[
        _LabelScheme,
        "meaning of the labels, as in finetune; auto: the one that suits the labels of the models",
    ] = "auto"
    label_map: _LabelMap = None
    delimiter: _Delimiter = None
    encoding: _Encoding = None
    column_names: _ColumnNames = None
    max_test_samples: Annotated[int | None, _Positive, "size of a random sample of the test reviews"] = None
    report: Annotated[
        str | None,
        pydantic.AfterValidator(_check_report),
        "HTML file for the evaluation report, with slices and the comparison",
    ] = None
    seed: Annotated[int, _Seed, "seed of the samples"] = 42
    engine: _Engine = "auto"
    dry_run: Annotated[bool, "judge, but write nothing: no alias, no tags, no run"] = False
    rollback: Annotated[bool, "move the alias back to the champion before; needs no challenger"] = False
    registered_model_name: Annotated[
        str | None,
        Field(pattern=_MODEL_NAME),
        "name in the MLflow registry (default: that of the challenger; for rollback: sentiment)",
    ] = None
    experiment: _Experiment = "sentiment"
    allow_unverified: Annotated[bool, "load a model even if the registry has no record of its files"] = False
    verify_key: Annotated[str | None, "PEM file of the public key that must have signed the models"] = None

    @pydantic.model_validator(mode="after")
    def _check_task(self) -> "PromoteConfig":
        if self.rollback and (self.challenger or self.test):
            raise ValueError("rollback takes neither challenger nor test")
        _check_labels(self)
        if not self.rollback and not (self.challenger and self.test):
            raise ValueError("pass --challenger models:/NAME/VERSION and --test FILE, or --rollback")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class GatesConfig:
    """Hold the bounds that a challenger must keep; without its bound a gate is not judged."""

    min_rows: Annotated[int | None, _Positive, "test reviews"] = None
    min_accuracy: Annotated[float | None, _Share, "accuracy"] = None
    min_f1_macro: Annotated[float | None, _Share, "mean F1 of the classes"] = None
    max_ece: Annotated[float | None, _Share, "expected calibration error"] = None
    max_unsure_share: Annotated[float | None, _Share, "share of predictions that are unsure"] = None
    min_p_value: Annotated[
        float | None, Field(gt=0, lt=1), "p of McNemar's test below which a less accurate challenger is worse"
    ] = None
    max_slice_drop: Annotated[float | None, _Share, "accuracy lost in any slice"] = None
    min_slice_rows: Annotated[int, _Positive, "a slice of fewer reviews is not judged"] = 30
    has_gated_engine: Annotated[bool, "the engine of the model has passed its gate in fine-tuning"] = False
    max_size_bytes: Annotated[int | None, _Positive, "size of the files of the model"] = None
    max_latency_ratio: Annotated[float | None, _Positive, "time per review, relative to the champion"] = None


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class ScoreConfig:
    """Score one table of reviews into a store of scores."""

    input: Annotated[str, "Parquet file or folder, Delta table, s3://bucket/prefix, or `sample`"]
    output: Annotated[str, "scored table: a folder, delta:/folder, or s3://bucket/prefix (always Delta)"]
    model_uri: Annotated[str, "MLflow model"] = DEFAULT_MODEL_URI
    id_col: Annotated[str, "id column, or several: shop,review"] = "review_id"
    text_col: Annotated[str, "text column, or several joined: title,content"] = "text"
    rows_per_task: Annotated[int, _Positive, "approximate number of reviews per Spark task"] = 8_000
    date_col: Annotated[str | None, "column for since and until: dates, times or ISO strings"] = None
    since: Annotated[_Day, "score only rows of this day or later, YYYY-MM-DD"] = None
    until: Annotated[_Day, "score only rows before this day, YYYY-MM-DD"] = None
    max_rows: Annotated[int | None, _Positive, "take at most this many rows; the rest stays pending"] = None
    order_col: Annotated[
        str | None, "the latest row of a repeated id has the highest value (default: position)"
    ] = None
    on_duplicate: Annotated[
        Literal["latest", "reject"],
        "rows of one chunk with the same id and other texts: keep the latest, or none",
    ] = "latest"
    rescore: Annotated[bool, "also score rows that other models have scored (default: new rows only)"] = False
    retry_failed: Annotated[bool, "try rows again that were rejected because this model failed on them"] = (
        False
    )
    version: Annotated[int | None, Field(ge=0), "version of the input's Delta table (default: newest)"] = None
    timestamp: Annotated[str | None, "time of the input's Delta table, such as 2026-01-31T02:00:00Z"] = None
    storage_options: Annotated[
        str | None, "JSON file with options of an object store (default: environment)"
    ] = None
    dry_run: Annotated[bool, "show what is pending without scoring"] = False
    chunk_rows: Annotated[
        int, _Positive, "rows published together; a killed run repeats at most this many"
    ] = 200_000
    max_bad_files: Annotated[
        int,
        Field(ge=0),
        "unusable files allowed; with more, the run scores the rest and ends with exit code 3",
    ] = 0
    max_reject_share: Annotated[
        float, Field(ge=0, le=1), "a batch with a larger share of rejects is not published"
    ] = 0.05
    max_text_chars: _MaxTextChars = None
    worker_timeout_seconds: Annotated[
        int, _Positive, "replace a Python worker that returns nothing for this time"
    ] = 3600
    engine: _Engine = "auto"
    cascade: _Cascade = None
    min_score: _MinScore = None
    target_accuracy: _TargetAccuracy = None
    probabilities: Annotated[bool, "add the column probabilities: one per label, in the model's order"] = (
        False
    )
    allow_unverified: Annotated[bool, "load a model even if the registry has no record of its files"] = False
    verify_key: Annotated[str | None, "PEM file of the public key that must have signed the model"] = None

    @pydantic.model_validator(mode="after")
    def _check_dates(self) -> "ScoreConfig":
        if (self.since or self.until) and not self.date_col:
            raise ValueError("since and until need a date column; pass --date_col")
        if self.version is not None and self.timestamp is not None:
            raise ValueError("version and timestamp both choose a version; pass one of them")
        _check_min_score(self)
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class NightlyConfig(ScoreConfig):
    """Score what is new, compare it with the nights before, report and alert."""

    date: Annotated[
        str | None,
        pydantic.AfterValidator(_check_days),
        pydantic.BeforeValidator(_read_day),
        "night, or FIRST..LAST; with date_col only its rows (default: today, all that is pending)",
    ] = None
    monitoring: Annotated[str | None, "folder of the results of each night (default: OUTPUT-monitoring)"] = (
        None
    )
    alert_to: Annotated[
        str | None, "file, webhook or smtp://HOST:PORT?from=…&to=…, or several (default: SENTIMENT_ALERT_TO)"
    ] = None
    labels: Annotated[str | None, "Parquet file or folder of labels that come later, with the id columns"] = (
        None
    )
    label_col: Annotated[str, "label column of `labels`"] = "label"
    label_map: _LabelMap = None
    experiment: Annotated[str, Field(pattern=r"\S"), "MLflow experiment with one run per night"] = "nightly"
    max_volume_ratio: Annotated[
        float, Field(gt=1), "alert on rows beyond this ratio to the weekday's norm"
    ] = 2.0
    max_freshness_hours: Annotated[float, _Positive, "alert if the newest input file is older"] = 36.0
    alert_reject_share: Annotated[float, _Share, "alert on a larger share of rejects"] = 0.02
    max_repeated_share: Annotated[float, _Share, "alert on a larger share of rows that came twice"] = 0.2
    max_accuracy_drop: Annotated[
        float, Field(gt=0, lt=1), "alert if the accuracy is lower by more than this, beyond chance"
    ] = 0.03

    @pydantic.model_validator(mode="after")
    def _check_night(self) -> "NightlyConfig":
        if self.date and (self.since or self.until):
            raise ValueError("date chooses the days, so it takes neither since nor until")
        if self.date and ".." in self.date and not self.date_col:
            raise ValueError("a range of dates needs a date column; pass --date_col")
        if self.dry_run:
            raise ValueError("dry_run: use jobs/score_reviews.py --dry_run, which shows what is pending")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT_KEYS)
class ServeConfig:
    """Serve one model by REST."""

    host: Annotated[str, "address to listen on; any except loopback requires tokens"] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535), "port; 0: any free port"] = 8080
    model_uri: Annotated[str, "MLflow model"] = DEFAULT_MODEL_URI
    engine: _Engine = "auto"
    cascade: _Cascade = None
    min_score: _MinScore = None
    target_accuracy: _TargetAccuracy = None
    streams: Annotated[int, Field(ge=0), "mini-batches that a CPU computes in parallel; 0: one per core"] = 0
    reload_seconds: Annotated[float, Field(ge=0), "time between checks for a new model; 0: never"] = 30
    insecure: Annotated[bool, "listen beyond loopback without tokens"] = False
    allow_unverified: Annotated[bool, "serve a model even if the registry has no record of its files"] = False
    verify_key: Annotated[
        str | None, "public key that must have signed the model (default: SENTIMENT_VERIFY_KEY)"
    ] = None
    tokens_file: Annotated[str | None, "file of lines name:token (default: SENTIMENT_TOKENS_FILE)"] = None
    allowed_hosts: Annotated[
        str | None, "names allowed in the Host header besides those of loopback: a.org,b.org"
    ] = None
    rate_limit: Annotated[
        str | None, "requests allowed per token, such as 600/minute (default: no limit)"
    ] = None
    max_body_bytes: Annotated[int, _Positive, "reject a larger body"] = 2_000_000
    max_texts: Annotated[int, _Positive, "reject a list of more texts"] = 256
    max_text_chars: _MaxTextChars = None
    max_json_depth: Annotated[int, Field(gt=1, le=200), "reject deeper JSON"] = 32
    max_connections: Annotated[int, _Positive, "close connections beyond this number"] = 512
    header_seconds: Annotated[float, _Positive, "time for a client to send the headers"] = 5
    body_seconds: Annotated[float, _Positive, "time for a client to send a body, or a line of a stream"] = 10
    request_seconds: Annotated[float, _Positive, "time for the service to answer a request"] = 30
    max_wait_seconds: Annotated[float, _Positive, "reject a request that would wait longer in the queue"] = (
        0.5
    )
    drain_seconds: Annotated[
        float, Field(ge=0), "time to finish running requests before the service stops"
    ] = 20

    @pydantic.model_validator(mode="after")
    def _check_scores(self) -> "ServeConfig":
        _check_min_score(self)
        return self


def _check_labels(config: "FinetuneConfig | PromoteConfig | AdoptConfig") -> None:
    if config.label_map is not None and config.label_scheme != "auto":
        raise ValueError("label_map and label_scheme both give the labels their meaning; pass one of them")


def _check_min_score(config: "FinetuneConfig | AdoptConfig | ScoreConfig | ServeConfig") -> None:
    if config.min_score is not None and config.target_accuracy is not None:
        raise ValueError("min_score and target_accuracy both set the bound of unsure; pass one of them")


def load_config(
    config_class: type[Config], path: Path | None, arguments: Mapping[str, Any], base: Path | None = None
) -> Config:
    """Build a config from the YAML file at `path` (None: no file) and arguments, which win.

    `base` is another YAML file, whose values hold where neither states one. In `arguments`, None means not
    given. Raises ConfigError if a file cannot be read, a key is unknown, or a value is missing, of the wrong
    type or out of range.
    """
    values = {**_read_yaml(base), **_read_yaml(path), **{k: v for k, v in arguments.items() if v is not None}}
    try:
        return config_class(**values)
    except pydantic.ValidationError as error:
        raise ConfigError(_describe(error, config_class, path)) from error


def config_fields(config_class: type) -> tuple["dataclasses.Field[Any]", ...]:
    return dataclasses.fields(config_class)


def _read_yaml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}; pass another file") from error
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
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "unexpected_keyword_argument":
            problems.append(f"unknown key {name!r} (known: {known})")
        elif detail["type"] == "missing":
            problems.append(f"{name} is required: pass --{name}")
        elif not name:  # a check of several values, which its message names
            problems.append(message)
        else:
            problems.append(f"{name}: {message}, found {detail['input']!r}")
    where = f" (config {path})" if path is not None else ""
    return "; ".join(problems) + where
