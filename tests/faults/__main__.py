"""Run the whole matrix, print a line a cell, write var/faults.json; ends in 1 if a case failed."""

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

from .cells import Case, World
from .matrix import CELLS
from .worlds import make_world

TARGET = Path("var/faults.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("cells", nargs="*", help=f"of {' '.join(CELLS)}; all by default")
    wanted = parser.parse_args().cells or list(CELLS)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        world = make_world(Path(scratch) / "world")
        for cell in wanted:
            started = time.monotonic()
            cases = CELLS[cell]()
            failed = sum(not _holds(cell, case, world, Path(scratch)) for case in cases)
            seconds = round(time.monotonic() - started, 1)
            results[cell] = {"passed": len(cases) - failed, "failed": failed, "seconds": seconds}
            print(f"{cell} {len(cases) - failed}/{len(cases)}   {seconds:.0f} s", flush=True)
    TARGET.parent.mkdir(exist_ok=True)
    kept = json.loads(TARGET.read_text()) if TARGET.exists() and len(wanted) < len(CELLS) else {}
    TARGET.write_text(json.dumps(kept | results, indent=2) + "\n")
    return int(any(found["failed"] for found in results.values()))


def _holds(cell: str, case: Case, world: World, scratch: Path) -> bool:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            case.check(world, Path(folder))
        except Exception as error:  # noqa: BLE001 a case that fails is counted, and the next one run
            print(f"{cell} FAILED {case.name}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
