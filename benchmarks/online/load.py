"""Send requests by closed-loop clients over kept connections.

By the standard library only, since it runs on the cores that are measured.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Every contender's answer has it.
_LABEL = b'"label"'
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Course:
    """Requests in their order: the first `n_warm` are not measured, the rest are.

    When all are under way the first ones are sent again, unmeasured, until the last measured one is
    answered: no client idles while another is measured.
    """

    port: int
    path: str
    bodies: list[str]
    n_clients: int
    n_warm: int


@dataclass
class Outcome:
    """The result of a course.

    `seconds` is from the first measured request's start to the moment when all had been started. In a closed
    loop each start is an answer, so it is the time of as many answers, with all clients at work throughout.
    `latencies_ms` are of the measured ones that were answered well. `errors` counts those that were not.
    """

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0
    example: str = ""


@contextmanager
def open_load() -> Iterator[Callable[[Course], Outcome]]:
    """Yield a function that runs a course and returns its outcome."""
    yield lambda course: asyncio.run(_Runner(course).run())


class _Runner:
    """The state that the clients of a course share: which request is next, and what came of those before."""

    def __init__(self, course: Course) -> None:
        self._outcome = Outcome()
        self._course = course
        self._requests = [_write_request(course, body) for body in course.bodies]
        self._n_started = 0
        self._n_missing = len(course.bodies) - course.n_warm
        self._first_start = 0.0

    async def run(self) -> Outcome:
        await asyncio.gather(*(self._run_client() for _ in range(self._course.n_clients)))
        return self._outcome

    async def _run_client(self) -> None:
        streams: _Streams | None = None
        while self._n_missing:
            number = self._start()
            start = time.perf_counter()
            is_kept = False
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self._course.port)
                streams[1].write(self._requests[number % len(self._requests)])
                status, body, is_kept = await _read_answer(streams[0])
            except (OSError, EOFError, ValueError) as error:
                status, body = 0, repr(error).encode()
            self._note(number, status, body, time.perf_counter() - start)
            if streams and not is_kept:
                streams[1].close()
                streams = None
        if streams:
            streams[1].close()

    def _start(self) -> int:
        number = self._n_started
        self._n_started += 1
        if number == self._course.n_warm:
            self._first_start = time.perf_counter()
        elif number == len(self._requests):
            self._outcome.seconds = time.perf_counter() - self._first_start
        return number

    def _note(self, number: int, status: int, body: bytes, seconds: float) -> None:
        if not self._course.n_warm <= number < len(self._requests):
            return
        self._n_missing -= 1
        if not self._n_missing and not self._outcome.seconds:  # nobody was left to start another one
            self._outcome.seconds = time.perf_counter() - self._first_start
        if status == 200 and _LABEL in body:
            self._outcome.latencies_ms.append(seconds * 1000)
            return
        self._outcome.errors += 1
        self._outcome.example = f"{status} {body[:300]!r}"


def _write_request(course: Course, body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST {course.path} HTTP/1.1\r\nHost: 127.0.0.1:{course.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Return status, body, and true if the connection is kept.

    Raises EOFError if the server hangs up before the end, ValueError for what is no such answer.
    """
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" not in headers:
        return int(status.split()[1]), b"", False
    body = await reader.readexactly(int(headers["content-length"]))
    return int(status.split()[1]), body, headers.get("connection") != "close"
