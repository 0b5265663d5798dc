"""Move an alias so that of concurrent moves one wins: a ledger of moves in the registry decides which.

MLflow sets an alias without a look at its old value. But it numbers the versions of a registered model one by
one, on every store. So each move first appends an entry, a version of the model `NAME-promotions`, that names
the entry it follows. The first entry that follows another one is valid; all later ones that follow the same
entry have lost. Everyone who reads the ledger finds the same valid entries, without locks or clocks.

A process that was killed after its entry leaves the alias behind; the next one moves it (`settle`). Moves by
other tools (the UI, `jobs/finetune.py --alias`) are not in the ledger: `move_alias` notices one that came
before it looks, and overwrites one that falls between this look and its own move.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import AliasMovedError, ModelNotFoundError
from .mlflow_errors import translating_errors
from .registry import find_version, import_mlflow, quote, set_alias

PROMOTE, ROLLBACK = "promote", "rollback"
_SUFFIX = "-promotions"
_PREFIX = "sentiment.move."
_DONE = f"{_PREFIX}done"


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
        return {f"{_PREFIX}{name}": value for name, value in values.items()}


@dataclass(frozen=True)
class Entry:
    """Hold a move, its number in the ledger, and whether the alias has been moved since."""

    number: int
    move: Move
    is_done: bool


@dataclass(frozen=True)
class Ledger:
    """Hold what a decision about an alias is based on: the valid moves, in order, and its version."""

    name: str
    alias: str
    entries: tuple[Entry, ...]
    champion: str | None


def read_entry(number: int, tags: Mapping[str, str]) -> Entry | None:
    """Return the entry that these tags describe; None for a version that is no entry."""
    values = {key.removeprefix(_PREFIX): value for key, value in tags.items() if key.startswith(_PREFIX)}
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
    return Entry(number, move, "done" in values)


def find_valid(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries that won, in order: each is the first one that follows the one before it."""
    valid: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: entry.number):
        if entry.move.follows == (valid[-1].number if valid else 0):
            valid.append(entry)
    return tuple(valid)


def find_champion_before(ledger: Ledger) -> str:
    """Return the version that a rollback restores: moves are undone one by one, the last one first.

    Raises ModelNotFoundError if there is none, or if another tool moved the alias to its version.
    """
    champions: list[str | None] = []
    for entry in ledger.entries:
        if not champions or champions[-1] != entry.move.before:  # another tool had moved the alias
            champions.append(entry.move.before)
        if entry.move.kind == ROLLBACK:
            champions.pop()
        else:
            champions.append(entry.move.after)
    where = f"alias {ledger.alias!r} of {ledger.name!r}"
    if ledger.champion is None or not champions or champions[-1] != ledger.champion:
        found = "no alias" if ledger.champion is None else f"version {ledger.champion}, set by another tool"
        raise ModelNotFoundError(
            f"{where}: expected a version to which jobs/promote.py moved it, found {found}; the champion "
            "before is not known: set the alias yourself, or promote a challenger"
        )
    if len(champions) < 2 or champions[-2] is None:
        raise ModelNotFoundError(
            f"{where}: version {ledger.champion} was the first champion, so there is none before it; promote "
            "another challenger"
        )
    return champions[-2]


def read_ledger(name: str, alias: str) -> Ledger:
    """Read the valid moves of an alias, and the version that it means now. Raises RegistryError."""
    client, found, token = import_mlflow().MlflowClient(), [], None
    with translating_errors(f"the ledger {_name_of(name)!r}"):
        while True:
            page = client.search_model_versions(f"name={quote(_name_of(name))}", page_token=token)
            found += [read_entry(int(version.version), version.tags) for version in page]
            token = page.token
            if not token:
                break
    entries = find_valid(entry for entry in found if entry is not None and entry.move.alias == alias)
    return Ledger(name, alias, entries, _find_champion(name, alias))


def settle(ledger: Ledger) -> Ledger:
    """Finish the last move if its process was killed before it moved the alias. Raises RegistryError."""
    if not ledger.entries or ledger.entries[-1].is_done:
        return ledger
    last = ledger.entries[-1]
    # Another version means that another tool has moved the alias since.
    if ledger.champion == last.move.before:
        set_alias(ledger.name, ledger.alias, last.move.after)
    _mark_done(ledger.name, last)
    return read_ledger(ledger.name, ledger.alias)


def move_alias(ledger: Ledger, after: str, kind: str = PROMOTE) -> Entry:
    """Move the alias to the version `after`, a decision that was based on `ledger`; return the entry.

    Raises AliasMovedError if the alias has moved since, or another move came first: the alias is then where
    the other one moved it. Raises RegistryError.
    """
    found = _find_champion(ledger.name, ledger.alias)
    if found != ledger.champion:
        raise _lost(ledger, f"it means version {found} now")
    follows = ledger.entries[-1].number if ledger.entries else 0
    move = Move(ledger.alias, ledger.champion, after, kind, follows, uuid.uuid4().hex)
    _append(ledger.name, move)
    winner = next(e for e in read_ledger(ledger.name, ledger.alias).entries if e.move.follows == follows)
    if winner.move.token != move.token:
        raise _lost(ledger, f"another {winner.move.kind} moves it to version {winner.move.after}")
    _apply(ledger, winner)
    return winner


def _apply(ledger: Ledger, entry: Entry) -> None:
    """Set the alias; then set it again if a newer move was made meanwhile, which this one must not undo."""
    last = entry
    while True:
        set_alias(ledger.name, ledger.alias, last.move.after)
        _mark_done(ledger.name, last)
        newest = read_ledger(ledger.name, ledger.alias).entries[-1]
        if newest.number == last.number:
            return
        last = newest


def _append(name: str, move: Move) -> None:
    """Append an entry; the store gives it its number."""
    mlflow, ledger = import_mlflow(), _name_of(name)
    client = mlflow.MlflowClient()
    with translating_errors(f"a new entry of the ledger {ledger!r}"):
        _make_ledger(ledger, name)
        # Waiting is for stores that copy files; an entry has none of its own.
        client.create_model_version(
            ledger, f"models:/{name}/{move.after}", tags=move.as_tags(), await_creation_for=0
        )


def _make_ledger(ledger: str, name: str) -> None:
    mlflow = import_mlflow()
    client = mlflow.MlflowClient()
    if client.search_registered_models(f"name={quote(ledger)}"):
        return
    try:
        client.create_registered_model(
            ledger, description=f"Moves of the aliases of {name}, in order: jobs/promote.py decides by them."
        )
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another promotion was faster
            raise


def _mark_done(name: str, entry: Entry) -> None:
    with translating_errors(f"entry {entry.number} of the ledger {_name_of(name)!r}"):
        client = import_mlflow().MlflowClient()
        client.set_model_version_tag(_name_of(name), str(entry.number), _DONE, "true")


def _find_champion(name: str, alias: str) -> str | None:
    try:
        return find_version(f"models:/{name}@{alias}")
    except ModelNotFoundError:
        return None


def _name_of(name: str) -> str:
    return name + _SUFFIX


def _lost(ledger: Ledger, reason: str) -> AliasMovedError:
    was = "no version" if ledger.champion is None else f"version {ledger.champion}"
    return AliasMovedError(
        f"alias {ledger.alias!r} of {ledger.name!r}: meant {was} when this run began, and {reason}; nothing "
        "was moved by this run; run it again to compare with the new champion"
    )
