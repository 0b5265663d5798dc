"""Types of columns: those that pass through Spark, and those that nobody asks for."""

import decimal
import uuid
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.errors import SchemaMismatchError
from sentiment.tables.input.inspection import inspect_reviews
from sentiment.tables.input.reviews import _prepare
from sentiment.tables.input.tables import check_columns
from sentiment.tables.input.types import find_carried_type, name_spark_type
from sentiment.tables.pending import Slice

_NS = 1_769_862_600_000_000_001
_UUID = uuid.UUID(int=7)
_NOON = datetime(2026, 1, 31, 12, 30)
CARRIED = {
    "int8": (pa.array([-1, None], pa.int8()), "tinyint", [-1, None]),
    "uint8": (pa.array([255], pa.uint8()), "smallint", [255]),
    "uint32": (pa.array([2**32 - 1], pa.uint32()), "bigint", [2**32 - 1]),
    "uint64": (pa.array([2**64 - 1], pa.uint64()), "decimal(20,0)", [decimal.Decimal(2**64 - 1)]),
    "decimal": (
        pa.array([decimal.Decimal("1.50")], pa.decimal128(9, 2)),
        "decimal(9,2)",
        [decimal.Decimal("1.50")],
    ),
    "float16": (pa.array([1.5, float("nan")], pa.float32()).cast(pa.float16()), "float", [1.5, None]),
    "float64": (pa.array([1.5, float("nan"), None]), "double", [1.5, None, None]),
    "bool": (pa.array([True]), "boolean", [True]),
    "dictionary": (pa.array(["a", None]).dictionary_encode(), "string", ["a", None]),
    "dictionary of numbers": (pa.array([7, 7]).dictionary_encode(), "bigint", [7, 7]),
    "large_string": (pa.array(["a"], pa.large_string()), "string", ["a"]),
    "string_view": (pa.array(["a"], pa.string_view()), "string", ["a"]),
    "uuid": (pa.array([_UUID.bytes, None], pa.uuid()), "string", [str(_UUID), None]),
    "json": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])), "string", ["{}"]),
    "binary": (pa.array([b"\xff"]), "binary", [b"\xff"]),
    "fixed binary": (pa.array([b"ab"], pa.binary(2)), "binary", [b"ab"]),
    "nanoseconds": (pa.array([_NS], pa.timestamp("ns")), "bigint", [_NS]),
    "nanoseconds with a zone": (pa.array([_NS], pa.timestamp("ns", "UTC")), "bigint", [_NS]),
    "milliseconds": (pa.array([_NOON], pa.timestamp("ms")), "timestamp_ntz", [_NOON]),
    "a zone": (
        pa.array([_NOON], pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "+01:00")),
        "timestamp",
        [_NOON.replace(tzinfo=UTC)],
    ),
    "date": (pa.array([_NOON.date()]), "date", [_NOON.date()]),
    "nulls": (pa.nulls(2), "string", [None, None]),
}


def inspect(folder, **options):
    return inspect_reviews(str(folder), check_columns("review_id", "text", **options))


def read(table):
    reader, parts = _prepare(table, [Slice(file, 0, file.rows) for file in table.files], None)
    return pa.Table.from_batches([batch for part in parts for batch in reader.read(part)], reader.output)


@pytest.mark.parametrize("kind", CARRIED)
def test_an_id_of_this_type_is_read_as_it_is(tmp_path, kind):
    ids, spark_type, expected = CARRIED[kind]
    pq.write_table(pa.table({"review_id": ids, "text": ["good"] * len(ids)}), tmp_path / "a.parquet")
    found = read(inspect(tmp_path))["review_id"]
    assert name_spark_type(found.type) == spark_type
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    "kind", [pa.decimal256(40), pa.time64("us"), pa.duration("s"), pa.month_day_nano_interval()]
)
def test_a_type_that_spark_has_not_is_no_id(kind):
    assert find_carried_type(kind) is None


@pytest.mark.parametrize("column", ["review_id", "at"])
@pytest.mark.parametrize(
    "values",
    [pa.array([1], pa.time64("us")), pa.array([[1]]), pa.array([{"a": 1}]), pa.array([1], pa.duration("s"))],
)
def test_an_id_or_order_that_spark_cannot_hold_is_named(tmp_path, column, values):
    columns = {"review_id": ["a"], "text": ["good"], "at": [1], column: values}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatchError, match=f"a.parquet: column {column} holds"):
        inspect(tmp_path, order_col="at")


def test_a_file_whose_order_has_another_type_is_quarantined(tmp_path):
    for name, at in (("a", [1]), ("b", [2]), ("c", ["3"])):
        table = pa.table({"review_id": [name], "text": ["good"], "at": at})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    [bad] = inspect(tmp_path, order_col="at").bad_files
    assert "c.parquet: column at holds string, but int64 in most files" in str(bad.error)


def test_columns_that_nobody_asks_for_may_have_any_type_in_some_files(tmp_path):
    others = {name: values[:1] for name, (values, _, _) in CARRIED.items() if name != "json"}
    others |= {
        "time": pa.array([1], pa.time64("us")),
        "list": pa.array([[1]]),
        "struct": pa.array([{"a": 1}]),
    }
    pq.write_table(pa.table({"review_id": ["a"], "text": ["good"]}), tmp_path / "a.parquet")
    for number, (name, values) in enumerate(others.items()):
        table = pa.table({"review_id": [f"r{number}"], "text": ["good"], name: values})
        pq.write_table(table, tmp_path / f"b{number}.parquet")
    table = inspect(tmp_path)
    assert not table.bad_files
    assert read(table).num_rows == 1 + len(others)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_a_text_of_any_string_type_keeps_its_bytes(tmp_path, kind):
    broken = pa.array([b"\xff\xfe", b"good", None]).view(pa.string())
    text = broken.dictionary_encode() if pa.types.is_dictionary(kind) else broken.cast(kind)
    pq.write_table(pa.table({"review_id": ["a", "b", "c"], "text": text}), tmp_path / "a.parquet")
    found = read(inspect(tmp_path))["text"]
    assert found.cast(pa.binary()).to_pylist() == [b"\xff\xfe", b"good", None]


@pytest.mark.parametrize(
    ("days", "n_wrong"), [(["2026-01-31", "31/01/2026"] * 3_000, 3_000), (["2026-01-31", None] * 3_000, 0)]
)
def test_wrong_dates_are_counted_for_the_whole_file(tmp_path, days, n_wrong):
    from sentiment.tables.store.manifests import Window

    columns = {"review_id": range(6_000), "text": ["good"] * 6_000, "day": days}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = inspect(tmp_path, date_col="day")
    reader, [part] = _prepare(table, [Slice(table.files[0], 0, 6_000)], Window("day", "2026-01-01", None))
    if n_wrong:
        with pytest.raises(
            SchemaMismatchError, match=r"a.parquet: 3,000 of 6,000 values of column day are no dates"
        ):
            list(reader.read(part))
    else:
        outside = pa.Table.from_batches(list(reader.read(part)))["_is_outside"].to_pylist()
        assert outside == [False, True] * 3_000
