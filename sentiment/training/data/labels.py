"""Understand label columns: which values mean which class."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import AmbiguousInputError, ConfigError, UnusableLabelsError
from ...schema import NEGATIVE, NEUTRAL, POLARITY_LABELS, POSITIVE, STAR_LABELS, THREE_WAY_LABELS
from .source import split_words

AUTO, POLARITY, THREE_WAY, STARS, NAMES = "auto", "polarity", "three_way", "stars", "names"
# A column with more distinct values has no labels.
MAX_LABELS = 1_000

_NEGATIVE_NAMES = ("negative", "neg", "bad", "no", "false")
_POSITIVE_NAMES = ("positive", "pos", "good", "yes", "true")
_POLARITIES = dict.fromkeys(_NEGATIVE_NAMES, NEGATIVE) | dict.fromkeys(_POSITIVE_NAMES, POSITIVE)
_NEUTRALS = dict.fromkeys(("neutral", "neu", "mixed"), NEUTRAL)
# A column with one of these words in its name has stars, also where only two kinds of stars occur.
# Words such as `starrating` are joined in some names; `note` is French and German for a grade.
_STAR_WORD = re.compile(r"\w*(star|rating|score)s?|overall|rated?|grades?|note")
# Between letters or digits; `-` and `--` are labels of their own.
_SEPARATORS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
# As in `4 stars`, and `4.0 out of 5 stars` of scraped pages.
_STAR = re.compile(r"([1-5])(?:[.,]0)?(?: out of 5|/5)?(?: stars?)?")
_SHOWN_VALUES = 12
# As databases, Python and pandas write a missing value into a text file.
_NULL_WORDS = {"null", "(null)", "<null>", "none", "nan", "nat", "na", "<na>", "n/a", "#n/a"}


@dataclass(frozen=True)
class Numbering:
    """Hold the class names, and the class id of each label value; None for a value that is left out.

    Class i has the name `names[i]`. The values are as `clean_label` returns them.
    """

    names: tuple[str, ...]
    ids: Mapping[str, int | None]

    def describe(self) -> dict[str, str]:
        """Return the class name by label value, and "left out" for values without class."""
        return {value: "left out" if i is None else self.names[i] for value, i in sorted(self.ids.items())}


def clean_label(value: Any) -> str | None:
    """Return a label value in one spelling: numbers without .0, words in lower case; None for null or blank.

    Raises UnusableLabelsError for a value that is no number, truth value or text.
    """
    if value is None or value != value:  # NaN differs from itself
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # An accent may be part of its letter, or a character of its own, as macOS writes it.
        word = _SEPARATORS.sub(" ", unicodedata.normalize("NFC", value).strip().lower())
        return _as_number(value) or word.rstrip(".!") or word or None
    number = _as_number(value) if isinstance(value, int | float) or hasattr(value, "__float__") else None
    if number is None:
        raise UnusableLabelsError(
            f"expected a label that is a number or a word, found a {type(value).__name__}; write one value "
            "per row, or choose another --label_col"
        )
    return number


def _as_number(value: Any) -> str | None:
    if isinstance(value, str) and "_" in value:  # Python would read 1_2 as 12
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):  # a whole number of hundreds of digits
        return None
    return str(int(number)) if number.is_integer() else str(number) if number == number else None


def is_class_number(cleaned: str) -> bool:
    """Return True if a label value, as `clean_label` returns it, may be the number of a class, or -1."""
    return cleaned.removeprefix("-").isdecimal()


def number_labels(
    counts: Mapping[str, Counter[str | None]],
    column: str,
    scheme: str = AUTO,
    label_map: str | None = None,
    class_names: Sequence[str] = (),
) -> Numbering:
    """Decide from the values of all splits together which class each value means.

    `counts` has the rows by value of each split; `class_names` is the order of the classes where the data set
    states one. Raises UnusableLabelsError if the values do not fit the scheme, AmbiguousInputError if `auto`
    cannot decide; the message names the arguments that can.
    """
    values = sorted({value for count in counts.values() for value in count if value is not None})
    if not values:
        raise UnusableLabelsError(
            f"label column {column!r}: has no label, since all its values are null or blank; choose another "
            "--label_col"
        )
    if label_map is not None:
        return _apply_map(column, values, parse_label_map(label_map))
    # A split with -1 in all rows has no labels (GLUE), unless -1 may be a class: it is in another split too,
    # or all splits have only 1 next to it.
    hidden = {"-1"} if _is_hidden(counts) else set()
    known = [value for value in values if value not in hidden]
    found = _SCHEMES[scheme](column, known, class_names)
    return Numbering(found.names, {**found.ids, **dict.fromkeys(hidden)})


def can_be_shown(name: str) -> bool:
    """Return False for the name of a class that means nothing in a table: a blank or unprintable one."""
    return bool(name.strip()) and name.isprintable()


def parse_label_map(text: str) -> dict[str, str | None]:
    """Parse `1,2=negative;3=;4,5=positive`; a value without a name is left out.

    Raises ConfigError for a text of another form, and for an unprintable name.
    """
    found: dict[str, str | None] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        values, sign, name = part.partition("=")
        cleaned = [clean_label(value) for value in values.split(",")]
        if not sign or None in cleaned or found.keys() & cleaned:
            raise ConfigError(
                "label_map: expected values=name;values=name such as 1,2=negative;3=;4,5=positive, each "
                f"value once, found {text!r}"
            )
        if name.strip() and not can_be_shown(name.strip()):
            raise ConfigError(
                f"label_map: expected class names of printable characters, found {name.strip()!r}; type the "
                "name again"
            )
        found |= {value: name.strip() or None for value in cleaned if value is not None}
    return found


def _is_hidden(counts: Mapping[str, Counter[str | None]]) -> bool:
    values = [set(count) - {None} for count in counts.values()]
    known = set().union(*(found for found in values if found != {"-1"}))
    return {"-1"} in values and {"0", "1"} <= known and "-1" not in known


def _apply_map(column: str, values: Sequence[str], classes: Mapping[str, str | None]) -> Numbering:
    names = tuple(dict.fromkeys(name for name in classes.values() if name is not None))
    if set(names) == set(POLARITY_LABELS):
        names = POLARITY_LABELS
    return _number(column, values, classes, names, "--label_map")


def _apply_scheme(
    scheme: str,
    column: str,
    values: Sequence[str],
    classes: Mapping[str, str | None],
    names: tuple[str, ...] = POLARITY_LABELS,
) -> Numbering:
    """Give the values numbers by a scheme, which knows `4 stars` as `4`."""
    known = {value: classes[star] for value in values if (star := _as_star(value)) in classes}
    return _number(column, values, known, names, f"--label_scheme {scheme}")


def _number(
    column: str,
    values: Sequence[str],
    classes: Mapping[str, str | None],
    names: tuple[str, ...],
    argument: str,
) -> Numbering:
    """Give each value the number of its class; `argument` of the command line chose the classes."""
    unknown = [value for value in values if value not in classes]
    if unknown:
        raise UnusableLabelsError(
            f"label column {column!r}: {argument} has no class for {show_values(unknown)}; pass --label_map "
            "with a class for each value (VALUE= leaves one out)"
        )
    ids = {value: None if (name := classes[value]) is None else names.index(name) for value in values}
    return Numbering(names, ids)


def _read_auto(column: str, values: Sequence[str], class_names: Sequence[str]) -> Numbering:
    polarity = _find_polarity(values)
    are_stars = bool(values) and {_as_star(value) for value in values} <= set(STAR_LABELS)
    is_star_column = any(map(_STAR_WORD.fullmatch, split_words(column)))
    if polarity is not None and not (are_stars and is_star_column):
        return _apply_scheme(AUTO, column, values, polarity)
    if are_stars:
        raise AmbiguousInputError(
            f"label column {column!r}: has stars ({show_values(values)}); pass --label_scheme polarity (1 "
            "and 2 are negative, 3 is left out, 4 and 5 are positive) or --label_scheme stars (five classes)"
        )
    if set(values) <= {*_POLARITIES, *_NEUTRALS}:
        raise AmbiguousInputError(
            f"label column {column!r}: has a neutral class; pass --label_scheme three_way, or leave it out "
            "with --label_map 'negative=negative;neutral=;positive=positive'"
        )
    raise UnusableLabelsError(
        f"label column {column!r}: expected 0/1, 1/2, -1/1, yes/no or negative/positive, found "
        f"{show_values(values)}; choose another --label_col, or map the values: --label_map "
        "'VALUE,VALUE=negative;VALUE=;VALUE=positive'"
    )


def _as_star(value: str) -> str:
    """Return the number of a value such as `4 stars`; any other value as it is."""
    match = _STAR.fullmatch(value)
    return match[1] if match else value


def _find_polarity(values: Sequence[str]) -> Mapping[str, str | None] | None:
    """Return the classes of two-class labels; None if the values are others."""
    for pair in (("0", "1"), ("1", "2"), ("-1", "1")):
        if values and set(values) <= set(pair):
            return {pair[0]: NEGATIVE, pair[1]: POSITIVE}
    # Numbers and words may stand together, as in a file that two people have labelled.
    known = {**_POLARITIES, "0": NEGATIVE, "1": POSITIVE}
    return known if values and set(values) <= known.keys() else None


def _read_polarity(column: str, values: Sequence[str], class_names: Sequence[str]) -> Numbering:
    stars = {"1": NEGATIVE, "2": NEGATIVE, "3": None, "4": POSITIVE, "5": POSITIVE}
    polarity = _find_polarity(values)
    if polarity is not None and set(values) != {"1", "2"}:
        return _apply_scheme(POLARITY, column, values, polarity)
    return _apply_scheme(POLARITY, column, values, {**stars, **_POLARITIES, **dict.fromkeys(_NEUTRALS)})


def _read_three_way(column: str, values: Sequence[str], class_names: Sequence[str]) -> Numbering:
    if set(values) <= {"-1", "0", "1"}:
        classes = {"-1": NEGATIVE, "0": NEUTRAL, "1": POSITIVE}
    else:
        stars = {"1": NEGATIVE, "2": NEGATIVE, "3": NEUTRAL, "4": POSITIVE, "5": POSITIVE}
        classes = {**stars, **_POLARITIES, **_NEUTRALS}
    return _apply_scheme(THREE_WAY, column, values, classes, THREE_WAY_LABELS)


def _read_stars(column: str, values: Sequence[str], class_names: Sequence[str]) -> Numbering:
    return _apply_scheme(STARS, column, values, {star: star for star in STAR_LABELS}, STAR_LABELS)


def _read_names(column: str, values: Sequence[str], class_names: Sequence[str]) -> Numbering:
    is_scale = all(_as_number(value) for value in values)
    rising = sorted(values, key=float) if is_scale else values
    stated = [name for name in map(clean_label, class_names) if name is not None and name in values]
    nulls = sorted(_NULL_WORDS.intersection(values).difference(stated))
    if nulls:
        raise AmbiguousInputError(
            f"label column {column!r}: has {', '.join(nulls)}, which may be a class or mean that there is no "
            f"label; pass --label_map with a class for each value ({nulls[0]}= leaves its rows out)"
        )
    _refuse_class_numbers(column, values, class_names)
    names = tuple(dict.fromkeys([*stated, *rising]))
    return Numbering(names, {name: i for i, name in enumerate(names)})


def _refuse_class_numbers(column: str, values: Sequence[str], class_names: Sequence[str]) -> None:
    """Raise AmbiguousInputError if stated names are numbers, and a value is no name but the number of one.

    In a text file the values 0 to 4 may be the numbers of the classes that are named 1 to 5.
    """
    names = list(dict.fromkeys(name for name in map(clean_label, class_names) if name is not None))
    numbers = [str(i) for i in range(len(names)) if str(i) in values and str(i) not in names]
    if numbers and any(map(is_class_number, names)):
        raise AmbiguousInputError(
            f"label column {column!r}: has {', '.join(numbers)}, which is no stated name of a class "
            f"({show_values(names)}), but may be the number of one; pass --label_map with a class for each "
            "value"
        )


_SCHEMES: dict[str, Callable[[str, Sequence[str], Sequence[str]], Numbering]] = {
    AUTO: _read_auto,
    POLARITY: _read_polarity,
    THREE_WAY: _read_three_way,
    STARS: _read_stars,
    NAMES: _read_names,
}


def show_values(values: Sequence[str]) -> str:
    """List label values for a message; only count them if one may be review text."""
    if len(values) > _SHOWN_VALUES or not all(re.fullmatch(r"[\w.+-]{1,20}", value) for value in values):
        return f"{len(values):,} distinct values"
    return f"the values {', '.join(values)}"
