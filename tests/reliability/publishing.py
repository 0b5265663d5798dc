"""Publish a batch in a child process, which can be killed without harm to the tests.

The children are forked from a server that has imported everything and opened nothing: the threads of S3
clients do not survive a fork.
"""

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

import deltalake  # noqa: F401 children start with it
import obstore.store  # noqa: F401

from sentiment.errors import SentimentError
from sentiment.tables.store import delta  # noqa: F401
from sentiment.tables.store.manifests import BatchId
from sentiment.tables.store.opening import open_store
from tests.factories import make_manifest, stage_rows

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from sentiment.tables.store.files import WrittenFile

# Scored and rejected rows of the first and the second batch.
BATCHES = {1: (40, 4), 2: (90, 9)}
_PARTS = 2
# Exit codes of the child; the last is for an error that is not one of the library's.
PUBLISHED, REFUSED, BROKEN = 0, 10, 11
_CHILD_SECONDS = 300

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.reliability.publishing", "pytest.__main__"])


def publish(output: str, options: Mapping[str, str] | None, sequence: int) -> None:
    """Stage and publish a batch as a run does, unless it is there already."""
    scored, rejected = BATCHES[sequence]
    manifest = make_manifest(sequence, scored, rejected)
    with open_store(output, options) as store:
        if any(batch.manifest.sequence == sequence for batch in store.list_batches()):
            return
        staging = store.stage()
        files: list[WrittenFile] = []
        for part in range(_PARTS):
            ids = [f"r{1000 * sequence + number}" for number in range(scored)][part::_PARTS]
            rejects = [f"x{1000 * sequence + number}" for number in range(rejected)][part::_PARTS]
            files += stage_rows(staging, sequence, ids, rejects)
        store.publish(staging, BatchId("3", "2026-01-31", f"{sequence:012d}"), manifest, files)


def publish_in_child(
    output: str, options: Mapping[str, str] | None, sequence: int, watch: Callable[[BaseProcess], None]
) -> int:
    """Publish a batch in a child; return its exit code, negative if a signal ended it.

    `watch` is called with the child before it begins.
    """
    # Not an Event: `set` would wait for ever for a child that was killed while it waited.
    waiting, begin = _context.Pipe(duplex=False)
    child = _context.Process(target=_run_child, args=(output, options, sequence, waiting), daemon=True)
    child.start()
    waiting.close()
    try:
        watch(child)
        with contextlib.suppress(BrokenPipeError):
            begin.send(None)
        child.join(_CHILD_SECONDS)
    finally:
        child.kill()
        child.join()
        begin.close()
    assert child.exitcode is not None
    return child.exitcode


def _run_child(output: str, options: Mapping[str, str] | None, sequence: int, waiting: "Connection") -> None:
    """Publish and exit, never return."""
    code = BROKEN
    try:
        signal.alarm(_CHILD_SECONDS)
        waiting.recv()
        try:
            publish(output, options, sequence)
            code = PUBLISHED
        except SentimentError as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            code = REFUSED
    except BaseException:  # noqa: BLE001 the exit code passes it to the parent
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)
