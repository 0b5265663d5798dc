"""A publish into a Delta store in which each request to the S3 server, or a system call, goes wrong.

Like test_publisher.py, for stores whose reads and writes are in libraries: a proxy disturbs the requests, and
strace kills at system calls of any thread. Kills at moments spread over a publish are next to them.
"""

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Timer

import pytest

from .places import DELTA, S3, MakePlace, Place
from .proxy import KILL_AFTER, KILL_BEFORE, KINDS, LOST, Disturbance, start_proxy
from .publishing import BATCHES, PUBLISHED, REFUSED, publish, publish_in_child

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("F1", "a publish whose file operations and requests fail, one after another"),
]

# Requests of an undisturbed publish of the second batch: one is the commit.
REQUESTS, _COMMIT = 65, 60
# Requests of a publish of the first batch that make the table: one writes the log's first entry.
_MAKING, _FIRST_ENTRY = range(21, 29), 24
# System calls of an undisturbed publish that some thread makes at least so often. The log is written by a
# link from a file that is then unlinked; the lock is given back by an unlink, too.
_CALLS = {"mkdir": 3, "openat": 24, "flock": 1, "fsync": 11, "linkat": 1, "unlink": 1, "rmdir": 1}
_MOMENTS = 40
_STRACE = shutil.which("strace")
_QUICK_FAULTS = {(LOST, _COMMIT), (KILL_BEFORE, _COMMIT), (KILL_AFTER, _COMMIT), (LOST, _COMMIT - 6)}
_QUICK_MOMENTS = (20, 35)


@pytest.fixture
def sequence() -> int:
    """Return the number of the batch that is published; tests of the first one are parametrised by it."""
    return 2


@pytest.fixture
def place(kind: str, sequence: int, make_place: MakePlace, tmp_path: Path) -> Place:
    """Make a store of the batches before the one that is published."""
    made = make_place(kind, tmp_path)
    for number in range(1, sequence):
        publish(made.output, made.options, number)
    return made


def _read_rows(place: Place) -> tuple[int, int]:
    """Count scored and rejected rows, on which a reader of the table and the manifests have to agree."""
    assert place.find_damage() == []
    if not place.has_scores():
        assert (place.count_batches(), len(place.read_rejects())) == (0, 0)
        return 0, 0
    scored, rejected = place.read_scores(), place.read_rejects()
    assert scored["review_id"].is_unique
    assert rejected["review_id"].is_unique
    sequences = Counter(scored["sequence"])
    assert all(sequences[number] == BATCHES[number][0] for number in sequences), sequences
    assert len(sequences) == place.count_batches()
    return len(scored), len(rejected)


def _sum_rows(last: int) -> tuple[int, int]:
    """Return the scored and the rejected rows of all batches up to the last."""
    batches = [rows for sequence, rows in BATCHES.items() if sequence <= last]
    return sum(scored for scored, _ in batches), sum(rejected for _, rejected in batches)


def _check_and_complete(place: Place, sequence: int, code: int) -> None:
    """Check what a disturbed publish has left, and publish again."""
    old, new = _sum_rows(sequence - 1), _sum_rows(sequence)
    rows = _read_rows(place)
    assert rows in (old, new), f"a reader sees {rows}"
    assert code != PUBLISHED or rows == new, "said to be published, and is not"
    publish(place.output, place.options, sequence)
    assert _read_rows(place) == new
    left = place.list_left()
    assert not left, f"left behind: {left}"
    assert len(place.read_scores()) == new[0]


@pytest.mark.parametrize("kind", [S3])
@pytest.mark.parametrize(
    ("sequence", "disturbed", "at"),
    [
        pytest.param(
            *(sequence, disturbed, at),
            id=f"batch {sequence}, {disturbed} at request {at}",
            marks=[pytest.mark.quick] * (sequence == 2 and (disturbed, at) in _QUICK_FAULTS),
        )
        for sequence, requests in ((1, _MAKING), (2, range(REQUESTS)))
        for at in requests
        for disturbed in KINDS
    ],
)
def test_after_a_disturbed_request_the_table_is_old_or_new_and_a_rerun_completes_it(
    sequence: int, disturbed: str, at: int, place: Place
) -> None:
    code, requests = _publish_through_proxy(place, sequence, Disturbance(disturbed, at))
    assert len(requests) > at, "the request never came"
    if disturbed in (KILL_BEFORE, KILL_AFTER):
        assert code == -signal.SIGKILL, f"ended in {code}"
    else:
        assert code in (PUBLISHED, REFUSED), f"ended in {code}"
    _check_and_complete(place, sequence, code)


@pytest.mark.parametrize("kind", [S3])
@pytest.mark.parametrize(("sequence", "version", "entry"), [(1, 0, _FIRST_ENTRY), (2, 2, _COMMIT)])
def test_the_requests_of_a_publish_are_all_disturbed(
    sequence: int, version: int, entry: int, place: Place
) -> None:
    code, requests = _publish_through_proxy(place, sequence, None)
    assert code == PUBLISHED
    assert sequence == 1 or len(requests) == REQUESTS
    written = re.compile(rf"PUT .*/_delta_log/{version:020}\.json")
    assert [number for number, request in enumerate(requests) if written.match(request)] == [entry]


def _publish_through_proxy(
    place: Place, sequence: int, disturbance: Disturbance | None
) -> tuple[int, list[str]]:
    assert place.options is not None
    with start_proxy(place.options["AWS_ENDPOINT_URL"], disturbance) as proxy:

        def watch(child: BaseProcess) -> None:
            proxy.kill = child.kill

        options = {**place.options, "AWS_ENDPOINT_URL": proxy.url}
        return publish_in_child(place.output, options, sequence, watch), proxy.requests


@pytest.mark.skipif(_STRACE is None, reason="NOT RUN: no strace, which kills at a system call")
@pytest.mark.parametrize("kind", [DELTA])
@pytest.mark.parametrize(
    ("call", "number"),
    [
        pytest.param(call, number, id=f"SIGKILL before {call} {number}")
        for call, n in _CALLS.items()
        for number in range(1, n + 1)
    ],
)
def test_after_a_kill_at_a_system_call_a_rerun_completes_the_table(
    call: str, number: int, sequence: int, place: Place
) -> None:
    """Kill when a thread makes the call for this time; threads are counted one by one."""
    tracers: list[subprocess.Popen[str]] = []

    def watch(child: BaseProcess) -> None:
        inject = f"inject={call}:signal=SIGKILL:when={number}"
        command = [
            str(_STRACE),
            "-f",
            "-o",
            "/dev/null",
            "-p",
            str(child.pid),
            "-e",
            f"trace={call}",
            "-e",
            inject,
        ]
        tracers.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        assert tracers[0].stderr is not None
        said = tracers[0].stderr.readline()
        assert "attached" in said, said

    code = publish_in_child(place.output, place.options, sequence, watch)
    tracers[0].communicate()
    assert code == -signal.SIGKILL, f"the call never came; ended in {code}"
    _check_and_complete(place, sequence, code)


@pytest.fixture(scope="module")
def publish_seconds(make_place: MakePlace, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Return how long an undisturbed publish takes in a child that has started."""
    took = []
    for _ in range(3):  # the first starts the server of children
        place = make_place(DELTA, tmp_path_factory.mktemp("undisturbed"))
        publish(place.output, place.options, 1)
        began: list[float] = []
        code = publish_in_child(place.output, None, 2, lambda _, began=began: began.append(time.monotonic()))
        assert code == PUBLISHED
        took.append(time.monotonic() - began[0])
    return min(took)


@pytest.mark.parametrize("kind", [DELTA])
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=[pytest.mark.quick] * (moment in _QUICK_MOMENTS))
        for moment in range(_MOMENTS)
    ],
    ids=f"SIGKILL at moment {{}} of {_MOMENTS}".format,
)
def test_after_a_kill_at_a_moment_a_rerun_completes_the_table(
    moment: int, publish_seconds: float, sequence: int, place: Place
) -> None:
    """Spread the kills over the time of a publish; one that comes too late has killed nothing."""
    timers: list[Timer] = []

    def watch(child: BaseProcess) -> None:
        timers.append(Timer((moment + 0.5) / _MOMENTS * publish_seconds, child.kill))
        timers[0].start()

    code = publish_in_child(place.output, place.options, sequence, watch)
    timers[0].cancel()
    assert code in (PUBLISHED, -signal.SIGKILL), f"ended in {code}"
    _check_and_complete(place, sequence, code)
