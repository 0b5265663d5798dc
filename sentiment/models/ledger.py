"""Move an alias so that of concurrent moves one wins: a ledger of moves in the registry decides which.

MLflow sets an alias without a look at its old value. But it numbers the versions of a registered model one by
one, on every store. So each move first appends an entry, a version of the model `NAME-promotions`, that names
the entry it follows. The first entry that follows another one is valid; all later ones that follow the same
entry have lost. Everyone who reads the ledger finds the same valid entries, without locks or clocks.

A process that was killed after its entry leaves the alias behind; the next one moves it (`settle`), or marks
the entry as skipped if another tool has moved the alias since. Moves by
other tools (the UI, `jobs/finetune.py --alias`) are not in the ledger: `move_alias` notices one that came
before it looks, and overwrites one that falls between this look and its own move.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..errors import AliasMovedError, ModelNotFoundError, RegistryError
from .mlflow_errors import as_registry_error, is_absent, translating_errors
from .registry import find_version, import_mlflow, quote, set_alias

PROMOTE, ROLLBACK = "promote", "rollback"
_SUFFIX = "-promotions"
_PREFIX = "sentiment.move."
_DONE = f"{_PREFIX}done"
# Values of this tag. Earlier versions only look whether it is there.
_MOVED, _SKIPPED = "true", "skipped"


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


# Writes a move to the history of the model with this name; a second time changes nothing.
Note = Callable[[str, Entry], None]


def _note_nothing(name: str, entry: Entry) -> None:
    """Keep no history."""


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
    return Entry(number, move, "done" in values, values.get("done") == _SKIPPED)


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
        f"{_name_of(ledger.name)!r}, found no alias: it was deleted, or its version was; set it to a version "
        f"that exists, by `{command}`, and run again"
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


def settle(ledger: Ledger, note: Note = _note_nothing) -> Ledger:
    """Finish the last move if its process was killed before it was done. Raises RegistryError."""
    if not ledger.entries or ledger.entries[-1].is_done:
        return ledger
    last, alias = ledger.entries[-1], f"alias {ledger.alias!r}"
    kind = _describe(ledger.name, last)
    if find_unfinished(ledger) is None:
        _mark(ledger.name, last, _SKIPPED)
        settled = (
            f"{kind} was skipped: {alias} was to move from {show_version(last.move.before)} to version "
            f"{last.move.after}, but means {show_version(ledger.champion)}, set by another tool"
        )
    elif not _has_version(ledger.name, last.move.after):
        _mark(ledger.name, last, _SKIPPED)
        settled = (
            f"{kind} was skipped: version {last.move.after}, to which it was to move {alias}, was deleted; "
            f"{alias} stays at {show_version(ledger.champion)}"
        )
    elif ledger.champion == last.move.after:
        _record(ledger.name, last, note)
        settled = f"this run finished the record of {kind}: {alias} meant version {last.move.after} already"
    else:
        _finish(ledger.name, last, note)
        settled = (
            f"this run finished {kind}: {alias} moved from {show_version(last.move.before)} to version "
            f"{last.move.after}"
        )
    return replace(read_ledger(ledger.name, ledger.alias), settled=settled)


def move_alias(ledger: Ledger, after: str, kind: str = PROMOTE, note: Note = _note_nothing) -> Entry:
    """Move the alias to the version `after`, a decision that was based on `ledger`; return the entry.

    Raises AliasMovedError if the alias has moved since, or another move came first: the alias is then where
    the other one moved it. Raises RegistryError.
    """
    found = _find_champion(ledger.name, ledger.alias)
    if found != ledger.champion:
        raise _lost(ledger, f"it means {show_version(found)} now")
    follows = ledger.entries[-1].number if ledger.entries else 0
    before, unfinished = ledger.champion, find_unfinished(ledger)
    if kind == ROLLBACK and unfinished is not None:  # undoes that move, also one that the alias never made
        before = unfinished.move.after
    move = Move(ledger.alias, before, after, kind, follows, uuid.uuid4().hex)
    _append(ledger.name, move)
    winner = next(e for e in read_ledger(ledger.name, ledger.alias).entries if e.move.follows == follows)
    if winner.move.token != move.token:
        raise _lost(ledger, f"another {winner.move.kind} moves it to version {winner.move.after}")
    _apply(ledger, winner, note)
    return winner


def describe_unfinished(ledger: Ledger, is_undone: bool = False) -> str | None:
    """Return a sentence about the last move if it is not done; `is_undone` if a rollback undoes it."""
    unfinished = find_unfinished(ledger)
    if unfinished is None:
        return None
    kind, move = _describe(ledger.name, unfinished), unfinished.move
    if ledger.champion == move.after:
        return f"{kind} moved alias {ledger.alias!r} to version {move.after}, but is not marked as done"
    stays = f"alias {ledger.alias!r} stays at {show_version(ledger.champion)}"
    if is_undone:
        return f"{kind} had not moved the alias to version {move.after} yet; it is undone, and {stays}"
    return f"{kind} is not finished: it is to move the alias to version {move.after}; until then {stays}"


def _describe(name: str, entry: Entry) -> str:
    noun = "rollback" if entry.move.kind == ROLLBACK else "promotion"
    return f"the {noun} of an earlier run (entry {entry.number} of {_name_of(name)!r})"


def show_version(version: str | None) -> str:
    """Return the words for a version in a message."""
    return "no version" if version is None else f"version {version}"


def _apply(ledger: Ledger, entry: Entry, note: Note = _note_nothing) -> None:
    """Set the alias; then set it again if a newer move was made meanwhile, which this one must not undo."""
    _finish(ledger.name, entry, note)
    last = entry
    while True:
        newest = read_ledger(ledger.name, ledger.alias).entries[-1]
        if newest.number == last.number:
            return
        last = newest
        # Its own process, or the next one, notes it and marks it as done.
        set_alias(ledger.name, ledger.alias, last.move.after)


def _finish(name: str, entry: Entry, note: Note) -> None:
    """Set the alias, and then write what became of the entry."""
    number = entry.number
    with _adding(f"entry {number} of {_name_of(name)!r} has the move; the same command again finishes it"):
        set_alias(name, entry.move.alias, entry.move.after)
    _record(name, entry, note)


def _record(name: str, entry: Entry, note: Note) -> None:
    """Write the history, and then mark the entry: the next run finishes one without the mark."""
    with _adding(
        f"alias {entry.move.alias!r} of {name!r} has moved to version {entry.move.after} already; the same "
        "command again finishes the record"
    ):
        note(name, entry)
        _mark(name, entry, _MOVED)


@contextlib.contextmanager
def _adding(words: str) -> Iterator[None]:
    """Add to the message of a RegistryError how far the move came, and the next step."""
    try:
        yield
    except RegistryError as error:
        raise RegistryError(f"{error}; {words}", error.summary) from error


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


def _mark(name: str, entry: Entry, value: str) -> None:
    with translating_errors(f"entry {entry.number} of the ledger {_name_of(name)!r}"):
        client = import_mlflow().MlflowClient()
        client.set_model_version_tag(_name_of(name), str(entry.number), _DONE, value)


def _find_champion(name: str, alias: str) -> str | None:
    try:
        return find_version(f"models:/{name}@{alias}")
    except ModelNotFoundError:
        return None


def _has_version(name: str, version: str) -> bool:
    try:
        import_mlflow().MlflowClient().get_model_version(name, version)
    except Exception as error:  # as in `registry.resolve_model`
        if is_absent(error):
            return False
        raise as_registry_error(f"version {version} of {name!r}", error) from error
    return True


def _name_of(name: str) -> str:
    return name + _SUFFIX


def _lost(ledger: Ledger, reason: str) -> AliasMovedError:
    was = show_version(ledger.champion)
    return AliasMovedError(
        f"alias {ledger.alias!r} of {ledger.name!r}: meant {was} when this run began, and {reason}; the move "
        "of this run was not made; run it again to compare with the new champion"
    )
