"""Refuse labelled reviews that prove the class names of a classifier, or the label values, exchanged."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..errors import UnusableLabelsError
from ..evaluation.intervals import CONFIDENCE, compare_hits, measure_share
from ..evaluation.judged import JudgedReviews
from .data.model_labels import show_labels

# Of the test on each half of the reviews. A random classifier of many classes reaches 0.05 on both halves in
# 1 of 50 trials, 0.01 in none of 400; names that are exchanged reach 0.01 with 200 reviews.
MAX_P_VALUE = 0.01
_SEED = 0
_SHOWN_NAMES = 12


def check_agreement(judged: JudgedReviews) -> None:
    """Raise UnusableLabelsError if class names, or the meanings of label values, are exchanged.

    They are if surely fewer labels are right than by chance, or surely more with other names.
    """
    scored = np.flatnonzero(~judged.is_rejected)
    truth, predicted, labels = judged.truth[scored], judged.predicted[scored], judged.labels
    is_right = truth == predicted
    if not len(scored):
        return
    if measure_share(is_right).high < 1 / len(labels):
        raise UnusableLabelsError(
            f"the classifier gives the right label to {is_right.mean():.1%} of {len(is_right):,} reviews, "
            f"fewer than chance (1 of {len(labels)}): its class names ({show_labels(labels)}) or the "
            "values of the label column are exchanged; look the classes up in its model card, and pass "
            "--labels_from or --label_map"
        )
    names = find_better_names(truth, predicted, len(labels))
    if names is not None:
        raise UnusableLabelsError(
            f"the classifier gives the right label to {is_right.mean():.1%} of {len(is_right):,} reviews, "
            f"but to {np.mean(names[predicted] == truth):.1%} if its classes have other names "
            f"({_show_renaming(labels, names)}): its class names or the values of the label column are "
            "exchanged; look the classes up in its model card, and pass "
            f"--labels_from {_show_argument(labels, names)}, or --label_map"
        )


def find_better_names(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray | None:
    """Return for each class the one whose name it should have, int64 (n_classes,); None if its own is best.

    The best names of each half of the reviews must also be better on the other half: on the same reviews, the
    best of so many renamings is better by chance.
    """
    order = np.random.default_rng(_SEED).permutation(len(truth))
    for chosen, others in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        names = _find_names(truth[chosen], predicted[chosen], n_classes)
        if not _is_better(names, truth[others], predicted[others], MAX_P_VALUE):
            return None
    return _find_names(truth, predicted, n_classes)


def _find_names(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the names with which most labels are right; only groups that are surely better are renamed."""
    cells = np.bincount(predicted * n_classes + truth, minlength=n_classes * n_classes)
    _, best = linear_sum_assignment(-cells.reshape(n_classes, n_classes))
    names = np.arange(n_classes)
    for group in _list_groups(best):
        renamed = np.arange(n_classes)
        renamed[group] = best[group]
        if _is_better(renamed, truth, predicted, 1 - CONFIDENCE):
            names[group] = best[group]
    return names


def _list_groups(names: np.ndarray) -> list[list[int]]:
    """Return the groups of classes that exchange their names with each other: cycles of a permutation."""
    groups: list[list[int]] = []
    for start in range(len(names)):
        group, following = [start], int(names[start])
        while following != start:
            group.append(following)
            following = int(names[following])
        if len(group) > 1 and start == min(group):
            groups.append(group)
    return groups


def _is_better(names: np.ndarray, truth: np.ndarray, predicted: np.ndarray, max_p_value: float) -> bool:
    """Return True if surely more labels are right with these names."""
    compared = compare_hits(names[predicted] == truth, predicted == truth)
    # The interval is narrow on a few reviews, where the test is exact.
    return compared.difference.low > 0 and compared.p_value < max_p_value


def _show_renaming(labels: Sequence[str], names: np.ndarray) -> str:
    pairs = [f"{labels[i]} is {labels[name]}" for i, name in enumerate(names) if i != name]
    return ", ".join(pairs[:_SHOWN_NAMES]) + (" …" if len(pairs) > _SHOWN_NAMES else "")


def _show_argument(labels: Sequence[str], names: np.ndarray) -> str:
    """Return the value of `--labels_from` for these names, by number; an example for many classes."""
    shown = [f"{i}={labels[name]}" for i, name in enumerate(names[:_SHOWN_NAMES])]
    return f'"{",".join(shown)}{",…" if len(names) > _SHOWN_NAMES else ""}"'
