"""Abuse the service, print a line a cell, write var/abuse.json; ends in 1 if a case failed."""

import functools
import sys
from pathlib import Path

from tests.matrix import make_parser, run_cells

from .cells import open_world
from .matrix import CELLS

TARGET = Path("var/abuse.json")


def main() -> int:
    parser = make_parser("tests.abuse", str(__doc__), CELLS)
    parser.add_argument("--long", action="store_true", help="R3: a minute of overload, ten minutes after it")
    arguments = parser.parse_args()
    return run_cells(CELLS, arguments.cells, functools.partial(open_world, is_long=arguments.long), TARGET)


if __name__ == "__main__":
    sys.exit(main())
