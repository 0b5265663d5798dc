"""Make the splits train, validation and test: cut missing ones, remove leaks, and sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from ...errors import UnusableLabelsError
from ...schema import name_like

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
# A missing validation or test split is this share of the training rows.
CUT_SHARE = 0.1
MIN_ROWS_PER_CLASS = 10
# A message lists so many classes, those with the fewest rows.
_SHOWN_CLASSES = 5


@dataclass(frozen=True)
class Splits:
    """Hold the rows to train and to measure with: `text` (string), `label` (class id) and, if known, `group`.

    `train` may have millions of rows, so it stays on disk; `validation` and `test` are in memory. Rows with
    the same `group` belong to one review. `test` also has those details that the data set has. Memory for
    rows of `train` that were read is given back by `release`.
    """

    train: datasets.Dataset
    validation: pd.DataFrame
    test: pd.DataFrame
    release: Callable[[], None] = lambda: None

    def load_train(self, max_rows: int | None = None, seed: int = 0) -> pd.DataFrame:
        """Load the training rows, or a sample stratified by label, in their order."""
        labels = np.asarray(self.train.with_format("numpy")["label"][:])
        chosen = sample_rows(np.arange(len(labels)), labels, max_rows, seed)
        frame: pd.DataFrame = self.train.select(chosen).to_pandas()
        return frame


@dataclass(frozen=True)
class Candidates:
    """Hold what the choice of rows needs, as arrays of the same length: one element per usable row.

    `rows` are places in the data set (int32), `labels` class ids (int16), `words` digests of the words of the
    texts (int64), `groups` numbers of reviews (int64), or None if they are not known.
    """

    rows: np.ndarray
    labels: np.ndarray
    words: np.ndarray
    groups: np.ndarray | None = None

    def take(self, places: np.ndarray) -> "Candidates":
        """Return the rows at these places (an index or a mask)."""
        groups = None if self.groups is None else self.groups[places]
        return Candidates(self.rows[places], self.labels[places], self.words[places], groups)

    def __len__(self) -> int:
        return len(self.rows)


def cut_splits(found: Mapping[str, Candidates], names: Sequence[str], seed: int) -> dict[str, Candidates]:
    """Cut missing validation and test splits from train, stratified by label.

    Rows of a group, or with the same words, stay together. Raises UnusableLabelsError if a class has fewer
    than `MIN_ROWS_PER_CLASS` training rows, or too few different texts.
    """
    check_classes(found[TRAIN], TRAIN, names, MIN_ROWS_PER_CLASS)
    splits = dict(found)
    for name in (TEST, VALIDATION):
        if name not in splits:
            splits[TRAIN], splits[name] = _cut(splits[TRAIN], seed)
            _check_cut(splits, name, names)
    return {name: splits[name] for name in SPLITS}


def _check_cut(splits: Mapping[str, Candidates], cut: str, names: Sequence[str]) -> None:
    """Raise UnusableLabelsError if train or the split that was cut from it lacks a class."""
    for i, name in enumerate(names):
        if not all((splits[part].labels == i).any() for part in (TRAIN, cut)):
            shown = name if name_like([name]) else f"class {i}"
            raise UnusableLabelsError(
                f"split {TRAIN!r} has too few different texts (or reviews, if rows belong to one) of {shown} "
                f"to cut {cut!r} from it; use more data, or a folder that has {cut!r} too"
            )


def without_leaks(splits: Mapping[str, Candidates]) -> tuple[dict[str, Candidates], int]:
    """Remove rows with the words of a test row from train and validation, and of validation from train.

    Return the splits and the number of removed rows.
    """
    test = splits[TEST]
    validation = splits[VALIDATION].take(~_are_among(splits[VALIDATION].words, test.words))
    seen = np.concatenate([test.words, validation.words])
    train = splits[TRAIN].take(~_are_among(splits[TRAIN].words, seen))
    kept = {TRAIN: train, VALIDATION: validation, TEST: test}
    return kept, sum(len(splits[name]) - len(kept[name]) for name in SPLITS)


def _are_among(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    # `np.isin` would sort all words, in several times the memory of the words.
    among: np.ndarray = pd.Series(words).isin(others).to_numpy()
    return among


def sample_rows(
    rows: np.ndarray, labels: np.ndarray, max_rows: int | None, seed: int, at_least: int = 0
) -> np.ndarray:
    """Return a sample of `rows` in their order, stratified by label; all if there are no more.

    It has `at_least` so many of each label, and may then have more than `max_rows`.
    """
    if max_rows is None or len(rows) <= max_rows:
        return rows
    random = np.random.default_rng(seed)
    chosen = [
        random.choice(places, max(at_least, round(len(places) / len(rows) * max_rows)), replace=False)
        for places in (np.flatnonzero(labels == label) for label in np.unique(labels))
    ]
    sample: np.ndarray = rows[np.sort(np.concatenate(chosen))]
    return sample


def check_classes(split: Candidates, name: str, names: Sequence[str], at_least: int) -> None:
    """Raise UnusableLabelsError if a class has fewer rows than `at_least`."""
    counts = np.bincount(split.labels, minlength=len(names))[: len(names)]
    if counts.min(initial=at_least) < at_least:
        few = np.argsort(counts, kind="stable")[:_SHOWN_CLASSES]
        shown = [
            f"{counts[i]:,} {names[i] if name_like([names[i]]) else f'of class {i}'}" for i in sorted(few)
        ]
        listed = " and ".join(shown)
        raise UnusableLabelsError(
            f"split {name!r} has {listed} reviews that are in no other split, expected at least {at_least} "
            "of each; check --label_col, or use more data"
        )


def describe_splits(splits: Splits, labels: Sequence[str]) -> pd.DataFrame:
    """Return a row per split: the numbers of `reviews`, of those with each label, and the leaks.

    `shared_texts` counts the rows whose text is also in another split, `shared_groups` the rows whose group
    is; 0 if there are no groups. All rows are loaded.
    """
    frames = {TRAIN: splits.load_train(), VALIDATION: splits.validation, TEST: splits.test}
    rows = {}
    for name, frame in frames.items():
        others = pd.concat([other for key, other in frames.items() if key != name])
        has_groups = "group" in frame and "group" in others
        rows[name] = {
            "reviews": len(frame),
            **{label: int((frame["label"] == i).sum()) for i, label in enumerate(labels)},
            "shared_texts": int(frame["text"].isin(others["text"]).sum()),
            "shared_groups": int(frame["group"].isin(others["group"]).sum()) if has_groups else 0,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _cut(split: Candidates, seed: int) -> tuple[Candidates, Candidates]:
    if split.groups is not None:
        folds = StratifiedGroupKFold(round(1 / CUT_SHARE), shuffle=True, random_state=seed)
        kept, cut = next(folds.split(split.rows, split.labels, split.groups))
        return split.take(kept), split.take(cut)
    # Rows with the same words are cut together, by the label of the first of them.
    first = np.flatnonzero(~find_repeated(split.words, keep_first=True))
    cut = sample_rows(first, split.labels[first], round(CUT_SHARE * len(first)), seed, 1)
    is_cut = _are_among(split.words, split.words[cut])
    return split.take(~is_cut), split.take(is_cut)


def find_repeated(values: np.ndarray, keep_first: bool = False) -> np.ndarray:
    """Return a mask of the values that occur more than once; `keep_first` leaves out the first of each."""
    # `pd.Series.duplicated` does the same in four times the memory.
    order = np.argsort(values, kind="stable").astype(np.int32)
    in_order = values[order]
    is_next = in_order[1:] == in_order[:-1]
    mask = np.zeros(len(values), dtype=bool)
    mask[order[1:][is_next]] = True
    if not keep_first:
        mask[order[:-1][is_next]] = True
    return mask
