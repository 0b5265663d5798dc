"""Choose the rows of each split: drop what cannot be used, remove duplicates across splits, and sample."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import UnusableLabelsError
from .description import N_BANDS, are_near
from .labels import Numbering
from .preparation import Prepared
from .prepared_rows import PreparedRows
from .splits import (
    MIN_ROWS_PER_CLASS,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Candidates,
    Splits,
    check_classes,
    cut_splits,
    find_repeated,
    sample_rows,
    without_leaks,
)

# If a larger share of a split is near to the texts to measure with, all come from a template. Little would
# be left without them.
MAX_NEAR_SHARE = 0.2
# If a larger share of the different texts of a split occur more than once, some file may have the rows of
# another one. Short reviews such as "good" may be many rows, but are few of the different texts.
MAX_REPEATED_SHARE = 0.5
# Difference between train and test in the share of texts that are not in Latin letters.
MAX_SCRIPT_DIFFERENCE = 0.05
_QUERY_ROWS = 50_000
_PROBE_ROWS = 2_000
_MIN_SCRIPT_ROWS = 100
# Instead of a class id.
_NO_LABEL, _LEFT_OUT = -1, -2


@dataclass
class Counts:
    """Count the rows by use. Each row that was read is in one of the first nine counts.

    `dropped_text_rows` have no text that a model would score, `dropped_label_rows` no label, `left_out_rows`
    a label that the scheme leaves out; `unlabelled_split_rows` are in a split without any label.
    `conflicting_rows` have a label that most rows with the same text do not have; the words of `leaked_rows`
    and most words of `near_rows` are also in another split; `not_sampled_rows` are more than the maximum.
    """

    dropped_text_rows: int = 0
    dropped_label_rows: int = 0
    left_out_rows: int = 0
    unlabelled_split_rows: int = 0
    conflicting_rows: int = 0
    leaked_rows: int = 0
    near_rows: int = 0
    not_sampled_rows: int = 0
    used_rows: int = 0
    train_rows: int = 0
    validation_rows: int = 0
    test_rows: int = 0
    warnings: list[str] = field(default_factory=list)


# Why rows are not used, by the name of their count.
_UNUSED = {
    "dropped_label_rows": "without label",
    "left_out_rows": "left out by the label scheme",
    "dropped_text_rows": "without text",
    "unlabelled_split_rows": "in splits without labels",
    "conflicting_rows": "with two labels for one text",
    "leaked_rows": "also in another split",
    "near_rows": "nearly in another split",
    "not_sampled_rows": "not in the samples",
}


def describe_unused(counts: Mapping[str, int]) -> str:
    """Return the numbers of unused rows with the reasons; `counts` are those of `Counts` by name."""
    found = [f"{counts[name]:,} {reason}" for name, reason in _UNUSED.items() if counts[name]]
    return ", ".join(found) or "none"


def select(
    prepared: Prepared, numbering: Numbering, max_train: int | None, max_eval: int | None, seed: int
) -> tuple[Splits, Counts, str]:
    """Choose the rows of the three splits; return them, the counts, and a digest of all texts and labels.

    Raises UnusableLabelsError if a split lacks a class.
    """
    table = PreparedRows(prepared)
    counts = Counts(warnings=list(prepared.warnings))
    names = numbering.names
    splits = cut_splits(_find_usable(table, prepared, numbering, counts), names, seed)
    splits, counts.leaked_rows = without_leaks(splits)
    _check_all(splits, names, 1)
    splits = _remove_near(table, splits, names, counts)
    sampled = {
        name: _sample(split, max_train if name == TRAIN else max_eval, seed) for name, split in splits.items()
    }
    counts.not_sampled_rows = sum(len(splits[name]) - len(sampled[name]) for name in SPLITS)
    _check_all(sampled, names, 1)
    check_classes(sampled[TRAIN], TRAIN, names, MIN_ROWS_PER_CLASS)
    for name in SPLITS:
        setattr(counts, f"{name}_rows", len(sampled[name]))
    counts.used_rows = sum(map(len, sampled.values()))
    _compare_scripts(table, sampled, counts)
    digest = _digest(table, sampled)
    loaded = Splits(
        train=table.make_dataset(sampled[TRAIN]),
        validation=table.load_frame(sampled[VALIDATION]),
        # Only the test is reported by slices.
        test=table.load_frame(sampled[TEST], with_details=True),
        release=table.release,
    )
    return loaded, counts, digest


def _find_usable(
    table: PreparedRows, prepared: Prepared, numbering: Numbering, counts: Counts
) -> dict[str, Candidates]:
    # The last element is for -1, which means no label.
    class_ids = [numbering.ids[value] for value in prepared.labels]
    numbers = np.array([_LEFT_OUT if i is None else i for i in class_ids] + [_NO_LABEL], dtype=np.int16)
    found = {}
    for split in prepared.splits:
        rows = table.find_rows(split)
        labels = numbers[table.take("label", rows)]
        if split == TRAIN or (labels >= 0).any():
            found[split] = _drop_unusable(table, split, rows, labels, counts)
            continue
        counts.unlabelled_split_rows += len(rows)
        counts.warnings.append(
            f"split {split!r} has {len(rows):,} rows and no labels: it is not used, and one is cut from train"
        )
    return found


def _drop_unusable(
    table: PreparedRows, split: str, rows: np.ndarray, labels: np.ndarray, counts: Counts
) -> Candidates:
    """Return the rows with text and label, and count the others."""
    is_text = table.are_texts(rows)
    counts.dropped_text_rows += int((~is_text).sum())
    counts.dropped_label_rows += int((is_text & (labels == _NO_LABEL)).sum())
    counts.left_out_rows += int((is_text & (labels == _LEFT_OUT)).sum())
    is_usable = is_text & (labels >= 0)
    if not is_usable.any():
        reasons = Counter(table.take("reason", rows[~is_text]).tolist())
        found = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
        raise UnusableLabelsError(
            f"split {split!r} has no review with text and label: of {len(is_text):,} rows, "
            f"{(~is_text).sum():,} have no text that a model would score{found and f' ({found})'}, and "
            f"{(labels < 0).sum():,} have no label or one that is left out; check --text_col and --label_col"
        )
    rows, labels = rows[is_usable], labels[is_usable]
    agree = ~_find_conflicts(table.take("spaced_digest", rows), labels)
    counts.conflicting_rows += int((~agree).sum())
    rows, labels = rows[agree], labels[agree]
    words = table.take("words_digest", rows)
    is_first = ~find_repeated(words, keep_first=True)
    repeated = find_repeated(words)[is_first].sum() / max(1, is_first.sum())
    if repeated > MAX_REPEATED_SHARE:
        counts.warnings.append(
            f"{repeated:.0%} of the different texts of split {split!r} occur more than once, and each row "
            "counts: perhaps a file has the rows of another one in another format"
        )
    groups = table.take("group", rows) if table.has_groups else None
    return Candidates(rows, labels, words, groups)


def _find_conflicts(texts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a mask of the rows whose label is not that of most rows with their text; all rows at a tie."""
    conflicts = np.zeros(len(texts), dtype=bool)
    # Few rows have the text of another row; counting only these takes less memory.
    repeated = np.flatnonzero(find_repeated(texts))
    pairs, unit, n = np.unique(
        np.stack([texts[repeated], labels[repeated]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    is_first = np.r_[True, pairs[1:, 0] != pairs[:-1, 0]] if len(pairs) else np.zeros(0, dtype=bool)
    text = np.cumsum(is_first) - 1
    most = np.zeros(is_first.sum(), dtype=np.int64)
    np.maximum.at(most, text, n)
    is_most = n == most[text]
    is_tied = np.bincount(text[is_most], minlength=len(most)) > 1
    conflicts[repeated] = (~is_most | is_tied[text])[unit.ravel()]
    return conflicts


def _remove_near(
    table: PreparedRows, splits: Mapping[str, Candidates], names: Sequence[str], counts: Counts
) -> dict[str, Candidates]:
    """Remove training rows near to validation or test rows, and validation rows near to test rows."""
    pairs = {
        VALIDATION: splits[TEST].rows,
        TRAIN: np.concatenate([splits[VALIDATION].rows, splits[TEST].rows]),
    }
    kept = dict(splits)
    for name, others in pairs.items():
        rows = splits[name].rows
        # A sample is compared first: texts from a template would take hours, and are kept anyway.
        probe = np.random.default_rng(0).permutation(rows)[:_PROBE_ROWS]
        share = _find_near(table, probe, others).mean()
        if share > MAX_NEAR_SHARE:
            counts.warnings.append(
                f"about {share:.0%} of the {name} texts are near duplicates of texts in the splits to "
                "measure with: all are kept, and the figures of the test are too good for other texts"
            )
            continue
        is_near = _find_near(table, rows, others)
        counts.near_rows += int(is_near.sum())
        kept[name] = splits[name].take(~is_near)
    _check_all(kept, names, 1)
    return kept


def _find_near(table: PreparedRows, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that have a near duplicate among the others."""
    near = np.zeros(len(rows), dtype=bool)
    for band in range(N_BANDS):
        theirs = table.take_band(band, others)
        order = np.argsort(theirs)
        theirs = theirs[order]
        for start in range(0, len(rows), _QUERY_ROWS):
            part = slice(start, start + _QUERY_ROWS)
            mine = table.take_band(band, rows[part])
            places = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
            candidates = np.flatnonzero((theirs[places] == mine) & ~near[part])
            texts = table.take_texts(rows[part][candidates])
            matches = table.take_texts(others[order[places[candidates]]])
            is_near = [are_near(text, match) for text, match in zip(texts, matches, strict=True)]
            near[start + candidates[is_near]] = True
    return near


def _digest(table: PreparedRows, splits: Mapping[str, Candidates]) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        digest.update(table.take("digest", splits[name].rows).data)
        digest.update(splits[name].labels.astype(np.int64, copy=False).data)
        digest.update(b"|")
    return digest.hexdigest()[:16]


def _sample(split: Candidates, max_rows: int | None, seed: int) -> Candidates:
    if max_rows is None or len(split) <= max_rows:
        return split
    return split.take(sample_rows(np.arange(len(split)), split.labels, max_rows, seed))


def _check_all(splits: Mapping[str, Candidates], names: Sequence[str], at_least: int) -> None:
    for name in SPLITS:
        check_classes(splits[name], name, names, at_least)


def _compare_scripts(table: PreparedRows, splits: Mapping[str, Candidates], counts: Counts) -> None:
    if min(len(splits[TRAIN]), len(splits[TEST])) < _MIN_SCRIPT_ROWS:
        return
    train, test = (float(table.take("is_other_script", splits[name].rows).mean()) for name in (TRAIN, TEST))
    if abs(train - test) > MAX_SCRIPT_DIFFERENCE:
        counts.warnings.append(
            f"{train:.0%} of the training texts and {test:.0%} of the test texts are not in Latin letters: "
            "the test does not measure what was trained"
        )
