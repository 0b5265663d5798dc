"""The cells by their names, in the order in which they run."""

from collections.abc import Callable

from . import publisher
from .cells import Case

CELLS: dict[str, Callable[[], list[Case]]] = {"F1": publisher.list_cases}
