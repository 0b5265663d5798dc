"""The Delta store, without Spark: on a mounted folder and on an S3 server in this process."""

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow.fs import FileSelector, FileType

import sentiment
from sentiment.errors import ConfigError, InputError, ObjectStoreError, StoreError, StoreLockedError
from sentiment.tables import storage
from sentiment.tables.deltalog import list_deleted_rows
from sentiment.tables.store import delta
from sentiment.tables.store.delta import DeltaStore
from sentiment.tables.store.files import Ids
from sentiment.tables.store.manifests import BatchId
from sentiment.tables.store.opening import open_store
from sentiment.tables.store.protocol import find_batch
from tests.factories import make_manifest, stage_rows


# The other tests of the store on S3 run in tests/spark/test_delta.py.
@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.reliability)])
def place(request, tmp_path):
    """Returns the path of a store and the options of its storage."""
    if request.param == "folder":
        return f"delta:{tmp_path}/scores", None
    bucket = request.getfixturevalue("bucket")
    return f"{bucket.uri}/scores", bucket.options


def open_delta(place):
    return DeltaStore.create(*place)


def publish(store, sequence, ids, rejected=(), **columns):
    manifest = make_manifest(sequence, len(ids), len(rejected))
    staging = store.stage()
    files = stage_rows(staging, sequence, ids, rejected, **columns)
    return store.publish(staging, BatchId("3", "2026-01-31", f"{sequence:012}"), manifest, files)


def load(place):
    return sentiment.load_scores(place[0], storage_options=place[1])


def read_delta(store):
    return DeltaTable(store.root, storage_options=delta.make_options(store.storage)).to_pandas()


def test_batches_are_listed_and_read_as_published(place):
    store = open_delta(place)
    assert store.list_batches() == []
    first = publish(store, 1, ["a", "b"])
    second = publish(store, 2, ["b", "c"], rejected=["a"])
    again = DeltaStore.find(*place)
    assert again.list_batches() == [first, second]
    assert sorted(load(place)["review_id"]) == ["b", "c"]
    assert sorted(read_delta(store)["review_id"]) == ["a", "b", "b", "c"]
    assert [store.find_damage(batch) for batch in again.list_batches()] == [[], []]


def test_other_tools_read_the_scores(tmp_path):
    place = (f"delta:{tmp_path}/scores", None)
    publish(open_delta(place), 1, ["a", "b"], rejected=["c"])
    assert sorted(polars.read_delta(str(tmp_path / "scores"))["review_id"]) == ["a", "b"]
    files = DeltaTable(tmp_path / "scores").file_uris()
    assert duckdb.sql(f"SELECT * FROM read_parquet({files})").arrow().read_all().num_rows == 2


def test_of_two_runs_that_read_the_same_snapshot_one_publishes(place):
    one, two = open_delta(place), open_delta(place)
    assert one.list_batches() == two.list_batches() == []
    publish(one, 1, ["a"])
    with pytest.raises(StoreLockedError, match="another run has changed this store") as caught:
        publish(two, 1, ["a"])
    assert caught.value.exit_code == 5
    assert len(read_delta(one)) == 1


def test_a_commit_between_the_look_and_ours_is_noticed(place, monkeypatch):
    """The loser has looked before the winner's commit, and commits after it."""
    one, two = open_delta(place), open_delta(place)
    for store in (one, two):
        store.list_batches()
    publish(one, 1, ["a"])
    for store in (one, two):
        store._base = None
        store.list_batches()
    real = delta._append

    def lose(table, adds, properties):
        monkeypatch.setattr(delta, "_append", real)
        publish(one, 2, ["b"])
        real(table, adds, properties)

    monkeypatch.setattr(delta, "_append", lose)
    monkeypatch.setattr(delta, "_FIRST_PAUSE_SECONDS", 0)
    with pytest.raises(StoreLockedError):
        publish(two, 2, ["b"])
    assert sorted(read_delta(one)["review_id"]) == ["a", "b"]


@pytest.mark.parametrize("lands", [True, False])
def test_after_an_error_of_a_commit_the_table_says_what_happened(place, monkeypatch, lands):
    store = open_delta(place)
    publish(store, 1, ["a"])
    real, errors = delta._append, []

    def answer_wrongly(table, adds, properties):
        if lands:
            real(table, adds, properties)
        if not errors:
            errors.append(1)
            raise OSError("the connection was lost")
        real(table, adds, properties)

    monkeypatch.setattr(delta, "_append", answer_wrongly)
    monkeypatch.setattr(delta, "_FIRST_PAUSE_SECONDS", 0)
    publish(store, 2, ["b"])
    assert errors
    assert sorted(read_delta(store)["review_id"]) == ["a", "b"]
    assert len(DeltaStore.find(*place).list_batches()) == 2


def test_a_commit_that_never_succeeds_is_an_error_and_a_later_run_publishes(place, monkeypatch):
    store = open_delta(place)
    real = delta._append

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(delta, "_append", fail)
    monkeypatch.setattr(delta, "_FIRST_PAUSE_SECONDS", 0)
    with pytest.raises(StoreError, match="the commit failed 4 times"):
        publish(store, 1, ["a"])
    assert DeltaStore.find(*place).list_batches() == []
    monkeypatch.setattr(delta, "_append", real)
    publish(open_delta(place), 1, ["a"])
    assert load(place)["review_id"].tolist() == ["a"]


def test_a_changed_or_missing_entry_is_an_error(place):
    store = open_delta(place)
    publish(store, 1, ["a"])
    last = publish(store, 2, ["b"])
    name = last.location.rpartition("/")[2]
    body = store._objects.read(f"_sentiment/manifests/{name}")
    store._objects.write(f"_sentiment/manifests/{name}", body.replace(b"publish", b"PUBLISH"))
    with pytest.raises(StoreError, match="was changed"):
        DeltaStore.find(*place).list_batches()
    store._objects.delete(f"_sentiment/manifests/{name}")
    with pytest.raises(StoreError, match="is missing"):
        DeltaStore.find(*place).list_batches()


def test_the_memory_survives_optimize_checkpoint_and_vacuum(place):
    store = open_delta(place)
    for number in range(1, 4):
        publish(store, number, [f"r{number}"])
    table = DeltaTable(store.root, storage_options=delta.make_options(store.storage))
    table.optimize.compact()
    table.create_checkpoint()
    table.cleanup_metadata()
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    batches = DeltaStore.find(*place).list_batches()
    assert [batch.manifest.sequence for batch in batches] == [1, 2, 3]
    assert [store.find_damage(batch) for batch in batches] == [[], [], []]
    publish(open_delta(place), 4, ["r4"])
    assert len(load(place)) == 4


def test_drop_takes_back_a_batch_even_if_its_rows_share_files_with_others(place):
    store = open_delta(place)
    for number in range(1, 4):
        publish(store, number, [f"r{number}"])
    DeltaTable(store.root, storage_options=delta.make_options(store.storage)).optimize.compact()
    store.drop(store.list_batches()[1])
    assert sorted(load(place)["review_id"]) == ["r1", "r3"]
    assert [batch.manifest.sequence for batch in store.list_batches()] == [1, 3]
    with pytest.raises(Exception, match="has no batch"):
        find_batch(store, "nothing")


def test_compact_keeps_every_row_and_its_number(place):
    store = open_delta(place)
    for number in range(1, 4):
        publish(store, number, [f"r{number}"], rejected=[f"x{number}"])
    made = store.compact("3", lambda *_: None)
    assert [batch.name for batch in store.list_batches()] == [made.name]
    assert [part.sequence for part in made.manifest.parts] == [1, 2, 3]
    assert store.find_damage(made) == []
    assert sorted(zip(load(place)["review_id"], load(place)["sequence"], strict=True)) == [
        ("r1", 1),
        ("r2", 2),
        ("r3", 3),
    ]
    assert store.compact("3", lambda *_: None) is None
    publish(store, 4, ["r4"])
    assert len(load(place)) == 4


def test_columns_that_come_later_are_added_and_other_types_are_refused(place):
    store = open_delta(place)
    publish(store, 1, ["a"])
    publish(store, 2, ["b"], expected=pa.array([3.5]))
    assert load(place).set_index("review_id")["expected"].isna().to_dict() == {"a": True, "b": False}
    with pytest.raises(StoreError, match="column expected holds double"):
        publish(store, 3, ["c"], expected=pa.array(["three"]))


def test_deleted_rows_of_other_tools_are_gone_and_noticed(place):
    store = open_delta(place)
    batch = publish(store, 1, ["a", "b"])
    DeltaTable(store.root, storage_options=delta.make_options(store.storage)).delete("review_id = 'a'")
    assert load(place)["review_id"].tolist() == ["b"]
    assert "1 of its rows" in store.find_damage(batch)[0]


def test_forgotten_ids_are_in_no_file_version_or_entry(place, tmp_path):
    store = open_delta(place)
    for number in range(1, 4):
        publish(
            store, number, [f"good{number}", f"secret{number}"], rejected=[f"fine{number}", f"hidden{number}"]
        )
    before = load(place)
    ids = Ids(("review_id",), frozenset({("secret1",), ("hidden2",), ("secret3",), ("nobody",)}))
    assert sorted(store.forget(ids, lambda *_: None)) == [("hidden2",), ("secret1",), ("secret3",)]
    assert store.forget(ids, lambda *_: None) == []
    assert [store.find_damage(batch) for batch in store.list_batches()] == [[], [], []]
    assert store.vacuum() > 0
    files = store.storage.open()
    found = files.get_file_info(FileSelector(store.storage.to_path(store.root), recursive=True))
    content = b"".join(files.open_input_stream(f.path).read() for f in found if f.type == FileType.File)
    tables = [
        pq.read_table(files.open_input_file(f.path)).to_pylist() for f in found if f.path.endswith(".parquet")
    ]
    for name in ("secret1", "hidden2", "secret3"):
        assert name.encode() not in content
        assert name not in str(tables)
    assert "secret2" in str(tables)
    kept = before[~before["review_id"].isin(["secret1", "secret3"])].sort_values("review_id")
    assert load(place).sort_values("review_id").reset_index(drop=True).equals(kept.reset_index(drop=True))


def test_vacuum_removes_what_killed_runs_leave(place):
    """A probe, and a log entry before it is linked to its name."""
    store = open_delta(place)
    publish(store, 1, ["a"], rejected=["b"])
    names = ["_sentiment/probe-1f", "_delta_log/00000000000000000002.json#1"]
    for name in names:
        store._objects.write(name, b"1")
    store.vacuum()
    assert not {"probe-1f"} & set(store._objects.list_names("_sentiment"))
    assert store._objects.list_names("_delta_log") == [f"{number:020}.json" for number in range(2)]
    assert load(place)["review_id"].tolist() == ["a"]
    publish(open_delta(place), 2, ["c"])
    assert [store.find_damage(batch) for batch in store.list_batches()] == [[], []]


def test_a_probe_whose_first_answer_is_lost_is_no_error(bucket, monkeypatch):
    """The client repeats the request, which is then refused."""
    import obstore

    real, calls = obstore.put, []

    def put_twice(store, key, body, mode=None):
        if not calls:
            calls.append(key)
            real(store, key, body, mode=mode)
        return real(store, key, body, mode=mode)

    monkeypatch.setattr(obstore, "put", put_twice)
    store = DeltaStore.create(f"{bucket.uri}/scores", bucket.options)
    assert calls
    assert store._objects.list_names("_sentiment") == []


def test_a_table_that_another_tool_wrote_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    write_deltalake(tmp_path / "scores", pa.table({"a": [1]}))
    with pytest.raises(ConfigError, match="did not write"):
        open_delta((f"delta:{tmp_path}/scores", None))


def test_a_second_run_on_one_machine_is_refused_at_once(tmp_path):
    path = f"delta:{tmp_path}/scores"
    with open_store(path), pytest.raises(StoreLockedError), open_store(path):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer"),
        ({}, "no such bucket"),
    ],
)
def test_a_store_that_cannot_be_reached_is_one_line(bucket, changes, message, monkeypatch):
    monkeypatch.setattr(storage, "_ATTEMPTS", 1)
    options = {**bucket.options, **changes}
    uri = f"{bucket.uri}/x" if changes else "s3://there-is-none/x"
    with pytest.raises(ObjectStoreError, match=message) as caught:
        DeltaStore.create(uri, options)
    assert "\n" not in str(caught.value)
    assert bucket.options["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_a_bucket_without_conditional_writes_is_refused(bucket, monkeypatch):
    import obstore

    real = obstore.put
    monkeypatch.setattr(obstore, "put", lambda store, key, body, mode=None: real(store, key, body))
    with pytest.raises(ConfigError, match="ignores If-None-Match") as caught:
        DeltaStore.create(f"{bucket.uri}/scores", bucket.options)
    assert caught.value.exit_code == 2


def test_deleted_rows_belong_to_the_file_of_their_partition():
    """Spark gives the files of a task one name in every partition."""

    class Table:
        def __init__(self, *places):
            self.places = places

        def deletion_vectors(self):
            rows = [{"filepath": place, "selection_vector": [False, True]} for place in self.places]
            return pa.Table.from_pylist(rows).to_batches()

    paths = ["day=1/part-0.parquet", "day=2/part-0.parquet"]
    assert list_deleted_rows(Table("file:///t/day=2/part-0.parquet"), paths) == {paths[1]: (0,)}
    with pytest.raises(InputError, match="no file of the table"):
        list_deleted_rows(Table("file:///t/day=3/part-0.parquet"), paths)
