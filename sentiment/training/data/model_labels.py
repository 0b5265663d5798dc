"""Give the label values of reviews the labels of a model that exists already."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ... import schema
from ...errors import ConfigError, InputError, UnusableLabelsError
from .labels import (
    AUTO,
    NAMES,
    STARS,
    THREE_WAY,
    Numbering,
    can_be_shown,
    clean_label,
    number_labels,
    show_values,
)

_SHOWN_LABELS = 12


def number_for_model(
    counts: Mapping[str, Counter[str | None]],
    column: str,
    labels: Sequence[str],
    scheme: str = AUTO,
    label_map: str | None = None,
    class_names: Sequence[str] = (),
) -> Numbering:
    """Decide which label of a model each value means; the names of the result are some or all of `labels`.

    The arguments are those of `number_labels`, but `auto` is the scheme that suits the labels. Raises an
    InputError if the values do not fit the scheme, or mean a class that the model lacks.
    """
    spelled = _spell(labels)
    if scheme == AUTO and label_map is None:
        scheme = pick_scheme(labels)
    try:
        # A label of the model that could mean a missing value, such as `n/a`, is known to be a class.
        found = number_labels(counts, column, scheme, label_map, (*class_names, *labels))
    except InputError as error:
        raise type(error)(
            f"{error}; the labels of the model are {show_labels(labels)}: map the values to them with "
            f"{_show_map(labels)}"
        ) from error
    unknown = [name for name in found.names if clean_label(name) not in spelled]
    if unknown:
        source = "label_map" if label_map is not None else f"label_scheme {scheme}"
        raise UnusableLabelsError(
            f"label column {column!r}: by {source} it has {show_values(unknown)}, which are no labels of the "
            f"model ({show_labels(labels)}); map each value with {_show_map(labels)} (no label: left out)"
        )
    meant = [spelled[clean_label(name)] for name in found.names]
    names = tuple(dict.fromkeys(meant))
    ids = {value: None if i is None else names.index(meant[i]) for value, i in found.ids.items()}
    return Numbering(names, ids)


def pick_scheme(labels: Sequence[str]) -> str:
    """Return the label scheme of reviews that suits a model with these labels."""
    names = {clean_label(label) for label in labels}
    if names == set(schema.POLARITY_LABELS):
        return AUTO
    if names == set(schema.THREE_WAY_LABELS):
        return THREE_WAY
    return STARS if schema.find_label_values(labels) == (1, 2, 3, 4, 5) else NAMES


def find_equal_labels(labels: Sequence[str]) -> tuple[str, str] | None:
    """Return two labels that are equal under `clean_label`, such as `good` and `Good!`; None without any."""
    first: dict[str | None, str] = {}
    for label in labels:
        name = clean_label(label)
        if name in first:
            return first[name], label
        first[name] = label
    return None


def check_names(labels: tuple[str, ...], where: str, step: str) -> tuple[str, ...]:
    """Return class names that came from `where`; raise ConfigError if they are blank or not distinct.

    `step` is the next step in its message.
    """
    if not all(map(can_be_shown, labels)):
        raise ConfigError(
            f"{where}: a class has a blank or unprintable name, which means nothing in a table; {step}"
        )
    equal = find_equal_labels(labels)
    if equal is not None:
        raise ConfigError(
            f"{where}: expected names that differ in more than case, spaces and final dots, found "
            f"{equal[0]!r} and {equal[1]!r}; {step}"
        )
    return labels


def show_labels(labels: Sequence[str]) -> str:
    """List the labels of a model for a message."""
    return ", ".join(labels[:_SHOWN_LABELS]) + (" …" if len(labels) > _SHOWN_LABELS else "")


def _show_map(labels: Sequence[str]) -> str:
    """Return an example of `--label_map` with the labels of a model."""
    shown = [f"VALUE={label}" for label in labels[:_SHOWN_LABELS]]
    return f"--label_map '{';'.join([*shown, 'VALUE='])}'"


def _spell(labels: Sequence[str]) -> dict[str | None, str]:
    """Return the label by each of its spellings: its name, and its value, as `4` of `4 stars`."""
    equal = find_equal_labels(labels)
    if equal is not None:
        raise UnusableLabelsError(
            f"labels of the model: expected names that differ in more than case, spaces and final dots, "
            f"found {equal[0]!r} and {equal[1]!r}, which no label value can tell apart; give the model other "
            "labels: fine-tune it again, or adopt it with --labels_from"
        )
    values = schema.find_label_values(labels) or ()
    by_value = {clean_label(value): label for value, label in zip(values, labels, strict=False)}
    return by_value | {clean_label(label): label for label in labels}
