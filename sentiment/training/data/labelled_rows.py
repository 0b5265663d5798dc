"""Read labelled reviews that models are judged on, and give them the class ids of those models."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...config import FinetuneConfig
from ...errors import (
    ConfigError,
    EmptyInputError,
    InputError,
    SchemaMismatchError,
    UnusableLabelsError,
)
from ...evaluation.contenders import NumberedReviews
from ...evaluation.details import find_details, reduce_details
from ...schema import show_columns, split_columns
from .batches import clean_value, join_texts
from .columns import Columns, choose_for_all, share_class_names
from .formats import check_options
from .labels import AUTO
from .model_labels import number_for_model
from .reading import choose_columns, make_options
from .source import NO_ROWS, Location, ReadOptions, Source, check_once, open_all
from .sources import ANOTHER_SPLIT, find_locations
from .splits import TEST, TRAIN, sample_rows


@dataclass(frozen=True)
class LabelledRows:
    """Hold texts of any type, their label values as `clean_label` returns them, and details; one order.

    `details` are the columns that slices are cut by, as `reduce_details` returns them.
    `class_names` is the order of the classes that the data set states, `files` are those with rows, and
    `available` all columns of the first one. `unused_files` has the other files with the reason, `notes` what
    was found out about those that were read.
    """

    texts: list[Any]
    values: list[str | None]
    details: pd.DataFrame
    columns: Columns
    class_names: tuple[str, ...]
    files: tuple[str, ...]
    available: tuple[str, ...]
    unused_files: dict[str, str]
    notes: tuple[str, ...]


def read_labelled_rows(config: FinetuneConfig, usual_text_col: str | None = None) -> LabelledRows:
    """Read `config.dataset_name`: a file, the split `test`, or all of a folder that names no split.

    `usual_text_col` is taken for `config.text_col` if the data set has it. Raises an InputError if there is
    nothing, a column is missing, or a label cannot be understood.
    """
    locations, unused = _find_test(config.dataset_name, make_options(config))
    opened, empty = open_all(locations)
    columns = choose_for_all(opened, lambda source: _choose_columns(config, source, usual_text_col))
    opened = share_class_names({TEST: opened}, columns.label)[TEST]
    class_names = opened[0].class_names.get(columns.label, ())
    notes = [f"{Path(source.name).name}: {note}" for source in opened for note in source.notes]
    rows = LabelledRows(
        texts=[],
        values=[],
        details=pd.DataFrame(),
        columns=columns,
        class_names=tuple(class_names),
        files=(),
        available=tuple(opened[0].columns),
        unused_files=unused | dict.fromkeys(empty, NO_ROWS),
        notes=(*notes, *(warning for source in opened for warning in source.warnings)),
    )
    details, files = [], []
    for source in opened:
        _check_columns(source, columns)
        found, before = find_details(source.flat_columns, columns.texts), len(rows.texts)
        for batch in source.read(list(dict.fromkeys([*columns.texts, columns.label, *found.values()]))):
            values, names = batch[columns.label], source.class_names.get(columns.label)
            rows.texts.extend(join_texts(batch, columns.texts, source.name))
            rows.values.extend(clean_value(value, names, source.name) for value in values)
            reduced = reduce_details({kind: batch[name] for kind, name in found.items()})
            details.append(pd.DataFrame(reduced, index=range(len(values))))
        if len(rows.texts) > before:
            files.append(source.name)
        else:
            rows.unused_files[source.name] = NO_ROWS
    if not rows.texts:
        raise EmptyInputError(f"{config.dataset_name}: has no rows; pass other reviews as --test")
    return replace(rows, details=pd.concat(details, ignore_index=True), files=tuple(files))


def number_rows(
    rows: LabelledRows, labels: Sequence[str], scheme: str = AUTO, label_map: str | None = None
) -> NumberedReviews:
    """Give each row the class id that its label has in `labels`, the class names of a model in their order.

    See `number_for_model` for the meaning of values, `scheme` and `label_map`. Rows without label, or left
    out by them, are counted. Raises an InputError if values cannot be understood or mean a class that the
    model does not have, or a class has no review.
    """
    counts = Counter(rows.values)
    column = rows.columns.label
    if set(counts) <= {None}:
        raise UnusableLabelsError(
            f"{rows.files[0]}: column {column!r} has no label in any row; pass labelled reviews"
        )
    ids = _find_classes(counts, rows, labels, scheme, label_map)
    found = [None if value is None else ids[value] for value in rows.values]
    kept = [i for i, number in enumerate(found) if number is not None]
    truth = np.array([found[i] for i in kept], dtype=np.int64)
    absent = [label for i, label in enumerate(labels) if i not in truth]
    if absent:
        raise UnusableLabelsError(
            f"{rows.files[0]}: column {column!r} has no review of {', '.join(absent)}; expected reviews "
            "of each label of the models; pass other reviews, or a --label_map"
        )
    unlabelled = counts[None]
    unused = {
        "without label": unlabelled,
        "left out by the label scheme": len(found) - len(kept) - unlabelled,
    }
    return NumberedReviews(
        labels=tuple(labels),
        texts=[rows.texts[i] for i in kept],
        truth=truth,
        details=rows.details.iloc[kept].reset_index(drop=True),
        unused=unused,
        source={
            "files": rows.files,
            "unused_files": rows.unused_files,
            "notes": rows.notes,
            "text_col": ",".join(rows.columns.texts),
            "label_col": column,
        },
    )


def take_sample(rows: NumberedReviews, max_rows: int | None, seed: int) -> NumberedReviews:
    """Return a sample stratified by label, in order; all rows if there are no more. Raises ConfigError."""
    chosen = sample_rows(np.arange(len(rows.texts)), rows.truth, max_rows, seed)
    if len(np.unique(rows.truth[chosen])) < len(rows.labels):
        raise ConfigError(f"max_test_samples: {max_rows} leaves a label without review; pass a larger number")
    return replace(
        rows,
        texts=[rows.texts[i] for i in chosen],
        truth=rows.truth[chosen],
        details=rows.details.iloc[chosen].reset_index(drop=True),
        unused={**rows.unused, "not in the sample": len(rows.texts) - len(chosen)},
    )


def _find_test(name: str, options: ReadOptions) -> tuple[list[Location], dict[str, str]]:
    """Return the locations to judge on, and the files that are not used with the reason."""
    found = find_locations(name, options, TEST)
    split = TEST if found.has_splits else TRAIN
    locations = found.by_split[split]
    check_options(options, locations)
    others = [other.name for part, group in found.by_split.items() if part != split for other in group]
    return locations, found.unused | dict.fromkeys(others, ANOTHER_SPLIT)


def _choose_columns(config: FinetuneConfig, source: Source, usual_text_col: str | None) -> Columns:
    usual = split_columns(usual_text_col or "")
    if config.text_col is None and usual and set(usual) <= set(source.columns):
        config = replace(config, text_col=usual_text_col)
    return choose_columns(config, source)


def _check_columns(source: Source, columns: Columns) -> None:
    missing = [name for name in (*columns.texts, columns.label) if name not in source.columns]
    if missing:
        raise SchemaMismatchError(
            f"{source.name}: has no column {', '.join(missing)}; found {show_columns(source.columns)}; "
            "choose with --text_col and --label_col"
        )
    check_once(source, (*columns.texts, columns.label))


def _find_classes(
    counts: "Counter[str | None]",
    rows: LabelledRows,
    labels: Sequence[str],
    scheme: str,
    label_map: str | None,
) -> dict[str, int | None]:
    """Return the class id of each label value; None for a value that is left out."""
    try:
        found = number_for_model(
            {TEST: counts}, rows.columns.label, labels, scheme, label_map, rows.class_names
        )
    except InputError as error:
        raise type(error)(f"{rows.files[0]}: {error}") from error
    ids = [labels.index(name) for name in found.names]
    return {value: None if i is None else ids[i] for value, i in found.ids.items()}
