"""Decide the labels of a classifier that was trained elsewhere, and match those of reviews with them."""

import re
from collections.abc import Mapping, Sequence

from .. import schema
from ..errors import ConfigError, UnusableLabelsError
from .data.labels import AUTO, NAMES, STARS, THREE_WAY, clean_label, show_values

CONFIG = "config"
# What transformers calls a class that nobody has named.
_UNNAMED = re.compile(r"label[ _-]?\d+", re.IGNORECASE)
_SHOWN_NAMES = 5


def choose_labels(stated: Sequence[str], labels_from: str) -> tuple[str, ...]:
    """Return the label of each class; `stated` are the names of the outputs in the config, in order.

    One output is the probability of the second of two classes. Raises ConfigError if `labels_from` does not
    name each class, or is `config` and the names there mean nothing, are blank, or are not distinct.
    """
    if labels_from != CONFIG:
        return _check_names(_name_classes(stated, _parse(labels_from)), "labels_from")
    if len(stated) == 1:
        raise ConfigError(
            "labels_from: the model has one output, the probability of the second of two classes, and its "
            'config.json names one; name both: --labels_from "0=negative,1=positive"'
        )
    labels = tuple(name.strip() for name in stated)
    nameless = [i for i, name in enumerate(labels) if _UNNAMED.fullmatch(name) or name == str(i)]
    if nameless:
        example = ",".join(f"{i}=NAME" for i in range(len(labels)))
        raise ConfigError(
            f"labels_from: config.json has no name for {len(nameless)} of {len(labels)} classes, such as "
            f"{labels[nameless[0]]!r}, and such a label means nothing in a table; look the names up in the "
            f'model card and pass --labels_from "{example}"'
        )
    return _check_names(labels, "config.json (id2label)")


def pick_scheme(labels: Sequence[str]) -> str:
    """Return the label scheme of reviews that suits a model with these labels."""
    names = {label.lower() for label in labels}
    if names == set(schema.POLARITY_LABELS):
        return AUTO
    if names == set(schema.THREE_WAY_LABELS):
        return THREE_WAY
    return STARS if schema.find_label_values(labels) == (1, 2, 3, 4, 5) else NAMES


def match_labels(names: Sequence[str], labels: Sequence[str]) -> list[int]:
    """Return the class id, in a model with these labels, of each class name of labelled reviews.

    Case does not matter, and `4` means `4 stars`. Raises UnusableLabelsError for a name that the model lacks.
    """
    ids = {clean_label(label): i for i, label in enumerate(labels)}
    values = schema.find_label_values(labels) or ()
    ids |= {clean_label(value): i for i, value in enumerate(values)}
    absent = [name for name in names if clean_label(name) not in ids]
    if absent:
        raise UnusableLabelsError(
            f"label_col: the reviews have {show_values(absent)}, which are no labels of the model "
            f"({_show(labels)}); map each value with --label_map 'VALUE=LABEL;VALUE=' (no label: left out)"
        )
    return [ids[clean_label(name)] for name in names]


def _parse(labels_from: str) -> dict[str, str]:
    """Parse `LABEL_0=negative,LABEL_1=positive`."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in labels_from.split(","))):
        key, sign, name = (text.strip() for text in part.partition("="))
        if not sign or not key or key.lower() in found:
            raise ConfigError(
                "labels_from: expected `config`, or CLASS=NAME,CLASS=NAME with each class once, such as "
                f'"LABEL_0=negative,LABEL_1=positive", found {labels_from!r}'
            )
        found[key.lower()] = name
    return found


def _name_classes(stated: Sequence[str], given: Mapping[str, str]) -> tuple[str, ...]:
    """Return the given names in the order of the classes; the keys are all stated names, or all numbers."""
    numbers = [str(i) for i in range(max(2, len(stated)))]
    by_name = [name.strip().lower() for name in stated]
    for keys in (by_name, numbers) if len(stated) > 1 else (numbers,):
        if sorted(keys) == sorted(given):
            return tuple(given[key] for key in keys)
    kinds = f"{', '.join(numbers[:_SHOWN_NAMES])}{' …' if len(numbers) > _SHOWN_NAMES else ''}"
    names = f", or {_show(stated)}" if len(stated) > 1 else ""
    raise ConfigError(
        f"labels_from: expected a name for each of {len(numbers)} classes ({kinds}{names}), found "
        f"{', '.join(schema.name_like(given)) or 'none'}; pass CLASS=NAME for each"
    )


def _check_names(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    if any(not label.strip() or not label.isprintable() for label in labels):
        raise ConfigError(
            f"{where}: a class has a blank or unprintable name; a label must mean something in a table; pass "
            'a name for each class, such as --labels_from "0=negative,1=positive"'
        )
    if len({label.lower() for label in labels}) < len(labels):
        twice = next(a for i, a in enumerate(labels) if a.lower() in [b.lower() for b in labels[:i]])
        shown = ", ".join(schema.name_like([twice]))
        raise ConfigError(
            f"{where}: two classes have the name {shown} (case does not count); pass another name for each "
            'class, such as --labels_from "0=negative,1=positive"'
        )
    return labels


def _show(labels: Sequence[str]) -> str:
    shown = schema.name_like(label.replace(" ", "_") for label in labels)[:_SHOWN_NAMES]
    return ", ".join(shown) + (" …" if len(labels) > len(shown) else "")
