"""Make the splits train, validation and test: cut missing ones, remove leaks, and sample."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from ...errors import UnusableLabelsError
from ...schema import LABELS

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
# A missing validation or test split is this share of the training rows.
CUT_SHARE = 0.1
MIN_ROWS_PER_CLASS = 10


@dataclass(frozen=True)
class Splits:
    """Hold three frames with `text` (str), `label` (0 or 1) and, if sentences belong together, `group`.

    `leaked_rows` counts the rows that were removed because their text is also in another split.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    leaked_rows: int = 0


def cut_splits(frames: Mapping[str, pd.DataFrame], seed: int) -> Splits:
    """Cut missing validation and test splits from train, stratified by label.

    Rows of a `group` stay together. Raises UnusableLabelsError if a class has fewer than `MIN_ROWS_PER_CLASS`
    training rows, or if validation or test lack a class.
    """
    _check_both_classes(frames[TRAIN], TRAIN, MIN_ROWS_PER_CLASS)
    found = dict(frames)
    for name in (TEST, VALIDATION):
        if name not in found:
            found[TRAIN], found[name] = _cut(found[TRAIN], seed)
    splits = Splits(found[TRAIN], found[VALIDATION], found[TEST])
    _check_splits(splits)
    return splits


def without_leaks(splits: Splits) -> Splits:
    """Remove texts of validation and test from train, and texts of test from validation.

    Raises UnusableLabelsError if a split then lacks a class.
    """
    in_test = splits.validation["text"].isin(splits.test["text"])
    validation = splits.validation[~in_test]
    is_leak = splits.train["text"].isin(splits.test["text"]) | splits.train["text"].isin(validation["text"])
    leaked_rows = int(is_leak.sum()) + int(in_test.sum())
    kept = Splits(splits.train[~is_leak], validation, splits.test, leaked_rows)
    _check_splits(kept)
    return kept


def describe_splits(splits: Splits) -> pd.DataFrame:
    """Return a row per split: the numbers of `reviews`, of `negative` and of `positive` ones, and the leaks.

    `shared_texts` counts the rows whose text is also in another split, `shared_groups` the rows whose group
    is; 0 if there are no groups.
    """
    frames = {TRAIN: splits.train, VALIDATION: splits.validation, TEST: splits.test}
    rows = {}
    for name, frame in frames.items():
        others = pd.concat([other for key, other in frames.items() if key != name])
        has_groups = "group" in frame and "group" in others
        rows[name] = {
            "reviews": len(frame),
            **{label: int((frame["label"] == i).sum()) for i, label in enumerate(LABELS)},
            "shared_texts": int(frame["text"].isin(others["text"]).sum()),
            "shared_groups": int(frame["group"].isin(others["group"]).sum()) if has_groups else 0,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def sample_splits(splits: Splits, max_train: int | None, max_eval: int | None, seed: int) -> Splits:
    """Sample at most `max_train` training rows, and `max_eval` validation and test rows each, by label.

    Raises UnusableLabelsError if a sample lacks a class.
    """
    sampled = Splits(
        sample_rows(splits.train, max_train, seed),
        sample_rows(splits.validation, max_eval, seed),
        sample_rows(splits.test, max_eval, seed),
        splits.leaked_rows,
    )
    _check_splits(sampled)
    return sampled


def sample_rows(frame: pd.DataFrame, max_rows: int | None, seed: int) -> pd.DataFrame:
    """Return a sample of `max_rows` rows, stratified by label, or the frame itself if it has no more."""
    if max_rows is None or len(frame) <= max_rows:
        return frame
    shares = frame["label"].value_counts(normalize=True)
    taken = {label: round(share * max_rows) for label, share in shares.items()}
    parts = [frame[frame["label"] == label].sample(n, random_state=seed) for label, n in taken.items()]
    return pd.concat(parts).sort_index()


def _cut(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    if "group" not in frame:
        kept, cut = train_test_split(frame, test_size=CUT_SHARE, stratify=frame["label"], random_state=seed)
        return kept, cut
    folds = StratifiedGroupKFold(round(1 / CUT_SHARE), shuffle=True, random_state=seed)
    kept_rows, cut_rows = next(folds.split(frame, frame["label"], frame["group"]))
    return frame.iloc[kept_rows], frame.iloc[cut_rows]


def _check_splits(splits: Splits) -> None:
    for name in SPLITS:
        _check_both_classes(getattr(splits, name), name, 1)


def _check_both_classes(frame: pd.DataFrame, name: str, at_least: int) -> None:
    counts = [int((frame["label"] == label).sum()) for label in (0, 1)]
    if min(counts) < at_least:
        raise UnusableLabelsError(
            f"split {name!r} has {counts[0]} negative and {counts[1]} positive reviews that are in no other "
            f"split, expected at least {at_least} of each; check --label_col, or use more data"
        )
