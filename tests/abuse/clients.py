"""Callers in a process of their own: each asks, waits for its answer, asks again. A line of JSON an answer.

`python -m tests.abuse.clients` reads what it is to do as JSON from stdin, and stops when stdin ends.
"""

import asyncio
import contextlib
import itertools
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from tests.factories import ROOT
from tests.servers import Server

# The status of a request that no answer came to.
BROKEN = 0
_TIMEOUT_SECONDS = 60.0
# By default a refused caller asks again after this pause, ten times sooner than Retry-After says.
_REFUSED_SECONDS = 0.1


@dataclass(frozen=True)
class Work:
    """`n_clients` callers ask for one text each, for `seconds`, and pause between an answer and a request.

    After a refusal they pause for `refused_seconds` at least.
    """

    url: str
    headers: dict[str, str]
    texts: tuple[str, ...]
    n_clients: int
    seconds: float
    pause_seconds: float = 0.0
    refused_seconds: float = _REFUSED_SECONDS


@dataclass(frozen=True)
class Answer:
    """`started` is on the machine's monotonic clock."""

    status: int
    started: float
    seconds: float


@dataclass(frozen=True)
class Answers:
    """Of one run, in the order in which they came."""

    all: tuple[Answer, ...]

    def between(self, first: float, last: float = math.inf) -> "Answers":
        """Return the answers to requests that began between two moments."""
        return Answers(tuple(answer for answer in self.all if first <= answer.started < last))

    @property
    def statuses(self) -> set[int]:
        return {answer.status for answer in self.all}

    @property
    def accepted(self) -> "Answers":
        return Answers(tuple(answer for answer in self.all if answer.status == 200))

    def percentile(self, share: float) -> float:
        """Return the seconds that this share of the answers took at most."""
        seconds = sorted(answer.seconds for answer in self.all)
        assert seconds, "no answer at all"
        return seconds[max(0, math.ceil(share * len(seconds)) - 1)]


def ask(
    server: Server,
    texts: Sequence[str],
    n_clients: int,
    seconds: float,
    refused_seconds: float = _REFUSED_SECONDS,
) -> Answers:
    """Let callers ask for so long; return their answers."""
    with asking(server, texts, n_clients, seconds, refused_seconds=refused_seconds) as run:
        run.process.wait()
    return run.read()


@dataclass(frozen=True)
class Run:
    process: "subprocess.Popen[bytes]"
    output: Path

    def read(self) -> Answers:
        """Return the answers so far."""
        lines = self.output.read_text().splitlines(keepends=True)
        return Answers(tuple(Answer(**json.loads(line)) for line in lines if line.endswith("\n")))

    def wait_for_answers(self, n: int = 5) -> None:
        """Wait for so many answers to requests that begin from now on."""
        began = time.monotonic()
        while len(self.read().between(began).all) < n:
            assert time.monotonic() < began + _TIMEOUT_SECONDS, "no answers come"
            time.sleep(0.05)


@contextlib.contextmanager
def asking(
    server: Server,
    texts: Sequence[str],
    n_clients: int = 1,
    seconds: float = 600.0,
    pause_seconds: float = 0.0,
    refused_seconds: float = _REFUSED_SECONDS,
) -> Iterator[Run]:
    """Callers that ask until the block ends, or for so long."""
    output = server.log.with_name(f"answers-{time.monotonic_ns()}")
    work = Work(server.url, server.headers, tuple(texts), n_clients, seconds, pause_seconds, refused_seconds)
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.abuse.clients"], cwd=ROOT, stdin=subprocess.PIPE, stdout=file
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(work)).encode() + b"\n")
    process.stdin.flush()
    try:
        yield Run(process, output)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_TIMEOUT_SECONDS + 10)
        except subprocess.TimeoutExpired:
            process.kill()


async def _ask_all(work: Work) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_await_end, args=(loop, stop), daemon=True).start()
    loop.call_later(work.seconds, stop.set)
    limits = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    texts = itertools.cycle(work.texts)
    async with aiohttp.ClientSession(connector=limits, timeout=timeout, headers=work.headers) as session:
        await asyncio.gather(*(_ask_on(session, work, texts, stop) for _ in range(work.n_clients)))


async def _ask_on(
    session: aiohttp.ClientSession, work: Work, texts: Iterator[str], stop: asyncio.Event
) -> None:
    while not stop.is_set():
        started = time.monotonic()
        try:
            async with session.post(f"{work.url}/v1/sentiment", json={"texts": [next(texts)]}) as answer:
                await answer.read()
                status = answer.status
        except (TimeoutError, aiohttp.ClientError):
            status = BROKEN
        print(json.dumps(asdict(Answer(status, started, time.monotonic() - started))), flush=True)
        await asyncio.sleep(
            work.pause_seconds if status == 200 else max(work.pause_seconds, work.refused_seconds)
        )


def _await_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    sys.stdin.read()
    with contextlib.suppress(RuntimeError):  # the loop has ended before
        loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    asyncio.run(_ask_all(Work(**json.loads(sys.stdin.readline()))))
