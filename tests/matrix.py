"""A matrix of promises: cells of cases, each of which holds or raises; run, counted and printed."""

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """`check` is given what a matrix shares and an empty folder; it raises if its promise is not kept."""

    name: str
    check: Callable[[Any, Path], None]
    is_quick: bool = False
    """Whether it is one of those that run with all tests."""


Cells = Mapping[str, Callable[[], Sequence[Case]]]
"""Cells by their names, in the order in which they run."""


def make_parser(prog: str, description: str, cells: Iterable[str]) -> argparse.ArgumentParser:
    """Takes names of cells."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=description)
    parser.add_argument("cells", nargs="*", help=f"of {' '.join(cells)}; all by default")
    return parser


def run_cells(
    cells: Cells,
    wanted: Sequence[str],
    open_world: Callable[[Path], AbstractContextManager[Any]],
    target: Path,
) -> int:
    """Run the cells of these names (all if none), print a line each, write `target`; 1 if a case failed."""
    wanted = wanted or list(cells)
    results = {}
    with tempfile.TemporaryDirectory() as scratch, open_world(Path(scratch) / "world") as world:
        for cell in wanted:
            started = time.monotonic()
            cases = cells[cell]()
            failed = sum(not _holds(cell, case, world, Path(scratch)) for case in cases)
            seconds = round(time.monotonic() - started, 1)
            results[cell] = {"passed": len(cases) - failed, "failed": failed, "seconds": seconds}
            print(f"{cell} {len(cases) - failed}/{len(cases)}   {seconds:.0f} s", flush=True)
    target.parent.mkdir(exist_ok=True)
    kept = json.loads(target.read_text()) if target.exists() and len(wanted) < len(cells) else {}
    target.write_text(json.dumps(kept | results, indent=2) + "\n")
    return int(any(found["failed"] for found in results.values()))


def list_quick(cells: Cells) -> dict[str, Case]:
    """The quick cases of every cell, by names that hold the cell's."""
    return {
        f"{cell} {case.name}": case
        for cell, list_cases in cells.items()
        for case in list_cases()
        if case.is_quick
    }


def _holds(cell: str, case: Case, world: Any, scratch: Path) -> bool:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            case.check(world, Path(folder))
        except Exception as error:  # noqa: BLE001 a case that fails is counted, and the next one run
            print(f"{cell} FAILED {case.name}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
            return False
    return True
