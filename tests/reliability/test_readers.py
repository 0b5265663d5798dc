"""Plain readers of a store into which another process is publishing."""

import functools
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import pytest

from sentiment.tables.deltalog import make_options
from sentiment.tables.scores import read_scores
from sentiment.tables.store.manifests import BatchId
from sentiment.tables.store.opening import open_store
from sentiment.tables.store.scores import ALL
from tests.factories import make_manifest, publish_rows

from .places import DELTA, FOLDER, S3, MakePlace, Place

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F5", "plain readers during fifty publishes"),
]

PUBLISHES = 50
# Rows after each publish: batch n has n rows, and the first is there before anyone reads.
SNAPSHOTS = tuple(accumulate(range(1, PUBLISHES + 2)))
# Reads of each run by reader; those into a folder are 1,000. Each run has its 50 publishes.
_RUNS = {
    "few": {"duckdb": 20, "polars": 20, "pandas": 20},
    "many": {"duckdb": 280, "polars": 280, "pandas": 280, "spark": 100},
    "delta": {"deltalake": 100, "polars": 100, "duckdb": 100, "read_scores": 40},
    "s3": {"deltalake": 50, "polars": 50, "read_scores": 20},
}
_KINDS = {"few": FOLDER, "many": FOLDER, "delta": DELTA, "s3": S3}
# Readers that need a Spark session.
_SPARK_READERS = {"spark", "read_scores"}
# A reader may be ahead of its share by this many publishes, so that reads and publishes stay mixed.
_LEAD = 5
_WAIT_SECONDS = 900


@dataclass(frozen=True)
class Read:
    """The count of one read, None with an error, and the count of the same reader before it."""

    rows: int | None
    rows_before: int
    error: str = ""


@dataclass(frozen=True)
class Reads:
    """All reads of a run by reader, in order, and the place that was read."""

    by_reader: dict[str, list[Read]]
    place: Place


@pytest.fixture(scope="module")
def make_reads(
    request: pytest.FixtureRequest, make_place: MakePlace, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Reads]:
    """Return a function that makes all reads of a run, once for all of its tests."""

    @functools.cache
    def make(run: str) -> Reads:
        spark = request.getfixturevalue("spark") if _SPARK_READERS & set(_RUNS[run]) else None
        place = make_place(_KINDS[run], tmp_path_factory.mktemp("reads"))
        return Reads(_read_while_publishing(spark, place, _RUNS[run]), place)

    return make


@pytest.mark.parametrize(
    ("kind", "run", "reader", "number"),
    [
        pytest.param(
            *(_KINDS[run], run, reader, number),
            id=f"{run}, {reader} {number + 1} of {n}",
            marks=[pytest.mark.quick] * (run == "few"),
        )
        for run in _RUNS
        for reader, n in _RUNS[run].items()
        for number in range(n)
    ],
)
def test_each_read_counts_a_published_snapshot(
    kind: str, run: str, reader: str, number: int, make_reads: Callable[[str], Reads]
) -> None:
    read = make_reads(run).by_reader[reader][number]
    assert read.rows is not None, read.error
    assert read.rows in SNAPSHOTS, f"{read.rows} rows are of no snapshot"
    assert read.rows >= read.rows_before, f"{read.rows} rows, and {read.rows_before} before"


@pytest.mark.parametrize("kind", [DELTA, S3])
def test_each_version_of_a_delta_table_holds_whole_batches(
    kind: str, make_reads: Callable[[str], Reads]
) -> None:
    place = make_reads(kind).place
    newest = place.open_table().version()
    # The first version is the empty table.
    assert newest == PUBLISHES + 1
    for version in range(1, newest + 1):
        sequences = place.open_table(version).to_pandas()["sequence"]
        assert sequences.value_counts().to_dict() == {n: n for n in range(1, version + 1)}
    assert place.find_damage() == []


def _read_while_publishing(spark: Any, place: Place, reads: dict[str, int]) -> dict[str, list[Read]]:
    """Return all reads by reader, in order; publishes are spread over them."""
    counts = {reader: _make_reader(reader, spark, place) for reader in reads}
    _publish(place, 1)
    for count in counts.values():
        assert count() == SNAPSHOTS[0]  # and what takes long the first time is done
    context = multiprocessing.get_context("spawn")
    n_read, n_published = context.Value("i", 0), context.Value("i", 0)
    arguments = (place, sum(reads.values()), n_read, n_published)
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


def _make_reader(reader: str, spark: Any, place: Place) -> Callable[[], int]:
    """Return a function that counts the rows as a plain reader of Parquet or Delta, or as `read_scores`."""
    import duckdb
    import polars

    if reader == "read_scores":
        return lambda: read_scores(spark, place.output, ALL, place.options).count()
    if place.kind != FOLDER:
        options = make_options(place.storage)

        def read_files() -> int:
            files = place.open_table().file_uris()
            return len(duckdb.connect().sql(f"select * from read_parquet({files})").fetchall())

        return {
            "deltalake": lambda: len(place.read_scores()),
            "polars": lambda: len(polars.read_delta(place.root, storage_options=options)),
            "duckdb": read_files,
        }[reader]
    everything = f"{place.output}/**/*.parquet"
    return {
        "duckdb": lambda: len(duckdb.connect().sql(f"select * from read_parquet('{everything}')").fetchall()),
        "polars": lambda: len(polars.read_parquet(everything)),
        "pandas": lambda: len(place.read_scores()),
        "spark": lambda: len(spark.read.parquet(place.output).collect()),
    }[reader]


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
    place: Place, n_reads: int, n_read: "Synchronized[int]", n_published: "Synchronized[int]"
) -> None:
    """Publish 50 times, in a process of its own, each time when its share of the reads was made."""
    for number in range(PUBLISHES):
        _wait_until(lambda share=number / PUBLISHES: n_read.value >= share * n_reads)
        _publish(place, number + 2)
        n_published.value = number + 1


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("the other side makes no progress")
        time.sleep(0.001)


def _publish(place: Place, n: int) -> None:
    """Publish batch n, of n rows and a reject."""
    with open_store(place.output, place.options) as store:
        publish_rows(store, BatchId("3", "2026-01-31", f"{n:012d}"), make_manifest(n, n, 1), 1000 * n)
