"""Read labelled reviews from the hub, files, a folder or the sample, and make clean splits of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import datasets

from ...config import AdaptConfig, AdoptConfig, FinetuneConfig
from ...errors import AmbiguousInputError, ConfigError, SchemaMismatchError, UnusableLabelsError
from ...schema import show_columns, split_columns
from .columns import Columns
from .csv_files import check_delimiter
from .labels import Numbering, can_be_shown, number_labels, show_values
from .model_labels import find_equal_labels, number_for_model
from .preparation import FileReport, Prepared, RowProgress, prepare
from .selection import Counts, select
from .source import ReadOptions, Source
from .sources import find_locations
from .splits import Splits

_TEXT_COLUMNS = ("content", "text")
_LABEL_COLUMN = "label"
# The Amazon review releases of 2014 and 2018, and of 2023: text columns, label column, and a column that no
# other table has.
_RELEASES = (
    (("summary", "reviewText"), "overall", "reviewText"),
    (("title", "text"), "rating", "parent_asin"),
)


@dataclass(frozen=True)
class DataReport:
    """State what was read from which file, what was not used, and how labels were understood.

    `labels` has the class name of each label value; see `Counts` for the counts.
    """

    files: tuple[FileReport, ...]
    unused_files: dict[str, str]
    text_col: str
    label_col: str
    labels: dict[str, str]
    read_rows: int
    counts: Counts

    def as_dict(self) -> dict[str, Any]:
        """Return all facts and counts by name, without levels among the counts."""
        facts = asdict(self)
        counts: dict[str, Any] = facts.pop("counts")
        return facts | counts

    def count_rows(self) -> dict[str, int]:
        """Return the counts by name, for MLflow."""
        return {name: n for name, n in self.as_dict().items() if isinstance(n, int)}


@dataclass(frozen=True)
class LabelledReviews:
    """Hold the splits, their text column(s), the class names, a digest of the rows, and the report."""

    splits: Splits
    text_col: str
    label_names: tuple[str, ...]
    digest: str
    report: DataReport


def load_labelled_reviews(
    config: FinetuneConfig,
    progress: RowProgress = lambda rows, file: None,
    model_labels: Sequence[str] | None = None,
) -> LabelledReviews:
    """Read, clean, split and sample the data set `config.dataset_name`.

    With `model_labels`, the labels of a model that exists already, the class names are some or all of these.
    Every row that was read is used or counted (see `Counts`). A second call finds the prepared rows in the
    cache. Raises an InputError if there is no data, a file or a label cannot be understood, or a class has
    too few rows.
    """
    datasets.disable_progress_bars()
    options = make_options(config)
    found = find_locations(config.dataset_name, options)
    facts = [str(config.text_col), str(config.label_col)]
    prepared = prepare(found.by_split, lambda source: choose_columns(config, source), facts, progress)
    numbering = _number(prepared, config, model_labels)
    splits, counts, digest = select(
        prepared, numbering, config.max_train_samples, config.max_eval_samples, config.seed
    )
    text_col = ",".join(prepared.columns.texts)
    report = DataReport(
        files=prepared.files,
        unused_files=found.unused,
        text_col=text_col,
        label_col=prepared.columns.label,
        labels=numbering.describe(),
        read_rows=sum(file.rows for file in prepared.files),
        counts=counts,
    )
    return LabelledReviews(splits, text_col, numbering.names, digest, report)


def _number(prepared: Prepared, config: FinetuneConfig, model_labels: Sequence[str] | None) -> Numbering:
    counts, column = prepared.count_labels(), prepared.columns.label
    meaning = (config.label_scheme, config.label_map, prepared.class_names)
    if model_labels is not None:
        return number_for_model(counts, column, model_labels, *meaning)
    numbering = number_labels(counts, column, *meaning)
    if len(numbering.names) < 2 or find_equal_labels(numbering.names):
        raise UnusableLabelsError(
            f"label column {column!r}: expected at least two classes, whose names differ in more than case, "
            f"found {show_values(numbering.names)}; check --label_col, --label_scheme and --label_map"
        )
    if not all(map(can_be_shown, numbering.names)):
        raise UnusableLabelsError(
            f"label column {column!r}: a class has an unprintable name, which means nothing in a table; name "
            "the classes with --label_map"
        )
    return numbering


def choose_columns(config: FinetuneConfig, source: Source) -> Columns:
    """Return the columns of the configuration, else the usual ones that the source has.

    Raises SchemaMismatchError if it has none of them, AmbiguousInputError if it has two, or if several class
    names could be those of the label column.
    """
    if {"answer", "_task_hash"} <= set(source.columns):
        raise AmbiguousInputError(
            f"{source.name}: is an export of Prodigy, where a label counts only if its answer is 'accept'; "
            "keep these rows, and remove the column answer"
        )
    release = next((known for known in _RELEASES if known[2] in source.columns), None)
    if config.text_col is not None:
        texts = split_columns(config.text_col)
        if not texts:
            raise ConfigError(f"text_col: expected at least one column name, found {config.text_col!r}")
        if len(set(texts)) < len(texts):
            raise ConfigError(f"text_col: expected each column once, found {config.text_col!r}")
    elif release is not None:
        texts = tuple(name for name in release[0] if name in source.columns)
    else:
        texts = tuple(name for name in _TEXT_COLUMNS if name in source.columns)
        if len(texts) > 1:
            raise AmbiguousInputError(
                f"{source.name}: has the columns {' and '.join(texts)}; choose with --text_col"
            )
    usual = _LABEL_COLUMN if release is None or _LABEL_COLUMN in source.columns else release[1]
    label = config.label_col or usual
    if label in source.unclear_classes:
        raise AmbiguousInputError(
            f"{source.name}: its data set names the classes of column {label!r} differently in its "
            "configurations, and it is not known which one the files have; choose with --dataset_name "
            "FOLDER:NAME, or remove the others from README.md or dataset_infos.json"
        )
    if not texts:
        raise SchemaMismatchError(
            f"{source.name}: has no column {' or '.join(_TEXT_COLUMNS)}; pass --text_col with one of "
            f"{show_columns(source.columns)}; if the first row is a review, name the columns with "
            "--column_names"
        )
    return Columns(texts, label)


def make_options(config: FinetuneConfig) -> ReadOptions:
    """Return how the files of the configuration are read, and which columns a CSV file should have."""
    usual = (*_TEXT_COLUMNS, _LABEL_COLUMN, *(name for known in _RELEASES for name in (*known[0], known[1])))
    given = (*split_columns(config.text_col or ""), *filter(None, [config.label_col]))
    expected = given if config.text_col and config.label_col else (*given, *usual)
    return replace(make_format(config), expected_columns=expected)


def make_format(config: FinetuneConfig | AdaptConfig | AdoptConfig) -> ReadOptions:
    """Return the form of text files that the configuration states. Raises ConfigError."""
    return ReadOptions(
        delimiter=check_delimiter(config.delimiter),
        encoding=config.encoding,
        column_names=split_columns(config.column_names) if config.column_names else None,
    )
