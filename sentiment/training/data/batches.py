"""Make batches of texts and numbered labels from the values of a source."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import SchemaMismatchError, UnusableLabelsError
from ...evaluation.details import find_details, reduce_details
from ...inference.rejects import find_reject_reason
from ...schema import NULL_TEXT, TEXT_JOINER
from .columns import Columns, check_columns
from .description import describe_texts
from .labels import MAX_LABELS, clean_label, is_class_number
from .source import Batch, Source

_NO_LABEL = -1
# Texts that are no texts but the way of Python, JSON or SQL to write them: b'…', "…", ['…', '…'],
# {'en': '…'}, Row(text='…') or tf.Tensor(b'…', …).
_PRINTED_VALUE = re.compile(
    r"""b?'.*'|b?".*"|\[(['"]).*\1\]|\{['"].*\}|[\w.]+\((?:\w+=)?b?['"].*\)|<tf\.Tensor:.*>""", re.DOTALL
)
# So many texts, all of them printed, are no chance.
_MIN_PRINTED = 10


def read_batches(
    source: Source, split: str, columns: Columns, labels: dict[str, int], counts: "Counter[str]"
) -> Iterator[tuple[list[Any], dict[str, list[Any]], dict[str, list[Any]]]]:
    """Yield the text values, the columns `label` and `group`, and the details.

    New label values get a number.
    """
    has_label = check_columns(source, split, columns)
    found = find_details(source.flat_columns, columns.texts)
    wanted = [*columns.texts, *([columns.label] if has_label else []), *filter(None, [source.group_col])]
    class_names = source.class_names.get(columns.label)
    groups: dict[Any, int] = {}
    for batch in source.read(list(dict.fromkeys([*wanted, *found.values()]))):
        texts = join_texts(batch, columns.texts, source.name)
        values = batch[columns.label] if has_label else [None] * len(texts)
        cleaned = [clean_value(value, class_names, source.name) for value in values]
        counts.update(value or "" for value in cleaned)
        ids = [_NO_LABEL if value is None else labels.setdefault(value, len(labels)) for value in cleaned]
        if len(labels) > MAX_LABELS:
            raise UnusableLabelsError(
                f"{source.name}: column {columns.label!r} has more than {MAX_LABELS:,} distinct values, so "
                "it has no labels; choose another --label_col"
            )
        group = (
            [groups.setdefault(value, len(groups)) for value in batch[source.group_col]]
            if (source.group_col)
            else [None] * len(texts)
        )
        yield texts, {"label": ids, "group": group}, {kind: batch[name] for kind, name in found.items()}


def make_batch(
    texts: list[Any], others: dict[str, list[Any]], found: dict[str, list[Any]], schema: pa.Schema
) -> tuple[pa.RecordBatch, bytes]:
    """Return the columns of `schema`, null for details that were not found, and the bands as bytes."""
    described = describe_texts(texts)
    bands = np.array(described.pop("bands"), dtype=np.uint32).tobytes()
    columns: dict[str, Any] = {**described, **others, **reduce_details(found)}
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(len(texts), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema), bands


def clean_value(value: Any, class_names: tuple[str, ...] | None, name: str) -> str | None:
    """Return a label value in one spelling (`labels.clean_label`), and a class number as the class's name."""
    try:
        cleaned = clean_label(value)
        if class_names is None or cleaned is None or not is_class_number(cleaned):
            return cleaned
        # A CSV file has class numbers as texts; they stay as they are if classes have numbers for names.
        if isinstance(value, str) and any(map(is_class_number, class_names)):
            return cleaned
        number = int(cleaned)
        if number >= len(class_names):
            raise UnusableLabelsError(
                f"expected class numbers from 0 to {len(class_names) - 1}, as its data set names classes, "
                f"found {number}"
            )
        # -1 means no label: `datasets` stores it where a split's labels are kept secret.
        return None if number < 0 else clean_label(class_names[number])
    except UnusableLabelsError as error:
        raise UnusableLabelsError(f"{name}: {error}") from None


def join_texts(batch: Batch, columns: tuple[str, ...], name: str) -> list[Any]:
    """Join the non-null values of the columns by a space; null if all are null; keep a single column.

    Numbers and dates are joined as texts. Bytes or a container make the whole row no text. Raises
    SchemaMismatchError, with the `name` of the source, if all texts of a column are printed values.
    """
    for column in columns:
        _refuse_printed_values(name, column, batch[column])
    if len(columns) == 1:
        return batch[columns[0]]
    return [_join_row(row) for row in zip(*(batch[column] for column in columns), strict=True)]


def _refuse_printed_values(name: str, column: str, texts: Sequence[Any]) -> None:
    """Raise SchemaMismatchError if all texts of a batch are printed bytes, lists or quotations."""
    present = [text for text in texts if text is not None]
    if len(present) >= _MIN_PRINTED and all(
        isinstance(text, str) and _PRINTED_VALUE.fullmatch(text) for text in present
    ):
        raise SchemaMismatchError(
            f"{name}: all texts of column {column!r} are printed values such as b'text', 'text', ['word', "
            "'word'] or {'en': 'text'}, whose signs a model would learn; decode, unquote or join them, and "
            "write the file again"
        )


def _join_row(row: Sequence[Any]) -> Any:
    no_text = next((value for value in row if isinstance(value, bytes | list | dict)), None)
    joined = TEXT_JOINER.join(str(value) for value in row if find_reject_reason(value) != NULL_TEXT)
    return joined or None if no_text is None else no_text
