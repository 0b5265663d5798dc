"""The cells by their names, in the order in which they run."""

from tests.matrix import Cells

from . import agreement, bad_files, bad_rows, increments, kills, publisher, readers, starters, workers

CELLS: Cells = {
    "F1": publisher.list_cases,
    "F2": kills.list_cases,
    "F3": kills.list_reruns,
    "F4": starters.list_cases,
    "F5": readers.list_cases,
    "F6": workers.list_cases,
    "F7": agreement.list_cases,
    "F8": increments.list_cases,
    "B1": bad_files.list_cases,
    "B2": bad_rows.list_cases,
}
