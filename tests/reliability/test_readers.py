"""Plain readers of a store into which another process is publishing."""

import functools
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sentiment.tables.store.manifests import BatchId
from sentiment.tables.store.opening import open_store
from tests.factories import make_manifest, publish_rows

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F5", "plain readers during fifty publishes"),
]

PUBLISHES = 50
# Rows after each publish: batch n has n rows, and the first is there before anyone reads.
SNAPSHOTS = tuple(accumulate(range(1, PUBLISHES + 2)))
# Reads of the two runs by reader, 1,000 in all; each run has its 50 publishes.
_RUNS = {
    "few": {"duckdb": 20, "polars": 20, "pandas": 20},
    "many": {"duckdb": 280, "polars": 280, "pandas": 280, "spark": 100},
}
# A reader may be ahead of its share by this many publishes, so that reads and publishes stay mixed.
_LEAD = 5
_WAIT_SECONDS = 900


@dataclass(frozen=True)
class Read:
    """The count of one read, None with an error, and the count of the same reader before it."""

    rows: int | None
    rows_before: int
    error: str = ""


@pytest.fixture(scope="module")
def make_reads(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, list[Read]]]:
    """Return a function that makes all reads of a run, by reader, once for all of its tests."""

    @functools.cache
    def make(run: str) -> dict[str, list[Read]]:
        spark = request.getfixturevalue("spark") if "spark" in _RUNS[run] else None
        return _read_while_publishing(spark, tmp_path_factory.mktemp("reads") / "scores", _RUNS[run])

    return make


@pytest.mark.parametrize(
    ("run", "reader", "number"),
    [
        pytest.param(run, reader, number, id=f"{reader} {number + 1} of {n}", marks=marks)
        for run, marks in (("few", pytest.mark.quick), ("many", ()))
        for reader, n in _RUNS[run].items()
        for number in range(n)
    ],
)
def test_each_read_counts_a_published_snapshot(
    run: str, reader: str, number: int, make_reads: Callable[[str], dict[str, list[Read]]]
) -> None:
    read = make_reads(run)[reader][number]
    assert read.rows is not None, read.error
    assert read.rows in SNAPSHOTS, f"{read.rows} rows are of no snapshot"
    assert read.rows >= read.rows_before, f"{read.rows} rows, and {read.rows_before} before"


def _read_while_publishing(spark: Any, root: Path, reads: dict[str, int]) -> dict[str, list[Read]]:
    """Return all reads by reader, in order; publishes are spread over them."""
    counts = _make_readers(spark, str(root), reads)
    _publish(root, 1)
    for count in counts.values():
        assert count() == SNAPSHOTS[0]  # and what takes long the first time is done
    context = multiprocessing.get_context("spawn")
    n_read, n_published = context.Value("i", 0), context.Value("i", 0)
    arguments = (str(root), sum(reads.values()), n_read, n_published)
    publisher = context.Process(target=_publish_all, args=arguments, daemon=True)
    publisher.start()
    with ThreadPoolExecutor(len(reads)) as threads:
        running = {
            reader: threads.submit(_read_repeatedly, counts[reader], n, n_read, n_published)
            for reader, n in reads.items()
        }
        found = {reader: future.result() for reader, future in running.items()}
    publisher.join(_WAIT_SECONDS)
    assert publisher.exitcode == 0, f"the publisher ended in {publisher.exitcode}"
    for reader, count in counts.items():
        assert count() == SNAPSHOTS[-1], reader
    return found


def _make_readers(spark: Any, root: str, reads: dict[str, int]) -> dict[str, Callable[[], int]]:
    """Count the rows of the folder as a plain Parquet reader."""
    import duckdb
    import polars

    everything = f"{root}/**/*.parquet"
    readers: dict[str, Callable[[], int]] = {
        "duckdb": lambda: len(duckdb.connect().sql(f"select * from read_parquet('{everything}')").fetchall()),
        "polars": lambda: len(polars.read_parquet(everything)),
        "pandas": lambda: len(pd.read_parquet(root)),
        "spark": lambda: len(spark.read.parquet(root).collect()),
    }
    return {reader: readers[reader] for reader in reads}


def _read_repeatedly(
    count: Callable[[], int], n: int, n_read: "Synchronized[int]", n_published: "Synchronized[int]"
) -> list[Read]:
    reads: list[Read] = []
    rows_before = 0
    for number in range(n):
        _wait_until(lambda share=number / n: share * PUBLISHES < n_published.value + _LEAD)
        try:
            read = Read(count(), rows_before)
        except Exception as error:  # noqa: BLE001 whatever a reader raises is what is looked for
            read = Read(None, rows_before, f"{type(error).__name__}: {str(error)[:300]}")
        reads.append(read)
        rows_before = rows_before if read.rows is None else read.rows
        with n_read.get_lock():
            n_read.value += 1
    return reads


def _publish_all(
    root: str, n_reads: int, n_read: "Synchronized[int]", n_published: "Synchronized[int]"
) -> None:
    """Publish 50 times, in a process of its own, each time when its share of the reads was made."""
    for number in range(PUBLISHES):
        _wait_until(lambda share=number / PUBLISHES: n_read.value >= share * n_reads)
        _publish(Path(root), number + 2)
        n_published.value = number + 1


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("the other side makes no progress")
        time.sleep(0.001)


def _publish(root: Path, n: int) -> None:
    """Publish batch n, of n rows and a reject."""
    with open_store(str(root)) as store:
        publish_rows(store, BatchId("3", "2026-01-31", f"{n:012d}"), make_manifest(n, n, 1), 1000 * n)
