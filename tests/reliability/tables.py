"""The end of a run, and the table that it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Ended:
    """The exit code of a run, its summary (empty if there is none), and its error if it failed."""

    exit_code: int
    summary: Mapping[str, Any]
    error: str = ""


def read_rejects(output: Path) -> pd.DataFrame:
    """Return ids and reasons of all rejected rows of a store."""
    columns = ["review_id", "reject_reason"]
    files = sorted(output.glob("*/*/_rejected/part-*"))
    frames = [pd.read_parquet(file, columns=columns) for file in files]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def read_table(output: Path) -> pd.DataFrame:
    """Return scores and rejects, one row per published row, in the order of ids."""
    scored = pd.read_parquet(output)[["review_id", "label", "score"]]
    rows = [*scored.to_dict("records"), *read_rejects(output).to_dict("records")]
    table = pd.DataFrame(rows, columns=["review_id", "label", "score", "reject_reason"], dtype=object)
    return table.sort_values("review_id", kind="stable").reset_index(drop=True)
