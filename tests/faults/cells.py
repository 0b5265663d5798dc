"""What the cases of the matrix share."""

import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass
class World:
    """Where the tiny model is registered, and one Spark session for those cases that need one."""

    tracking_uri: str
    model_uri: str
    kept: dict[str, Any] = field(default_factory=dict)
    """What a cell wants to make once."""

    @cached_property
    def spark(self) -> "SparkSession":
        os.environ["PYSPARK_PYTHON"] = sys.executable
        from sentiment.tables.session import build_session

        return build_session("faults")
