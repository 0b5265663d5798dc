"""Move an alias so that of concurrent moves one wins: a ledger of moves in the registry decides which.

MLflow sets an alias without a look at its old value. But it numbers the versions of a registered model one by
one, on every store. So each move first appends an entry, a version of the model `NAME-promotions`, that names
the entry it follows. The first entry that follows another one is valid; all later ones that follow the same
entry have lost. Everyone who reads the ledger finds the same valid entries, without locks or clocks.

A process that was killed after its entry leaves the alias behind; the next one moves it (`settle`), or marks
the entry as skipped if another tool has moved the alias since. Moves by other tools (the UI,
`jobs/finetune.py --alias`) are not in the ledger: `move_alias` notices one that came before it looks, and
overwrites one that falls between this look and its own move. The rules about moves are in `moves`.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

from ..errors import AliasMovedError, ModelNotFoundError, RegistryError
from .mlflow_errors import translating_errors
from .moves import MOVED, SKIPPED, TAG_PREFIX, Move, describe_move, find_valid, name_ledger, read_entry
from .moves import PROMOTE as PROMOTE
from .moves import ROLLBACK as ROLLBACK
from .moves import Entry as Entry
from .moves import Ledger as Ledger
from .moves import check_champion as check_champion
from .moves import describe_unfinished as describe_unfinished
from .moves import find_champion_before as find_champion_before
from .moves import find_unfinished as find_unfinished
from .moves import show_version as show_version
from .registry import find_version, import_mlflow, quote, read_version_tags, set_alias

_DONE = f"{TAG_PREFIX}done"


# Writes a move to the history of the model with this name; a second time changes nothing.
Note = Callable[[str, Entry], None]


def _note_nothing(name: str, entry: Entry) -> None:
    """Keep no history."""


def read_ledger(name: str, alias: str) -> Ledger:
    """Read the valid moves of an alias, and the version that it means now. Raises RegistryError."""
    client, found, token = import_mlflow().MlflowClient(), [], None
    with translating_errors(f"the ledger {name_ledger(name)!r}"):
        while True:
            page = client.search_model_versions(f"name={quote(name_ledger(name))}", page_token=token)
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
    kind = describe_move(ledger.name, last)
    if find_unfinished(ledger) is None:
        _mark(ledger.name, last, SKIPPED)
        settled = (
            f"{kind} was skipped: {alias} was to move from {show_version(last.move.before)} to version "
            f"{last.move.after}, but means {show_version(ledger.champion)}, set by another tool"
        )
    elif read_version_tags(ledger.name, last.move.after) is None:
        _mark(ledger.name, last, SKIPPED)
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
    with _adding(f"entry {number} of {name_ledger(name)!r} has the move; the same command again finishes it"):
        set_alias(name, entry.move.alias, entry.move.after)
    _record(name, entry, note)


def _record(name: str, entry: Entry, note: Note) -> None:
    """Write the history, and then mark the entry: the next run finishes one without the mark."""
    with _adding(
        f"alias {entry.move.alias!r} of {name!r} has moved to version {entry.move.after} already; the same "
        "command again finishes the record"
    ):
        note(name, entry)
        _mark(name, entry, MOVED)


@contextlib.contextmanager
def _adding(words: str) -> Iterator[None]:
    """Add to the message of a RegistryError how far the move came, and the next step."""
    try:
        yield
    except RegistryError as error:
        raise RegistryError(f"{error}; {words}", error.summary) from error


def _append(name: str, move: Move) -> None:
    """Append an entry; the store gives it its number."""
    mlflow, ledger = import_mlflow(), name_ledger(name)
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
    with translating_errors(f"entry {entry.number} of the ledger {name_ledger(name)!r}"):
        client = import_mlflow().MlflowClient()
        client.set_model_version_tag(name_ledger(name), str(entry.number), _DONE, value)


def _find_champion(name: str, alias: str) -> str | None:
    try:
        return find_version(f"models:/{name}@{alias}")
    except ModelNotFoundError:
        return None


def _lost(ledger: Ledger, reason: str) -> AliasMovedError:
    was = show_version(ledger.champion)
    return AliasMovedError(
        f"alias {ledger.alias!r} of {ledger.name!r}: meant {was} when this run began, and {reason}; the move "
        "of this run was not made; run it again to compare with the new champion"
    )
