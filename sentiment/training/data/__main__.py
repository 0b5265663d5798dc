"""List or remove prepared data: `python -m sentiment.training.data [list|clear]`."""

import argparse
import sys

from .cache import list_entries, prepared_cache, remove_oldest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sentiment.training.data", description=__doc__)
    parser.add_argument("action", choices=("list", "clear"), nargs="?", default="list")
    action = parser.parse_args().action
    root = prepared_cache()
    entries = list_entries(root)
    for folder, size in entries:
        print(f"{size / 2**20:10,.1f} MB  {folder}")
    if action == "clear":
        remove_oldest(root, 0)
    total = sum(size for _, size in entries) / 2**20
    print(f"{len(entries)} entries, {total:,.1f} MB{' removed' if action == 'clear' else ''} in {root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
