"""Find the split that the name of a file, or of a split of a hub data set, states."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ...errors import AmbiguousInputError
from .source import split_words
from .splits import SPLITS, TEST, TRAIN, VALIDATION

# As in `datasets`; but there `eval` means test.
_KEYWORDS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("validation", "valid", "dev", "val", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}
_SHOWN_NAMES = 5
# As in `train-00000-of-00002.parquet`, also with a digest before the end, or `part0of2.csv`.
_SHARD = re.compile(
    r"((?:.*[-_. ])?(?:(?:part|shard)[-_]?)?)([0-9]{1,6})([-_]?of[-_]?)([0-9]{1,6})(?:-[0-9a-f]+)?(\..*)",
    re.IGNORECASE,
)


def place_file(path: Path) -> str | None:
    """Return the split that the words of a relative path name, its file name first; None if none does.

    Words are those of `split_words`; `trainset` and `testdata` name their split too. Raises
    AmbiguousInputError if one part names two splits.
    """
    for part in reversed(path.parts):
        words = [re.sub(r"(?<=.)(?:set|data|split)$", "", word) for word in split_words(part)]
        found = {_KEYWORDS[word] for word in words if word in _KEYWORDS}
        if len(found) > 1:
            raise AmbiguousInputError(
                f"{path}: {part!r} names the splits {' and '.join(sorted(found))}; rename it"
            )
        if found:
            return found.pop()
    return None


def is_split_name(name: object) -> bool:
    """Return True for a value that is no more than the name of a split, such as `Train`."""
    return isinstance(name, str) and name.strip().lower() in _KEYWORDS


def list_missing_shards(files: Iterable[Path], needed: Collection[Path]) -> list[str]:
    """Return the names of shards that are not among the files, but belong to one that is `needed`.

    Numbers begin at 0, or at 1 if the last one is the total. Raises AmbiguousInputError if shards of a name
    have several totals, or one of them is there twice: some are probably left from an older version.
    """
    found: dict[tuple[Path, str, str, str], list[tuple[str, str, Path]]] = {}
    for file in files:
        if (match := _SHARD.fullmatch(file.name)) and int(match[2]) <= int(match[4]):
            name, number, separator, total, end = match.groups()
            found.setdefault((file.parent, name, separator, end), []).append((number, total, file))
    missing = []
    for (_, name, separator, end), shards in found.items():
        if set(needed).isdisjoint(file for _, _, file in shards):
            continue
        numbers, total = {int(number) for number, _, _ in shards}, shards[0][1]
        if len(numbers) < len(shards) or any(other != total for _, other, _ in shards):
            raise AmbiguousInputError(
                f"{shards[0][2].parent}: {shorten([file.name for _, _, file in shards])}: are of two sets of "
                "shards, by their numbers and totals; move those of the older set away"
            )
        first = int(0 not in numbers and int(total) in numbers)
        width = min(len(number) for number, _, _ in shards)
        missing += [
            f"{name}{number:0{width}}{separator}{total}{end}"
            for number in range(first, int(total) + first)
            if number not in numbers
        ]
    return missing


def choose_splits(names: Sequence[str]) -> dict[str, str]:
    """Return the split that each split of a hub data set is; `train` is chosen before `train_small`.

    Raises AmbiguousInputError if several could be one split.
    """
    chosen: dict[str, str] = {}
    for split in SPLITS:
        candidates = [name for name in names if place_file(Path(name)) == split]
        exact = [name for name in candidates if name.lower() in _KEYWORDS] or candidates
        if len(exact) > 1:
            raise AmbiguousInputError(
                f"the data set has the splits {shorten(exact)}, and one of them can be {split!r}; save the "
                "splits that you want as files of a folder"
            )
        chosen |= dict.fromkeys(exact, split)
    return chosen


def shorten(names: Sequence[str]) -> str:
    """List the first names for a message, and count the others."""
    rest = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")
