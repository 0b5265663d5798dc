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
# As in `train-00000-of-00002.parquet`, also with a digest before the end.
_SHARD = re.compile(r"(.*?)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?(\..*)")


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
    """Return the names of shards that are not among the files, but belong to one that is `needed`."""
    found: dict[tuple[Path, str, str, str], dict[int, Path]] = {}
    for file in files:
        if match := _SHARD.fullmatch(file.name):
            name, number, total, end = match.groups()
            found.setdefault((file.parent, name, total, end), {})[int(number)] = file
    return [
        f"{name}-{number:05}-of-{total}{end}"
        for (_, name, total, end), shards in found.items()
        if not set(needed).isdisjoint(shards.values())
        for number in range(int(total))
        if number not in shards
    ]


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
