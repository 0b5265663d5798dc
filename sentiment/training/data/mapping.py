"""Apply a function to rows, with the result on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset, Features


def map_to_file(rows: Dataset, function: Callable[..., Any], columns: dict[str, Any], file: Path) -> Dataset:
    """Apply a function to batches of rows once, in order, and memory-map its result from `file`."""
    return rows.map(
        function,
        batched=True,
        remove_columns=rows.column_names,
        features=Features(columns),
        cache_file_name=str(file),
        load_from_cache_file=False,
        # The library would hash what the function holds.
        new_fingerprint=file.stem,
    )
