import json
import multiprocessing
import os
import signal

import pytest

from sentiment.errors import ConfigError, StoreError, StoreLockedError
from sentiment.tables.store import MANIFEST, STAGING, BatchId, open_store

BATCH = BatchId("3", "2026-01-31", "abc")


def stage_batch(store, content="rows"):
    staged = store.stage()
    (staged / "part-0.parquet").write_text(content)
    (staged / "_rejected").mkdir()
    (staged / "_rejected" / "part-0.parquet").write_text("rejects")
    (staged / "_rejected" / ".part-0.parquet.crc").write_text("x")
    (staged / "_SUCCESS").write_text("")
    return staged


def test_a_batch_appears_whole_where_the_design_says(tmp_path):
    with open_store(str(tmp_path / "scores")) as store:
        target = store.publish(stage_batch(store), BATCH, {"rows": 1})
    assert target == tmp_path / "scores" / "model=3" / "batch=2026-01-31-abc"
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*")) == [
        MANIFEST,
        "_rejected",
        "_rejected/part-0.parquet",
        "part-0.parquet",
    ]
    assert json.loads((target / MANIFEST).read_text()) == {"rows": 1}
    assert sorted(p.name for p in store.root.iterdir()) == ["model=3"]


def test_files_are_synced_before_the_rename_and_folders_after(tmp_path, monkeypatch):
    calls = []
    real_sync, real_rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), real_sync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda *a, **k: (calls.append("rename"), real_rename(*a, **k))[1])
    with open_store(str(tmp_path / "scores")) as store:
        store.publish(stage_batch(store), BATCH, {})
    assert calls.count("rename") == 1
    before = calls.index("rename")
    assert before >= 4  # two parts, the manifest, the folders
    assert calls[before + 1 :] == ["sync", "sync", "sync"]


def test_the_manifests_of_a_model_are_the_memory_of_what_it_scored(tmp_path):
    with open_store(str(tmp_path)) as store:
        assert store.read_manifests("3") == []
        store.publish(stage_batch(store), BATCH, {"n": 1})
        store.publish(stage_batch(store), BatchId("3", "2027-12-24", "abd"), {"n": 2})
        store.publish(stage_batch(store), BatchId("33", "2027-12-24", "abd"), {"n": 3})
        assert store.read_manifests("3") == [{"n": 1}, {"n": 2}]


def test_a_manifest_that_cannot_be_read_stops_the_run(tmp_path):
    with open_store(str(tmp_path)) as store:
        batch = store.publish(stage_batch(store), BATCH, {})
        (batch / MANIFEST).write_text("{half")
        with pytest.raises(StoreError, match="what was scored"):
            store.read_manifests("3")


def test_a_batch_is_never_replaced(tmp_path):
    with open_store(str(tmp_path)) as store:
        target = store.publish(stage_batch(store, "first"), BATCH, {})
        with pytest.raises(StoreError, match="cannot be published"):
            store.publish(stage_batch(store, "second"), BATCH, {})
        assert (target / "part-0.parquet").read_text() == "first"


def test_a_failed_run_leaves_nothing(tmp_path):
    root = tmp_path / "scores"
    with pytest.raises(StoreError), open_store(str(root)) as store:
        store.publish(stage_batch(store), BatchId("no", "such/folder", "x"), {})
    assert not root.exists()


def test_what_a_killed_run_staged_is_removed_by_the_next(tmp_path):
    stale = tmp_path / STAGING / "dead" / "part-0.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_text("half")
    with open_store(str(tmp_path)) as store:
        staged = store.stage()
        assert not stale.exists()
        assert staged.is_dir()


def test_a_second_writer_is_told_at_once(tmp_path):
    with open_store(str(tmp_path)):
        with pytest.raises(StoreLockedError, match="another run"), open_store(str(tmp_path)):
            pass
        # being refused must not free the lock of who holds it
        with pytest.raises(StoreLockedError), open_store(str(tmp_path)):
            pass
    with open_store(str(tmp_path)):
        pass


def _hold_store(path, ready):
    with open_store(path):
        ready.set()
        signal.pause()


def test_a_killed_writers_lock_is_free(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold_store, args=(str(tmp_path), ready))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(StoreLockedError), open_store(str(tmp_path)):
        pass
    holder.kill()
    holder.join()
    with open_store(str(tmp_path)) as store:
        store.publish(stage_batch(store), BATCH, {})


@pytest.mark.parametrize("place", ["s3://bucket/scores", "hdfs:/name/scores", "dbfs:/scores"])
def test_what_is_no_mounted_file_system_is_refused(place):
    with pytest.raises(ConfigError, match="rename"), open_store(place):
        pass


def test_a_file_or_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "scores"):
        with pytest.raises(ConfigError, match="output"), open_store(str(place)):
            pass
