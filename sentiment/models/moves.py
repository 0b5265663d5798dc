"""Decide by the moves of an alias, as the ledger has them: which are valid, what a rollback restores.

Values in, values out; `ledger` reads and writes them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import ModelNotFoundError

PROMOTE, ROLLBACK = "promote", "rollback"
TAG_PREFIX = "sentiment.move."
# Values of the tag `done`. Earlier versions only look whether it is there.
MOVED, SKIPPED = "true", "skipped"
_SUFFIX = "-promotions"


@dataclass(frozen=True)
class Move:
    """Describe a move of an alias from one version to another; `before` is None if there was no alias.

    `follows` is the number of the valid entry before it, 0 if there was none; each attempt has another
    `token`.
    """

    alias: str
    before: str | None
    after: str
    kind: str
    follows: int
    token: str

    def as_tags(self) -> dict[str, str]:
        """Return the tags of the entry."""
        values = {**vars(self), "before": self.before or "", "follows": str(self.follows)}
        return {f"{TAG_PREFIX}{name}": value for name, value in values.items()}


@dataclass(frozen=True)
class Entry:
    """Hold a move, its number in the ledger, and whether it is done: the alias moved, or will never do.

    The alias never moved to the version of a skipped entry, as far as anyone has seen.
    """

    number: int
    move: Move
    is_done: bool
    is_skipped: bool = False


@dataclass(frozen=True)
class Ledger:
    """Hold what a decision about an alias is based on: the valid moves, in order, and its version.

    `settled` states what became of the last move of an earlier run, if that run did not finish it.
    """

    name: str
    alias: str
    entries: tuple[Entry, ...]
    champion: str | None
    settled: str | None = None


def read_entry(number: int, tags: Mapping[str, str]) -> Entry | None:
    """Return the entry that these tags describe; None for a version that is no entry."""
    values = {
        key.removeprefix(TAG_PREFIX): value for key, value in tags.items() if key.startswith(TAG_PREFIX)
    }
    try:
        move = Move(
            alias=values["alias"],
            before=values["before"] or None,
            after=values["after"],
            kind=values["kind"],
            follows=int(values["follows"]),
            token=values["token"],
        )
    except (KeyError, ValueError):
        return None
    return Entry(number, move, "done" in values, values.get("done") == SKIPPED)


def find_valid(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries that won, in order: each is the first one that follows the one before it."""
    valid: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: entry.number):
        if entry.move.follows == (valid[-1].number if valid else 0):
            valid.append(entry)
    return tuple(valid)


def find_unfinished(ledger: Ledger) -> Entry | None:
    """Return the last move if its process was killed before it was done; None if there is no such move.

    Another version of the alias than those of the move means that another tool has moved the alias since.
    """
    last = ledger.entries[-1] if ledger.entries else None
    if last is None or last.is_done or ledger.champion not in (last.move.before, last.move.after):
        return None
    return last


def find_champion_before(ledger: Ledger) -> str:
    """Return the version at which a rollback ends: moves are undone one by one, the last one first.

    A rollback that is not done ends where it was to end, and goes no further. A promotion that is not done is
    undone like one that is. Raises ModelNotFoundError if there is no version before, or if another tool moved
    the alias to its version.
    """
    check_champion(ledger)
    unfinished = find_unfinished(ledger)
    if unfinished is not None and unfinished.move.kind == ROLLBACK:
        return unfinished.move.after
    champion = ledger.champion if unfinished is None else unfinished.move.after
    champions = _replay(ledger)
    where = f"alias {ledger.alias!r} of {ledger.name!r}"
    if champion is None or not champions or champions[-1] != champion:
        found = "no alias" if champion is None else f"version {champion}, set by another tool"
        raise ModelNotFoundError(
            f"{where}: expected a version to which jobs/promote.py moved it, found {found}; the champion "
            "before is not known: set the alias yourself, or promote a challenger"
        )
    if len(champions) < 2 or champions[-2] is None:
        raise ModelNotFoundError(
            f"{where}: version {champion} was the first champion, so there is none before it; promote "
            "another challenger"
        )
    return champions[-2]


def check_champion(ledger: Ledger) -> None:
    """Raise ModelNotFoundError if the alias does not exist, but had a version by the ledger.

    A challenger would be judged as if there had never been a champion.
    """
    if ledger.champion is not None or not ledger.entries or find_unfinished(ledger) is not None:
        return
    known = _replay(ledger)[-1]
    if known is None:
        return
    command = (
        f'mlflow.MlflowClient().set_registered_model_alias("{ledger.name}", "{ledger.alias}", "VERSION")'
    )
    raise ModelNotFoundError(
        f"alias {ledger.alias!r} of {ledger.name!r}: expected version {known}, the champion by the ledger "
        f"{name_ledger(ledger.name)!r}, found no alias: it was deleted, or its version was; set it to a "
        f"version that exists, by `{command}`, and run again"
    )


def _replay(ledger: Ledger) -> list[str | None]:
    """Return the champions that rollbacks go through, the last one at the end."""
    champions: list[str | None] = []
    # As `settle` would mark it.
    is_open = find_unfinished(ledger) is not None
    for entry in ledger.entries:
        if not champions or champions[-1] != entry.move.before:  # another tool had moved the alias
            champions.append(entry.move.before)
        if entry.is_skipped or (entry == ledger.entries[-1] and not entry.is_done and not is_open):
            continue
        if entry.move.kind == ROLLBACK:
            champions.pop()
        else:
            champions.append(entry.move.after)
    return champions


def describe_unfinished(ledger: Ledger, is_undone: bool = False) -> str | None:
    """Return a sentence about the last move if it is not done; `is_undone` if a rollback undoes it."""
    unfinished = find_unfinished(ledger)
    if unfinished is None:
        return None
    kind, move = describe_move(ledger.name, unfinished), unfinished.move
    if ledger.champion == move.after:
        return f"{kind} moved alias {ledger.alias!r} to version {move.after}, but is not marked as done"
    stays = f"alias {ledger.alias!r} stays at {show_version(ledger.champion)}"
    if is_undone:
        return f"{kind} had not moved the alias to version {move.after} yet; it is undone, and {stays}"
    return f"{kind} is not finished: it is to move the alias to version {move.after}; until then {stays}"


def describe_move(name: str, entry: Entry) -> str:
    noun = "rollback" if entry.move.kind == ROLLBACK else "promotion"
    return f"the {noun} of an earlier run (entry {entry.number} of {name_ledger(name)!r})"


def show_version(version: str | None) -> str:
    """Return the words for a version in a message."""
    return "no version" if version is None else f"version {version}"


def name_ledger(name: str) -> str:
    return name + _SUFFIX
