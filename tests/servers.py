"""A service in a process of its own, as an operator starts it, and what it says."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
HOST = "127.0.0.1"


class StartError(Exception):
    """The service ended before it was ready: its exit code, and what it said."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"ended in {code}: {said[-2000:]}")
        self.code = code
        self.said = said


@dataclass(frozen=True)
class Server:
    """A process that serves; `log` is what it writes to stdout and stderr."""

    process: "subprocess.Popen[bytes]"
    log: Path
    port: int
    token: str | None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def list_events(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log of this event."""
        return [line for line in _parse(self.read_log()) if line.get("event") == event]

    def wait_for_event(self, event: str, seconds: float, **fields: Any) -> dict[str, Any]:
        """The first line of the event with these fields; AssertionError if it does not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.list_events(event):
                if fields.items() <= line.items():
                    return line
            assert self.is_alive, f"the service ended: {self.read_log()[-2000:]}"
            time.sleep(0.1)
        raise AssertionError(f"no {event} with {fields} in {seconds} s: {self.read_log()[-2000:]}")

    def read_memory_bytes(self) -> int:
        """Resident memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the service has ended")

    def stop(self) -> int:
        """Tell it to stop and wait until it has, kill it if it has not; its exit code."""
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
            env=make_environment(tracking_uri),
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


def make_environment(tracking_uri: str) -> Mapping[str, str]:
    return {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}


def _wait_until_ready(server: Server) -> int:
    """The port, once it is asked by name."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ready = server.list_events("ready")
        if ready:
            return int(ready[0]["port"])
        if not server.is_alive:
            raise StartError(server.process.returncode, server.read_log())
        time.sleep(0.05)
    raise AssertionError(f"not ready in {_START_SECONDS} s: {server.read_log()[-2000:]}")


def _parse(log: str) -> list[dict[str, Any]]:
    lines = []
    for line in log.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            lines.append(found)
    return lines
