"""Closed-loop clients over kept connections, in a process of their own: `python -m tests.bench.online_load`.

It reads a course (a JSON object, `Course`) a line from stdin and answers each with a line on stdout
(`Outcome`). The standard library alone, since it runs on the cores that are measured.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

_LIMIT_SECONDS = 600.0
_MAX_RETRY_SECONDS = 1.0
_LABEL = b'"label"'
"""What every contender's answer has in it."""


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
    """What a course showed.

    `seconds` is from the first measured request's start to the moment when all had been started. In a closed
    loop each start is an answer, so it is the time of as many answers, with all clients at work throughout.
    `latencies_ms` are of the measured ones that were answered well. `errors` counts those that were not,
    `refused` each 429; a refused request is sent again after the time that the answer names, a second at
    most, and its latency counts from then.
    """

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0
    refused: int = 0
    example: str = ""


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_seconds: float
    is_kept: bool


def main() -> None:
    for line in sys.stdin:
        outcome = asyncio.run(asyncio.wait_for(run_course(Course(**json.loads(line))), _LIMIT_SECONDS))
        print(json.dumps(asdict(outcome)), flush=True)


async def run_course(course: Course) -> Outcome:
    """Send all requests of the course by its clients."""
    runner = _Runner(course)
    await asyncio.gather(*(runner.run_client() for _ in range(course.n_clients)))
    return runner.outcome


class _Runner:
    """What the clients of one course share: which request is next, and what came of those before."""

    def __init__(self, course: Course) -> None:
        self.outcome = Outcome()
        self._course = course
        self._requests = [_write_request(course, body) for body in course.bodies]
        self._n_started = 0
        self._n_missing = len(course.bodies) - course.n_warm
        self._first_start = 0.0

    async def run_client(self) -> None:
        connection = _Connection(self._course.port)
        while self._n_missing:
            number = self._start()
            start = time.perf_counter()
            try:
                answer = await connection.ask(self._requests[number % len(self._requests)])
                while answer.status == 429:
                    self.outcome.refused += 1
                    await asyncio.sleep(min(answer.retry_seconds, _MAX_RETRY_SECONDS))
                    start = time.perf_counter()
                    answer = await connection.ask(self._requests[number % len(self._requests)])
            except (OSError, EOFError, ValueError):
                connection.close()
                answer = _Answer(0, b"", 0.0, False)
            self._note(number, answer, time.perf_counter() - start)
        connection.close()

    def _start(self) -> int:
        number = self._n_started
        self._n_started += 1
        if number == self._course.n_warm:
            self._first_start = time.perf_counter()
        elif number == len(self._requests):
            self.outcome.seconds = time.perf_counter() - self._first_start
        return number

    def _note(self, number: int, answer: _Answer, seconds: float) -> None:
        if not self._course.n_warm <= number < len(self._requests):
            return
        self._n_missing -= 1
        if not self._n_missing and not self.outcome.seconds:  # nobody was left to start another one
            self.outcome.seconds = time.perf_counter() - self._first_start
        if answer.status == 200 and _LABEL in answer.body:
            self.outcome.latencies_ms.append(seconds * 1000)
            return
        self.outcome.errors += 1
        self.outcome.example = f"{answer.status} {answer.body[:300]!r}"


class _Connection:
    """HTTP/1.1 to one port of this machine; opened when needed, kept while the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> _Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        answer = await _read_answer(reader)
        if not answer.is_kept:
            self.close()
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _write_request(course: Course, body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST {course.path} HTTP/1.1\r\nHost: 127.0.0.1:{course.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _read_answer(reader: asyncio.StreamReader) -> _Answer:
    """Raises EOFError if the server hangs up before the end, ValueError for what is no such answer."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = _read_headers(lines)
    body = await reader.readexactly(int(headers["content-length"])) if "content-length" in headers else b""
    return _Answer(
        int(status.split()[1]),
        body,
        float(headers.get("retry-after", "0")),
        "content-length" in headers and headers.get("connection", "").lower() != "close",
    )


def _read_headers(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


if __name__ == "__main__":
    main()
