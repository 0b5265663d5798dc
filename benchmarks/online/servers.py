"""Start a service, stop its processes while others are measured, and end it."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import ROOT
from ..measuring.hosting import make_environment
from ..measuring.processes import kill, list_tree
from .contenders import Contender

_READY_SECONDS = 180.0
_END_SECONDS = 10.0


class Server:
    """Run a contender while the block runs; its output goes to `<logs>/<name>.log`.

    Once ready, its processes run only within `awake`. Else a service that polls would take cores from others
    (LitServe's two workers: a quarter of a core).
    """

    def __init__(self, contender: Contender, logs: Path) -> None:
        self.contender = contender
        self.port = _find_port()
        self._log = logs / f"{contender.name}.log"

    def __enter__(self) -> "Server":
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            command = [word.format(port=self.port) for word in self.contender.command]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=make_environment(), cwd=ROOT
            )
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGCONT)
        self._end()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the processes run inside the block."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for member in list_tree(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(member.pid, number)

    def _wait(self) -> None:
        url = f"http://127.0.0.1:{self.port}{self.contender.ready_path}"
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.25)
        raise RuntimeError(f"{self.contender.name} did not become ready; see {self._log}")

    def _end(self) -> None:
        tree = list_tree(self._process.pid)
        with suppress(OSError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        # A worker whose parent was killed would take cores from the next contender.
        kill([*tree, *list_tree(self._process.pid)])
        self._process.wait()


def _find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
