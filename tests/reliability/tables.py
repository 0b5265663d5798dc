"""The end of a run, and the table that it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .places import FOLDER, Place


@dataclass(frozen=True)
class Ended:
    """The exit code of a run, its summary (empty if there is none), and its error if it failed."""

    exit_code: int
    summary: Mapping[str, Any]
    error: str = ""


def read_rejects(output: Path) -> pd.DataFrame:
    """Return ids and reasons of all rejected rows of a folder store."""
    return Place(FOLDER, str(output)).read_rejects()


def read_table(output: Path) -> pd.DataFrame:
    """Return scores and rejects of a folder store, one row per published row, in the order of ids."""
    return Place(FOLDER, str(output)).read()
