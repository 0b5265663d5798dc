"""A publish in which each file operation in turn fails or kills the process.

The method of SQLite's tests (https://www.sqlite.org/testing.html, "I/O Error Testing"): count the
operations of an undisturbed publish, then for each n disturb the n-th, and look at what is left.
"""

import errno
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sentiment.errors import SentimentError, StoreError
from sentiment.models.integrity import digest_file
from sentiment.tables.store.files import WrittenFile
from sentiment.tables.store.folder import REJECTED_SUFFIX, FolderStore
from sentiment.tables.store.manifests import REJECTED, BatchId
from sentiment.tables.store.opening import open_store
from tests.factories import describe_file, make_manifest, write_part, write_rejects

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F1", "a publish whose file operations and requests fail, one after another"),
]

_KILL, _UNKNOWN = "SIGKILL", "EIO though done"
_KINDS = {_KILL: 0, "EIO": errno.EIO, "ENOSPC": errno.ENOSPC, _UNKNOWN: errno.EIO}
# Operations that may take effect although the caller gets an error.
_CHANGING = ("os.mkdir", "os.rename", "os.rmdir", "os.remove", "fsync")
# Of https://docs.python.org/3/library/audit_events.html; reads of metadata are counted, too.
_AUDITED = {"open", "fcntl.flock", "os.listdir", "os.scandir", *_CHANGING}
# Scored and rejected rows of the batch that is there, and of the one that is published.
_BATCHES = {1: (40, 4), 2: (90, 9)}
_PARTS = 3
_QUICK_STEP = 12
# Exit codes of the child; the last is for an error that is not one of the library's.
_PUBLISHED, _REFUSED, _BROKEN = 0, 10, 11
_CHILD_SECONDS = 60


@dataclass(frozen=True)
class Fault:
    """A failure of the operation number `at`, counted from 0."""

    kind: str
    at: int


@dataclass(frozen=True)
class Attempt:
    """The exit code of a disturbed publish, and the operations it came to (unknown if it was killed)."""

    code: int
    operations: tuple[str, ...]


def list_faults() -> list[Any]:
    """Return a fault per operation and kind; operations that change something also fail afterwards."""
    faults = [
        (Fault(kind, at), f"{kind} at {at}: {name}")
        for at, name in enumerate(_undisturbed()[0])
        for kind in _KINDS
        if kind != _UNKNOWN or name in _CHANGING
    ]
    return [
        pytest.param(fault, id=name, marks=() if number % _QUICK_STEP else pytest.mark.quick)
        for number, (fault, name) in enumerate(faults)
    ]


@cache
def _undisturbed() -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the operations of an undisturbed publish, and the resulting tree of files."""
    with tempfile.TemporaryDirectory() as scratch:
        root = _make_store(Path(scratch))
        attempt = _attempt(root, None)
        assert attempt.code == _PUBLISHED, attempt.code
        return attempt.operations, _digest_tree(Path(scratch))


def _make_store(folder: Path) -> Path:
    root = folder / "scores"
    _publish(root, 1)
    _make_files(2)  # here, not in the child, which would count what that takes
    return root


def _publish(root: Path, sequence: int) -> None:
    """Stage and publish a batch as a run does, unless it is there already."""
    scored, rejected = _BATCHES[sequence]
    manifest = make_manifest(sequence, scored, rejected)
    batch_id = BatchId("3", "2026-01-31", f"{sequence:012d}")
    with open_store(str(root)) as store:
        if any(batch.manifest.sequence == sequence for batch in store.list_batches()):
            return
        staging = store.stage()
        files = []
        try:
            for written, content in _make_files(sequence):
                path = Path(staging.folder) / written.path
                path.write_bytes(content)
                files.append(replace(written, path=str(path)))
        except OSError as error:
            raise StoreError("as Spark would end") from error
        store.publish(staging, batch_id, manifest, files)


@cache
def _make_files(sequence: int) -> list[tuple[WrittenFile, bytes]]:
    """Return the files of a batch as executors write them; their paths are names."""
    scored, rejected = _BATCHES[sequence]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for part in range(_PARTS):
            first = 1000 * sequence + 100 * part
            write_part(folder / f"part-{part}.parquet", _share(scored, part), sequence, first)
            write_rejects(folder / f"part-{part}{REJECTED_SUFFIX}", _share(rejected, part), sequence, first)
        return [
            (replace(describe_file(file, file.suffix == REJECTED_SUFFIX), path=file.name), file.read_bytes())
            for file in sorted(folder.iterdir())
        ]


def _share(n: int, part: int) -> int:
    """Return the share of one part; all parts together are n."""
    return n // _PARTS + (part < n % _PARTS)


def _read_rows(root: Path) -> tuple[int, int]:
    """Count scored and rejected rows, on which the store, its manifests and plain readers have to agree."""
    batches = FolderStore(root).list_batches()
    for batch in batches:
        for file in batch.manifest.files:
            path = batch.folder / file.name
            assert (digest_file(path), pq.read_metadata(path).num_rows) == (file.sha256, file.rows), path
    scored = sum(batch.manifest.scored_rows for batch in batches)
    rejected = sum(batch.manifest.rejected_rows for batch in batches)
    assert len(pd.read_parquet(root)) == scored
    assert sum(pq.read_metadata(file).num_rows for file in root.glob("**/*.parquet")) == scored
    assert sum(pq.read_metadata(file).num_rows for file in root.glob(f"*/*/{REJECTED}/*")) == rejected
    return scored, rejected


def _digest_tree(folder: Path) -> dict[str, str]:
    """Return the digest of everything below the folder: the store and its neighbours."""
    return {
        str(path.relative_to(folder)): digest_file(path) if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def _attempt(root: Path, fault: Fault | None) -> Attempt:
    """Publish the second batch in a forked child to which the fault happens."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _run_child(root, fault, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        operations = tuple(pipe.read().splitlines())
    return Attempt(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), operations)


def _run_child(root: Path, fault: Fault | None, writing: int) -> None:
    """Publish and exit, never return: clean-up, tests and output belong to the parent."""
    code = _BROKEN
    try:
        signal.alarm(_CHILD_SECONDS)
        disturber = _Disturber(root.parent, fault)
        disturber.install()
        try:
            _publish(root, 2)
            code = _PUBLISHED
        except SentimentError:
            code = _REFUSED
        os.write(writing, "\n".join(disturber.operations).encode())
    except BaseException:  # noqa: BLE001 the exit code passes it to the parent
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


@dataclass
class _Disturber:
    """A counter of the file operations of this process below a folder, one of which it lets fail."""

    folder: Path
    fault: Fault | None
    operations: list[str] = field(default_factory=list)
    is_done: bool = False

    def install(self) -> None:
        """Install the hooks for the rest of the process: an audit hook cannot be removed."""
        # An operation that changes something passes the hook before, and its wrapper after it takes effect.
        for name in ("mkdir", "rename", "rmdir", "remove", "unlink"):
            setattr(os, name, self._wrap(getattr(os, name)))
        for name in ("fsync", "stat", "lstat"):
            setattr(os, name, self._wrap(getattr(os, name), name))
        pq.read_metadata = self._wrap(pq.read_metadata, "read_metadata")
        io.open = _make_open(io.open, self)
        sys.addaudithook(self._hear)

    def meet(self, name: str, place: Any, do_half: Callable[[], object] = lambda: None) -> None:
        """Count an operation that is about to be done; the chosen one is half done and then fails."""
        if not self._is_ours(place):
            return
        self.operations.append(name)
        if self.fault is None or len(self.operations) - 1 != self.fault.at or self.fault.kind == _UNKNOWN:
            return
        do_half()
        if self.fault.kind == _KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        self._fail()

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _AUDITED:
            self.meet(event, arguments[0])

    def _wrap(self, function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
        def call(place: Any, *args: Any, **kwargs: Any) -> Any:
            if name is not None:
                self.meet(name, place)
            result = function(place, *args, **kwargs)
            is_it = self.fault is not None and len(self.operations) - 1 == self.fault.at
            if is_it and self.fault.kind == _UNKNOWN and not self.is_done:
                self.is_done = True
                self._fail()
            return result

        return call

    def _fail(self) -> None:
        code = _KINDS[self.fault.kind]
        raise OSError(code, os.strerror(code))

    def _is_ours(self, place: Any) -> bool:
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}")
        path = os.fsdecode(place)
        # A bare name is relative to an open folder: `rmtree` goes down that way.
        return not os.path.isabs(path) or path.startswith(f"{self.folder}/")


def _make_open(plain_open: Callable[..., Any], disturber: _Disturber) -> Callable[..., Any]:
    """Return an `io.open` whose files count each write, half of which may be done."""

    class HalfWritten(io.FileIO):
        def write(self, content: Any) -> int:
            half = bytes(content)[: len(content) // 2]
            disturber.meet("write", self.fileno(), lambda: super(HalfWritten, self).write(half))
            return super().write(content) or 0

    def open_file(path: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *rest: Any) -> Any:
        if "w" not in mode:
            return plain_open(path, mode, buffering, encoding, *rest)
        file = io.BufferedWriter(HalfWritten(path, "w"))
        return file if "b" in mode else io.TextIOWrapper(file, encoding=encoding)

    return open_file


@pytest.mark.parametrize("fault", list_faults())
def test_readers_see_the_old_or_the_new_table_and_a_rerun_completes_it(fault: Fault, tmp_path: Path) -> None:
    old = _BATCHES[1]
    new = (old[0] + _BATCHES[2][0], old[1] + _BATCHES[2][1])
    root = _make_store(tmp_path)
    attempt = _attempt(root, fault)
    if fault.kind == _KILL:
        assert attempt.code == -signal.SIGKILL, attempt.code
    else:
        assert attempt.code in (_PUBLISHED, _REFUSED), f"ended in {attempt.code}"
        assert len(attempt.operations) > fault.at, "the operation never came"
    rows = _read_rows(root)
    assert rows in (old, new), f"a reader sees {rows}"
    assert attempt.code != _PUBLISHED or rows == new, "said to be published, and is not"
    _publish(root, 2)
    assert _read_rows(root) == new
    assert _digest_tree(tmp_path) == _undisturbed()[1]
