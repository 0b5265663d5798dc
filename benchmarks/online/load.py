"""Send requests from clients that each wait for an answer before the next request, over kept connections.

Only the standard library is used, because the clients run on the measured cores.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# The answers of all contenders contain this.
_LABEL = b'"label"'
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Course:
    """Hold requests in order; all but the first `n_warm` are measured.

    Until the last measured request is answered, idle clients send the first requests again, without measuring
    them, so that the load stays the same.
    """

    port: int
    path: str
    bodies: list[str]
    n_clients: int
    n_warm: int


@dataclass
class Outcome:
    """Hold the result of a course.

    `seconds` is the time from the start of the first measured request to the start of the last one. Each
    start follows an answer, so this is the time for the same number of answers, with all clients busy.
    `latencies_ms` are those of measured requests without error; `errors` counts the others.
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
    """Hold the state that the clients of a course share: the next request, and the results so far."""

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
        if not self._n_missing and not self._outcome.seconds:  # no client was left to start another request
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
    """Return status, body, and True if the connection is kept.

    Raises EOFError if the server closes the connection early, ValueError if the answer is not valid HTTP.
    """
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" not in headers:
        return int(status.split()[1]), b"", False
    body = await reader.readexactly(int(headers["content-length"]))
    return int(status.split()[1]), body, headers.get("connection") != "close"
