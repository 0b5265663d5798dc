"""Start a service as a separate process, like an operator; no other module of the tests does it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.factories import ROOT

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
HOST = "127.0.0.1"


class StartError(Exception):
    """The service ended before it was ready: its exit code and its output."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"ended in {code}: {said[-2000:]}")
        self.code = code
        self.said = said


@dataclass(frozen=True)
class Server:
    """A process that serves, stopped by `stop` or by the end of a `with`; `log` has its stdout and stderr."""

    process: "subprocess.Popen[bytes]"
    log: Path
    port: int
    token: str | None

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, path: str, body: Any = None, timeout: float = 20, **headers: str) -> tuple[int, Any]:
        """Return the status and the parsed JSON of an answer, to a POST of JSON if there is a body."""
        data = None if body is None else json.dumps(body).encode()
        json_type = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, {**self.headers, **json_type, **headers})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def list_events(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of this event."""
        found = []
        # Other lines are not parsed: tests ask often, and the log grows by a line per request.
        for line in filter(lambda line: event in line, self.read_log().splitlines()):
            with contextlib.suppress(ValueError):
                fields = json.loads(line)
                if isinstance(fields, dict) and fields.get("event") == event:
                    found.append(fields)
        return found

    def wait_for_event(self, event: str, seconds: float, **fields: Any) -> dict[str, Any]:
        """Return the first line of the event with these fields; AssertionError if it does not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.list_events(event):
                if fields.items() <= line.items():
                    return line
            assert self.is_alive, f"the service ended: {self.read_log()[-2000:]}"
            time.sleep(0.1)
        raise AssertionError(f"no {event} with {fields} in {seconds} s: {self.read_log()[-2000:]}")

    def read_memory_bytes(self) -> int:
        """Return the resident memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the service has ended")

    def stop(self) -> int:
        """Send SIGTERM, kill the process if it does not end, and return its exit code."""
        if self.is_alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def start_server(tracking_uri: str, folder: Path, token: str | None = None, **options: Any) -> Server:
    """Start `score.py --serve` with options of ServeConfig and wait until it is ready. Raises StartError."""
    folder.mkdir(parents=True, exist_ok=True)
    if token is not None:
        tokens = folder / "tokens"
        tokens.touch(mode=0o600)
        tokens.write_text(f"abuse:{token}\n")
        options["tokens_file"] = tokens
    arguments: list[str] = []
    for name, value in options.items():
        arguments += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "score.py", "--serve", "--port", "0", *arguments],
            cwd=ROOT,
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, log, 0, token)
    try:
        return Server(process, log, _wait_until_ready(server), token)
    except BaseException:
        server.stop()
        raise


def _wait_until_ready(server: Server) -> int:
    """Wait for the log to say that the service is ready; return its port."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ready = server.list_events("ready")
        if ready:
            return int(ready[0]["port"])
        if not server.is_alive:
            raise StartError(server.process.returncode, server.read_log())
        time.sleep(0.05)
    raise AssertionError(f"not ready in {_START_SECONDS} s: {server.read_log()[-2000:]}")
