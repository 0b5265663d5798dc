import os
import sys
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The session as the jobs build it, for all Spark tests."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from sentiment.tables.session import build_session

    session = build_session("tests")
    yield session
    session.stop()
