"""Run the whole matrix, print a line a cell, write var/faults.json; ends in 1 if a case failed."""

import contextlib
import sys
from pathlib import Path

from tests.matrix import make_parser, run_cells

from .matrix import CELLS
from .worlds import make_world

TARGET = Path("var/faults.json")


def main() -> int:
    wanted = make_parser("tests.faults", str(__doc__), CELLS).parse_args().cells
    return run_cells(CELLS, wanted, lambda folder: contextlib.nullcontext(make_world(folder)), TARGET)


if __name__ == "__main__":
    sys.exit(main())
