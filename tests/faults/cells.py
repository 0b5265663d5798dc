"""The shape of the matrix: a cell is a list of cases, a case holds or raises."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass
class World:
    """What cases share: where the tiny model is registered, and one Spark session for those that need one."""

    tracking_uri: str
    model_uri: str
    kept: dict[str, Any] = field(default_factory=dict)
    """What a cell wants to make once."""

    @cached_property
    def spark(self) -> "SparkSession":
        os.environ["PYSPARK_PYTHON"] = sys.executable
        from sentiment.tables.session import build_session

        return build_session("faults")


@dataclass(frozen=True)
class Case:
    """`check` is given the world and an empty folder; it raises if the promise is not kept."""

    name: str
    check: Callable[[World, Path], None]
    is_quick: bool = False
    """Whether it is one of those that run with all tests."""
