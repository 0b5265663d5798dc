"""Inspect and maintain a store: `python -m sentiment.tables COMMAND STORE`; `--help` lists the commands."""

import argparse
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ..errors import MissingInputError, SentimentError
from .storage import load_options
from .store.erasure import load_ids
from .store.opening import find_store, open_store
from .store.protocol import Store, find_batch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (see `sentiment.errors`), 1 if `verify` finds damage."""
    parsed = _parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    try:
        return _COMMANDS[parsed.command](parsed, console)
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _list(parsed: argparse.Namespace, console: Console) -> int:
    batches = _open(parsed).list_batches()
    table = Table(title=_open(parsed).root, title_justify="left")
    for name in ("number", "batch", "scored at", "scored", "rejected", "skipped"):
        table.add_column(name, justify="left" if name == "batch" else "right", overflow="fold")
    for batch in batches:
        manifest = batch.manifest
        counts = (manifest.scored_rows, manifest.rejected_rows, sum(manifest.skipped_rows.values()))
        cells = (str(manifest.sequence), batch.name, manifest.scored_at[:19])
        table.add_row(*cells, *(f"{count:,}" for count in counts))
    console.print(table)
    return 0


def _verify(parsed: argparse.Namespace, console: Console) -> int:
    store = _open(parsed)
    batches = store.list_batches()
    damaged = 0
    for done, batch in enumerate(batches, start=1):
        found = store.find_damage(batch)
        damaged += bool(found)
        result = (
            "; ".join(found)
            or f"{batch.manifest.scored_rows + batch.manifest.rejected_rows:,} rows, no damage"
        )
        console.print(f"{done}/{len(batches)} {batch.name}: {result}", markup=False)
    return int(damaged > 0)


def _show(parsed: argparse.Namespace, console: Console) -> int:
    batch = find_batch(_open(parsed), parsed.batch)
    for part in batch.manifest.origins:
        taken = part.consumption
        table = Table(title=f"{batch.name}: input of batch number {part.sequence}", title_justify="left")
        table.add_column("file", overflow="fold")
        table.add_column("rows", justify="right")
        for entry in taken.inputs:
            table.add_row(
                entry["path"], f"{entry['start_row'] + 1:,} to {entry['stop_row']:,} of {entry['rows']:,}"
            )
        for bad in part.bad_files:
            table.add_row(bad["path"], "quarantined")
        console.print(table)
        dates = f", dates {taken.window.since or ''}..{taken.window.until or ''}" if taken.window else ""
        console.print(
            f"id columns {taken.id_col}, text columns {taken.text_col}{dates}, "
            f"model {part.model_uri} ({taken.model_id})",
            markup=False,
        )
    return 0


def _drop(parsed: argparse.Namespace, console: Console) -> int:
    with open_store(parsed.store, load_options(parsed.storage_options)) as store:
        batch = find_batch(store, parsed.batch)
        store.drop(batch)
    console.print(f"dropped {batch.name}: its rows are pending again", markup=False)
    return 0


def _compact(parsed: argparse.Namespace, console: Console) -> int:
    with open_store(parsed.store, load_options(parsed.storage_options)) as store:
        versions = sorted({batch.manifest.model_version for batch in store.list_batches()})
        for version in versions:
            made = store.compact(version, _report)
            result = (
                f"{len(made.manifest.parts)} batches are now {made.name}" if made else "nothing to compact"
            )
            console.print(f"model {version}: {result}", markup=False)
    return 0


def _forget(parsed: argparse.Namespace, console: Console) -> int:
    with open_store(parsed.store, load_options(parsed.storage_options)) as store:
        batches = store.list_batches()
        if not batches:
            raise MissingInputError(f"{store.root}: holds no batches")
        ids = load_ids(parsed.ids, tuple(batches[-1].manifest.id_types))
        erased = store.forget(ids, _report)
        found = len(set(erased))
        console.print(
            f"erased {len(erased):,} rows of {found:,} ids; {len(ids.values) - found:,} of the "
            f"{len(ids.values):,} ids have no row in this store",
            markup=False,
        )
        console.print(store.after_forget, markup=False)
    return 0


def _vacuum(parsed: argparse.Namespace, console: Console) -> int:
    with open_store(parsed.store, load_options(parsed.storage_options)) as store:
        removed = store.vacuum()
    console.print(f"removed {removed:,} files that the newest version does not use", markup=False)
    return 0


def _report(done: int, total: int) -> None:
    print(f"checking batch {done + 1}/{total}", file=sys.stderr)


_COMMANDS = {
    "list": _list,
    "verify": _verify,
    "show": _show,
    "drop": _drop,
    "compact": _compact,
    "forget": _forget,
    "vacuum": _vacuum,
}
_HELP = {
    "list": "list the published batches",
    "verify": "compare the files and counts of every batch with its manifest; exit 1 if one differs",
    "show": "show the input that a batch consumed",
    "drop": "remove a batch; its rows are pending again",
    "compact": "merge the batches of each model version into one",
    "forget": "erase all rows of given ids from the files, for good",
    "vacuum": "remove files that the newest version does not use; older versions become unreadable",
}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sentiment.tables", description="Inspect and maintain a store of scores."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in _HELP.items():
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("store", metavar="STORE", help="folder, delta:/folder or URI of the store")
        command.add_argument(
            "--storage_options", metavar="FILE", help="JSON file with options of an object store"
        )
        if name in ("show", "drop"):
            command.add_argument("batch", metavar="BATCH", help="name of the batch, as `list` shows it")
        if name == "forget":
            command.add_argument(
                "--ids", metavar="FILE", required=True, help="ids: one per line, or .csv, .parquet"
            )
    return parser.parse_args(arguments)


def _open(parsed: argparse.Namespace) -> Store:
    store = find_store(parsed.store, load_options(parsed.storage_options))
    if store.storage.is_local and not os.path.isdir(store.root):
        raise MissingInputError(
            f"{store.root}: no such store; pass the folder that a run wrote with --output"
        )
    return store


if __name__ == "__main__":
    sys.exit(main())
