"""Read the rows of a data set once, and keep them on disk with what selection needs to know of each."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa

from ...errors import EmptyInputError, SchemaMismatchError, UnusableLabelsError
from ...evaluation import details
from ...evaluation.details import find_details, reduce_details
from ...inference.rejects import find_reject_reason
from ...schema import NULL_TEXT, TEXT_JOINER, name_like, show_columns
from . import cache
from .description import describe_texts, make_schema
from .labels import MAX_LABELS, clean_label
from .source import Batch, Location, Source, open_all, split_words
from .split_names import is_split_name
from .splits import TRAIN

_FACTS_FILE = "facts.json"
_BANDS_FILE = "bands"
# Starting processes that describe texts takes seconds, which smaller data sets do not need.
_PARALLEL_BYTES = 50_000_000
_NO_LABEL = -1
_NO_ROWS = "has no rows"
# A column with one of these words in its name may state the split of each row.
_SPLIT_WORDS = {"split", "splits", "fold", "folds", "subset", "partition", "set", "train", "test"}
# So may one of these, as in a copy of IMDb with many downloads, if its values are names of splits.
_KIND_WORDS = {"type", "kind", "usage", "dataset", "data", "phase"}
# Texts that are no texts but Python's or SQL's way to write them: b'…', '…', or ['…', '…'].
_PRINTED_VALUE = re.compile(r"""b?'.*'|b".*"|\[(['"]).*\1\]""", re.DOTALL)
# So many texts, all of them printed, are no chance.
_MIN_PRINTED = 10

# Called with the rows done and the name of the file.
RowProgress = Callable[[int, str], None]


@dataclass(frozen=True)
class Columns:
    """Hold the columns to train on."""

    texts: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class FileReport:
    """State how many rows were read from a file, for which split, and what was noted about it."""

    name: str
    split: str
    rows: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Hold the rows of a data set on disk: `folder` has an Arrow file for each split (see `make_schema`).

    The column `label` there is a place in `labels`, or -1 for no label. `bands_file` has `N_BANDS` uint32 for
    each row, in the order of `splits`. `class_names` is the order of the classes that the data set states.
    """

    folder: Path
    columns: Columns
    files: tuple[FileReport, ...]
    labels: tuple[str, ...]
    class_names: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    splits: tuple[str, ...]

    def find_file(self, split: str) -> Path:
        return self.folder / f"{split}.arrow"

    @property
    def bands_file(self) -> Path:
        return self.folder / _BANDS_FILE

    def count_labels(self) -> dict[str, Counter[str | None]]:
        """Return the rows by label value of each split; None counts rows without label."""
        return {
            split: Counter({value or None: n for value, n in count.items()})
            for split, count in self.counts.items()
        }


def prepare(
    by_split: Mapping[str, Sequence[Location]],
    choose: Callable[[Source], Columns],
    facts: Sequence[str],
    progress: RowProgress,
) -> Prepared:
    """Read all rows, or find them in the cache; `facts` are all that the reading depends on beyond the files.

    `choose` gets the first training source, and returns the columns. Raises an InputError if a file cannot be
    read or lacks a column.
    """
    root = cache.prepared_cache()
    locations = [(split, location) for split, group in by_split.items() for location in group]
    code = [*sorted(Path(__file__).parent.glob("*.py")), Path(details.__file__)]
    files = [file for _, location in locations for file in location.content]
    names = [f"{split} {location.name} {location.form}" for split, location in locations]
    key = cache.make_key([*code, *files], [*facts, *names])
    if cache.find_entry(key, root) is None:
        with cache.write_entry(key, root) as folder:
            _write(folder, by_split, choose, progress)
    return _load(root / key)


def _load(folder: Path) -> Prepared:
    facts = json.loads((folder / _FACTS_FILE).read_text(encoding="utf-8"))
    return Prepared(
        folder=folder,
        columns=Columns(tuple(facts["columns"]["texts"]), facts["columns"]["label"]),
        files=tuple(FileReport(**{**file, "notes": tuple(file["notes"])}) for file in facts["files"]),
        labels=tuple(facts["labels"]),
        class_names=tuple(facts["class_names"]),
        counts=facts["counts"],
        splits=tuple(facts["splits"]),
    )


def _write(
    folder: Path,
    by_split: Mapping[str, Sequence[Location]],
    choose: Callable[[Source], Columns],
    progress: RowProgress,
) -> None:
    opened, files = _open_splits(by_split)
    columns = choose_for_all(opened[TRAIN], choose)
    opened = share_class_names(opened, columns.label)
    sources = [source for group in opened.values() for source in group]
    schema = make_schema({kind for source in sources for kind in find_details(source.columns, columns.texts)})
    labels: dict[str, int] = {}
    counts, done = {}, 0
    # In this process, or in one per core for a large data set; batches come back in their order.
    workers = -1 if _count_bytes(by_split) >= _PARALLEL_BYTES else 1
    with (
        joblib.Parallel(workers, return_as="generator", pre_dispatch="2*n_jobs", batch_size=1) as describe,
        (folder / _BANDS_FILE).open("wb") as bands_file,
    ):
        for split, group in opened.items():
            counts[split], start = Counter[str](), done
            with (
                pa.OSFile(str(folder / f"{split}.arrow"), "wb") as file,
                pa.ipc.new_stream(file, schema) as out,
            ):
                for source in group:
                    rows = 0
                    batches = _read_batches(source, split, columns, labels, counts[split])
                    for batch, bands in describe(joblib.delayed(_make_batch)(*b, schema) for b in batches):
                        out.write_batch(batch)
                        bands_file.write(bands)
                        rows += len(batch)
                        progress(done + rows, Path(source.name).name)
                    notes = source.notes if rows else (*source.notes, _NO_ROWS)
                    files.append(
                        FileReport(source.name, split, rows, (*notes, *_note_columns(source, columns)))
                    )
                    done += rows
            if done == start:
                raise EmptyInputError(f"{group[0].name}: has no rows")
    first = opened[TRAIN][0]
    facts = {
        "columns": asdict(columns),
        "files": [asdict(file) for file in files],
        "labels": list(labels),
        "class_names": list(first.class_names.get(columns.label, ())),
        "counts": counts,
        "splits": list(opened),
    }
    (folder / _FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")


def choose_for_all(sources: Sequence[Source], choose: Callable[[Source], Columns]) -> Columns:
    """Return the columns of the first source. Raises SchemaMismatchError if another one has more texts."""
    columns = choose(sources[0])
    for source in sources[1:]:
        # Columns that a source lacks are found when it is read.
        if set(columns.texts) <= set(source.columns) and (more := choose(source)) != columns:
            raise SchemaMismatchError(
                f"{source.name}: has the texts and labels in {', '.join((*more.texts, more.label))}, and "
                f"{sources[0].name} in {', '.join((*columns.texts, columns.label))}; choose with --text_col "
                "and --label_col"
            )
    return columns


def _open_splits(
    by_split: Mapping[str, Sequence[Location]],
) -> tuple[dict[str, list[Source]], list[FileReport]]:
    """Return the sources by split, and reports of the files that are empty."""
    opened, reports = {}, []
    for split, locations in by_split.items():
        opened[split], empty = open_all(locations)
        reports += [FileReport(name, split, 0, (_NO_ROWS,)) for name in empty]
    return opened, reports


def share_class_names(opened: Mapping[str, Sequence[Source]], column: str) -> dict[str, list[Source]]:
    """Give the class names of the first source that states them to those that do not, as `datasets` does."""
    stated = [
        source.class_names[column]
        for group in opened.values()
        for source in group
        if column in source.class_names
    ]
    names = {column: stated[0]} if stated else {}
    return {
        split: [replace(source, class_names={**names, **source.class_names}) for source in group]
        for split, group in opened.items()
    }


def _note_columns(source: Source, columns: Columns) -> list[str]:
    others = [name for name in source.columns if name not in (*columns.texts, columns.label)]
    names = [name for name in others if _has_splits(source, name)]
    notes = [f"column {name!r} is not used: names of files decide the splits" for name in name_like(names)]
    return notes if columns.label in source.columns else [*notes, f"has no column {columns.label}"]


def _has_splits(source: Source, name: str) -> bool:
    words = set(split_words(name))
    if not words.isdisjoint(_SPLIT_WORDS):
        return True
    if words.isdisjoint(_KIND_WORDS) or source.columns.count(name) > 1:
        return False
    first = next(iter(source.read([name])), {name: []})[name]
    return bool(first) and all(map(is_split_name, first))


def _count_bytes(by_split: Mapping[str, Sequence[Location]]) -> int:
    return sum(
        file.stat().st_size for group in by_split.values() for place in group for file in place.content
    )


def _read_batches(
    source: Source, split: str, columns: Columns, labels: dict[str, int], counts: "Counter[str]"
) -> Iterator[tuple[list[Any], dict[str, list[Any]], dict[str, list[Any]]]]:
    """Yield the text values, the columns `label` and `group`, and the details.

    New label values get a number.
    """
    has_label = _check_columns(source, split, columns)
    found = find_details(source.columns, columns.texts)
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


def _check_columns(source: Source, split: str, columns: Columns) -> bool:
    """Return True if the source has the label column; raise SchemaMismatchError if it lacks another one.

    A split to measure with may have no labels.
    """
    has_label = columns.label in source.columns
    if not has_label and columns.label.lower() in map(str.lower, source.columns):
        raise SchemaMismatchError(
            f"{source.name}: has no column {columns.label}, but one that differs from it in case; rename it"
        )
    needed = columns.texts if has_label or split != TRAIN else (*columns.texts, columns.label)
    missing = [name for name in needed if name not in source.columns]
    if missing:
        step = "choose with --text_col and --label_col, or move the file away"
        if any(part.startswith(f"{missing[-1]}=") for part in Path(source.name).parts):
            step = f"names of folders such as {missing[-1]}=1 are not read: write them into the files"
        raise SchemaMismatchError(
            f"{source.name}: has no column {', '.join(missing)}; found {show_columns(source.columns)}; {step}"
        )
    twice = [name for name in (*columns.texts, columns.label) if source.columns.count(name) > 1]
    if twice:
        raise SchemaMismatchError(f"{source.name}: has several columns {twice[0]}; rename all but one")
    return has_label


def clean_value(value: Any, class_names: tuple[str, ...] | None, name: str) -> str | None:
    """Return a label value in one spelling (`labels.clean_label`), and a class number as the class's name."""
    try:
        cleaned = clean_label(value)
        if class_names is None or cleaned is None or not _is_class_number(cleaned):
            return cleaned
        # A CSV file has class numbers as texts; they stay as they are if classes have numbers for names.
        if isinstance(value, str) and any(map(_is_class_number, class_names)):
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


def _is_class_number(cleaned: str) -> bool:
    return cleaned.removeprefix("-").isdecimal()


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
            f"{name}: all texts of column {column!r} are printed values such as b'text', 'text' or ['word', "
            "'word'], whose signs a model would learn; decode, unquote or join them, and write the file again"
        )


def _join_row(row: Sequence[Any]) -> Any:
    no_text = next((value for value in row if isinstance(value, bytes | list | dict)), None)
    joined = TEXT_JOINER.join(str(value) for value in row if find_reject_reason(value) != NULL_TEXT)
    return joined or None if no_text is None else no_text


def _make_batch(
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
