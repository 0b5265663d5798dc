"""Decide the labels of a classifier that was trained elsewhere."""

import re
from collections.abc import Mapping, Sequence

from .. import schema
from ..errors import ConfigError
from .data.labels import clean_label
from .data.model_labels import check_names

CONFIG = "config"
# What transformers calls a class that nobody has named.
_UNNAMED = re.compile(r"label[ _-]?\d+", re.IGNORECASE)
_SHOWN_NAMES = 5


def choose_labels(stated: Sequence[str], labels_from: str) -> tuple[str, ...]:
    """Return the label of each class; `stated` are the names of the outputs in the config, in order.

    One output is the probability of the second of two classes. Raises ConfigError if `labels_from` does not
    name each class, or is `config` and the names there mean nothing, are blank, or are not distinct.
    """
    example = f'"{",".join(f"{i}=NAME" for i in range(max(2, len(stated))))}"'
    step = f"pass another name for each class: --labels_from {example}"
    if labels_from != CONFIG:
        return check_names(_name_classes(stated, _parse(labels_from, example)), "labels_from", step)
    if len(stated) == 1:
        raise ConfigError(
            "labels_from: the model has one output, the probability of the second of two classes, and its "
            f"config.json names one; name both: --labels_from {example}"
        )
    labels = tuple(name.strip() for name in stated)
    nameless = [i for i, name in enumerate(labels) if _UNNAMED.fullmatch(name) or clean_label(name) == str(i)]
    if nameless:
        raise ConfigError(
            f"labels_from: config.json has no name for {len(nameless)} of {len(labels)} classes, such as "
            f"{labels[nameless[0]]!r}, and such a label means nothing in a table; look the names up in the "
            f"model card and pass --labels_from {example}"
        )
    return check_names(labels, "config.json (id2label)", step)


def _parse(labels_from: str, example: str) -> dict[str, str]:
    """Parse `LABEL_0=negative,LABEL_1=positive`; `example` has the classes of the model, for a message."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in labels_from.split(","))):
        key, sign, name = (text.strip() for text in part.partition("="))
        if not sign or not key or key.lower() in found:
            raise ConfigError(
                "labels_from: expected `config`, or CLASS=NAME,CLASS=NAME with each class once, such as "
                f"{example}, found {labels_from!r}"
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


def _show(labels: Sequence[str]) -> str:
    shown = schema.name_like(label.replace(" ", "_") for label in labels)[:_SHOWN_NAMES]
    return ", ".join(shown) + (" …" if len(labels) > len(shown) else "")
