"""Hold the columns to train on, the same in all sources of a data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import AmbiguousInputError, SchemaMismatchError
from ...schema import name_like, show_columns
from .source import Source, check_once, split_words
from .split_names import is_split_name, shorten
from .splits import TRAIN

# A column with one of these words in its name may state the split of each row.
_SPLIT_WORDS = {"split", "splits", "fold", "folds", "subset", "partition", "set", "train", "test"}
# So may one of these, as in a copy of IMDb with many downloads, if its values are names of splits.
_KIND_WORDS = {"type", "kind", "usage", "dataset", "data", "phase"}


@dataclass(frozen=True)
class Columns:
    """Hold the columns to train on."""

    texts: tuple[str, ...]
    label: str


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


def share_class_names(opened: Mapping[str, Sequence[Source]], column: str) -> dict[str, list[Source]]:
    """Give the class names that some sources state to those that do not, as `datasets` does.

    Raises AmbiguousInputError if sources state them in several orders, and one does not state them.
    """
    sources = [source for group in opened.values() for source in group]
    stated: dict[tuple[str, ...], str] = {}
    for source in sources:
        if column in source.class_names:
            stated.setdefault(source.class_names[column], source.name)
    without = [name.name for name in sources if column in name.columns and column not in name.class_names]
    if len(stated) > 1 and without:
        orders = "; ".join(f"{name}: {show_columns(classes)}" for classes, name in stated.items())
        raise AmbiguousInputError(
            f"{shorten(without)}: does not name the classes of column {column!r}, and other files name them "
            f"differently ({orders}), so it is not known what its class numbers mean; write the labels of "
            "all files as names, or move some of them away"
        )
    names = {column: next(iter(stated))} if stated else {}
    return {
        split: [replace(source, class_names={**names, **source.class_names}) for source in group]
        for split, group in opened.items()
    }


def check_columns(source: Source, split: str, columns: Columns) -> bool:
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
    check_once(source, (*columns.texts, columns.label))
    return has_label


def note_columns(source: Source, columns: Columns) -> list[str]:
    """Return notes about columns that may state splits, and so are not used, and about a missing label."""
    others = [name for name in source.columns if name not in (*columns.texts, columns.label)]
    names = [name for name in others if _has_splits(source, name)]
    notes = [f"column {name!r} is not used: names of files decide the splits" for name in name_like(names)]
    return notes if columns.label in source.columns else [*notes, f"has no column {columns.label}"]


def _has_splits(source: Source, name: str) -> bool:
    words = set(split_words(name))
    if not words.isdisjoint(_SPLIT_WORDS):
        return True
    if words.isdisjoint(_KIND_WORDS) or source.flat_columns.count(name) != 1:
        return False
    first = next(iter(source.read([name])), {name: []})[name]
    return bool(first) and all(map(is_split_name, first))
