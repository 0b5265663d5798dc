"""Erasing the rows of given ids from a store."""

from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.errors import ConfigError
from sentiment.tables.__main__ import main
from sentiment.tables.store.erasure import load_ids
from sentiment.tables.store.manifests import BatchId
from sentiment.tables.store.opening import find_store, open_store
from sentiment.tables.store.verification import check_counts
from tests.factories import make_manifest, publish_rows

IDS = ("review_id",)


@pytest.fixture
def scores(tmp_path):
    """Three batches that share ids: r10 to r14, r12 to r16, r10 to r12; rejects begin with x."""
    root = tmp_path / "scores"
    with open_store(str(root)) as store:
        for number, version, first, n in ((1, "3", 10, 5), (2, "3", 12, 5), (3, "4", 10, 3)):
            manifest = make_manifest(
                number, n, 2, model_version=version, input_rows=n + 2 + 4, skipped_rows={"known": 4}
            )
            publish_rows(store, BatchId(version, "2026-01-31", f"b{number}"), manifest, first)
    return root


def read(root):
    files = [*root.rglob("*.parquet"), *root.rglob("*.pq")]
    return sorted(tuple(row.items()) for file in files for row in pq.read_table(file).to_pylist())


def forget(root, ids, tmp_path, name="ids.txt"):
    (tmp_path / name).write_text(ids)
    return main(["forget", str(root), "--ids", str(tmp_path / name)])


def test_the_rows_of_ids_are_gone_from_every_file_and_others_are_as_before(scores, tmp_path, capsys):
    before = read(scores)
    assert forget(scores, "r12\nx11\r\nnobody\n", tmp_path) == 0
    # r12 is in all three batches, x11 in the first and the last.
    assert "erased 5 rows of 2 ids; 1 of the 3 ids have no row" in " ".join(capsys.readouterr().out.split())
    assert read(scores) == [row for row in before if dict(row)["review_id"] not in ("r12", "x11")]
    content = b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "ids.txt"
    )
    assert b"r12" not in content
    assert b"r13" in content
    assert main(["verify", str(scores)]) == 0
    manifests = [batch.manifest for batch in find_store(str(scores)).list_batches()]
    assert [(m.scored_rows, m.rejected_rows, m.forgotten_rows) for m in manifests] == [
        (4, 1, 2),
        (4, 2, 1),
        (2, 1, 2),
    ]
    assert [check_counts(manifest) for manifest in manifests] == [[]] * 3
    assert (
        [sum(m.labels.values()) for m in manifests]
        == [sum(m.stages.values()) for m in manifests]
        == [4, 4, 2]
    )
    assert [sum(m.rejected_by_reason.values()) for m in manifests] == [1, 2, 1]
    assert [m.input_rows for m in manifests] == [11, 11, 9]
    assert not (tmp_path / ".scores.staging").exists()


def test_a_second_time_there_is_nothing_to_erase_and_nothing_changes(scores, tmp_path, capsys):
    forget(scores, "r12\n", tmp_path)
    before = {str(path): path.stat().st_mtime_ns for path in scores.rglob("*")}
    capsys.readouterr()
    assert forget(scores, "r12\n", tmp_path) == 0
    assert "erased 0 rows" in capsys.readouterr().out
    assert {str(path): path.stat().st_mtime_ns for path in scores.rglob("*")} == before


def test_a_batch_may_lose_all_its_rows_and_is_still_done(scores, tmp_path):
    assert forget(scores, "\n".join(f"{letter}{n}" for letter in "rx" for n in range(10, 20)), tmp_path) == 0
    assert read(scores) == []
    assert main(["verify", str(scores)]) == 0
    with open_store(str(scores)) as store:
        assert [len(batch.manifest.consumption.inputs) for batch in store.list_batches()] == [1, 1, 1]


def test_compacted_batches_can_be_erased_from_and_keep_what_was_erased(scores, tmp_path):
    forget(scores, "r12\n", tmp_path)
    assert main(["compact", str(scores)]) == 0
    assert forget(scores, "r13\n", tmp_path) == 0
    assert main(["verify", str(scores)]) == 0
    compacted = find_store(str(scores)).list_batches()[0].manifest
    assert (compacted.scored_rows, compacted.forgotten_rows) == (6, 4)


def test_a_damaged_store_is_left_alone(scores, tmp_path, capsys):
    next(scores.rglob("part-*.parquet")).write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in scores.rglob("*") if path.is_file()}
    assert forget(scores, "r12\n", tmp_path) == 1
    assert {path: path.read_bytes() for path in scores.rglob("*") if path.is_file()} == before
    assert "nothing was changed" in capsys.readouterr().err


def test_ids_are_read_from_text_csv_and_parquet(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffr1\r\n\nr 2\n", encoding="utf-8")
    assert load_ids(str(tmp_path / "a.txt"), IDS).values == {("r1",), ("r 2",)}
    (tmp_path / "a.csv").write_text("x,review_id\n1,007\n2,NA\n")
    assert load_ids(str(tmp_path / "a.csv"), IDS).values == {("007",), ("NA",)}
    pd.DataFrame({"n": [1, 2], "review_id": ["a", None]}).to_parquet(tmp_path / "a.parquet")
    assert load_ids(str(tmp_path / "a.parquet"), ("review_id", "n")).values == {("a", "1")}


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", "\n"), ("a.csv", "id\n1\n"), ("a.parquet", "x"), ("none", None)]
)
def test_a_list_without_ids_is_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=name):
        load_ids(str(tmp_path / name), IDS)


def test_one_value_per_line_cannot_name_ids_of_two_columns(tmp_path):
    (tmp_path / "a.txt").write_text("r1\n")
    with pytest.raises(ConfigError, match="one value per line, but the ids have 2 columns"):
        load_ids(str(tmp_path / "a.txt"), ("shop", "review_id"))


_NOON = datetime(2026, 1, 31, 12, 30)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([7, 8]), "7"),
        (pa.array([7.0, 8.5]), "7.0"),
        (pa.array([7, 8], pa.decimal128(20, 0)), "7"),
        (pa.array([_NOON, None], pa.timestamp("us")), "2026-01-31 12:30:00"),
        (pa.array([_NOON, None], pa.timestamp("us", "UTC")), "2026-01-31 12:30:00Z"),
        (pa.array([_NOON.date(), None]), "2026-01-31"),
        (pa.array([True, False]), "true"),
        (pa.array(["None", None]), "None"),
    ],
)
def test_ids_of_any_type_are_found_by_their_text_and_by_their_value(tmp_path, values, text):
    rows = pa.table({"review_id": values})
    (tmp_path / "ids.txt").write_text(text)
    pq.write_table(rows.slice(0, 1), tmp_path / "ids.parquet")
    for name in ("ids.txt", "ids.parquet"):
        assert load_ids(str(tmp_path / name), IDS).find(rows).tolist() == [True, False], name


def test_a_null_in_a_list_is_no_id_called_none(tmp_path):
    pq.write_table(pa.table({"review_id": ["a", None]}), tmp_path / "ids.parquet")
    rows = pa.table({"review_id": ["None", "nan", "a", None]})
    assert load_ids(str(tmp_path / "ids.parquet"), IDS).find(rows).tolist() == [False, False, True, False]


def test_a_text_that_cannot_be_an_id_of_the_store_is_refused(tmp_path):
    Path(tmp_path / "ids.txt").write_text("review_id\n7\n")
    with pytest.raises(ConfigError, match="a value of column review_id is no int64"):
        load_ids(str(tmp_path / "ids.txt"), IDS).find(pa.table({"review_id": [7]}))
