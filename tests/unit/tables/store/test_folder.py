import errno
import multiprocessing
import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sentiment.errors import ConfigError, StoreError, StoreLockedError
from sentiment.tables.store.folder import STAGING, FolderStore, find_folder
from sentiment.tables.store.manifests import MANIFEST, BatchId
from sentiment.tables.store.opening import open_store
from tests.factories import make_manifest, publish_rows

BATCH = BatchId("3", "2026-01-31", "abc")


def publish(store, batch=BATCH, sequence=1, n=1, **overrides):
    return publish_rows(store, batch, make_manifest(sequence, scored_rows=n, **overrides))


def test_a_batch_appears_whole_where_the_design_says(tmp_path):
    with open_store(str(tmp_path / "scores")) as store:
        batch = publish(store)
    target = batch.folder
    assert target == tmp_path / "scores" / "model=3" / "batch=2026-01-31-abc"
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*")) == [
        MANIFEST,
        "_rejected",
        "_rejected/part-00000.pq",
        "part-00000.parquet",
    ]
    assert [(file.name, file.rows) for file in batch.manifest.files] == [
        ("part-00000.parquet", 1),
        ("_rejected/part-00000.pq", 1),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scores"]
    assert sorted(p.name for p in store.path.iterdir()) == ["model=3"]


def test_files_are_synced_before_the_rename_and_folders_after(tmp_path, monkeypatch):
    calls = []
    real_sync, real_rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), real_sync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda *a, **k: (calls.append("rename"), real_rename(*a, **k))[1])
    with open_store(str(tmp_path / "scores")) as store:
        publish(store)
    # The first renames move the staging folder and name the rejects; the last one is the commit.
    commit = len(calls) - 1 - calls[::-1].index("rename")
    files_and_folders = 5  # two parts, the manifest, two folders
    assert calls[commit - files_and_folders : commit] == ["sync"] * files_and_folders
    assert calls[commit + 1 :] == ["sync", "sync", "sync"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_good_enough(tmp_path, monkeypatch, code):
    """All rows were scored every night, and then the run failed."""
    real = os.fsync

    def fsync(handle):
        if Path(f"/proc/self/fd/{handle}").resolve().is_dir():
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with open_store(str(tmp_path / "scores")) as store:
        batch = publish(store)
    assert store.list_batches() == [batch]


def test_a_disk_that_fails_to_sync_a_folder_stops_the_run(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with open_store(str(tmp_path / "scores")) as store, pytest.raises(StoreError):
        publish(store)


def test_batches_are_listed_in_the_order_of_their_numbers(tmp_path):
    with open_store(str(tmp_path)) as store:
        assert store.list_batches() == []
        for number, version in ((1, "3"), (10, "33"), (2, "3")):
            publish(store, BatchId(version, "2027-12-24", f"{number}"), number, model_version=version)
        found = store.list_batches()
    assert [batch.manifest.sequence for batch in found] == [1, 2, 10]
    assert found[2].name == "model=33/batch=2027-12-24-10"


def test_a_manifest_that_cannot_be_read_stops_the_run(tmp_path):
    with open_store(str(tmp_path)) as store:
        batch = publish(store)
        (batch.folder / MANIFEST).write_text("{half")
        with pytest.raises(StoreError, match="what was scored"):
            store.list_batches()


def test_a_batch_is_never_replaced(tmp_path):
    with open_store(str(tmp_path)) as store:
        target = publish(store).folder
        with pytest.raises(StoreError, match="publishing failed"):
            publish(store, sequence=2, n=2)
        assert pq.read_metadata(target / "part-00000.parquet").num_rows == 1


def test_a_failed_run_leaves_nothing(tmp_path):
    root = tmp_path / "scores"
    with pytest.raises(StoreError), open_store(str(root)) as store:
        publish(store, BatchId("no", "such/folder", "x"))
    assert not root.exists()


def test_what_a_killed_run_staged_is_removed_by_the_next(tmp_path):
    stale = tmp_path / STAGING / "dead" / "part-00000.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_text("half")
    with open_store(str(tmp_path)) as store:
        staged = store.stage()
        assert not stale.exists()
        assert Path(staged.folder).is_dir()


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
        publish(store)


@pytest.mark.parametrize("place", ["s3://bucket/scores", "hdfs:/name/scores", "dbfs:/scores"])
def test_what_is_no_mounted_file_system_is_refused(place):
    with pytest.raises(ConfigError, match="is not on a mounted file system"):
        find_folder(place)


def test_a_file_or_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "scores"):
        with pytest.raises(ConfigError, match=str(place)), open_store(str(place)):
            pass


def test_a_folder_that_cannot_be_listed_stops_the_run(tmp_path, monkeypatch):
    with open_store(str(tmp_path)) as store:
        publish(store)
        real = os.listdir

        def refuse(folder):
            if str(folder).endswith("model=3"):
                raise PermissionError(13, "Permission denied")
            return real(folder)

        monkeypatch.setattr(os, "listdir", refuse)
        with pytest.raises(StoreError, match="cannot be listed"):
            store.list_batches()


def test_a_batch_without_its_manifest_stops_the_run(tmp_path):
    with open_store(str(tmp_path)) as store:
        batch = publish(store)
        (batch.folder / MANIFEST).unlink()
        with pytest.raises(StoreError, match="what was scored"):
            store.list_batches()


def test_staging_makes_no_folder_in_the_readers_sight(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        os, "mkdir", lambda path, *a, real=os.mkdir, **k: (made.append(str(path)), real(path, *a, **k))
    )
    with open_store(str(tmp_path / "scores")) as store:
        made.clear()
        staged = Path(store.stage().folder)
        assert staged.parent.name == ".scores.staging"
        assert not [path for path in made if path.startswith(str(tmp_path / "scores"))]


def test_where_nothing_can_be_renamed_from_beside_a_batch_is_staged_inside(tmp_path, monkeypatch):
    def refuse(self, staged):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(FolderStore, "_check_rename", refuse)
    with open_store(str(tmp_path / "scores")) as store:
        assert Path(store.stage().folder).parent == tmp_path / "scores" / STAGING
        publish(store)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_dir() and "staging" in p.name) == []
