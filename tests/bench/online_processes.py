"""Servers and helpers of the online benchmark: processes that are started, asked, and ended by their pids."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from .corpus import ROOT
from .processes import list_tree

T = TypeVar("T")

_READY_SECONDS = 180.0
_END_SECONDS = 10.0
_CALM_SHARE = 0.05
"""Of all cores, used by others: less than this is the machine's own housekeeping."""
_CALM_SECONDS = 2.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Contender:
    """How a server is started and asked.

    `make_command` takes the port; `make_body` makes a request's JSON of one text; `ready_path` answers 200
    when the model is loaded.
    """

    name: str
    make_command: Callable[[int], Sequence[str]]
    path: str
    make_body: Callable[[str], Any]
    ready_path: str


class Server:
    """A contender that lives while the block does; what it prints goes to `<logs>/<name>.log`.

    It runs only within `awake` once it is ready: between its turns its processes are stopped, since one that
    polls takes cores from whoever is measured (LitServe's two workers: a quarter of one).
    """

    def __init__(self, contender: Contender, logs: Path) -> None:
        self.contender = contender
        self.port = _find_port()
        self._log = logs / f"{contender.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(self.contender.make_command(self.port)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_make_environment(),
                cwd=ROOT,
            )
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run meanwhile."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        for member in list_tree(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(member.pid, number)

    def _wait(self) -> None:
        assert self._process is not None
        url = f"http://127.0.0.1:{self.port}{self.contender.ready_path}"
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.25)
        raise RuntimeError(f"{self.contender.name} did not become ready; see {self._log}")

    def _end(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGCONT)
            end_tree(self._process)


class Helper:
    """A module of this package in a process of its own, which answers a line of JSON with another."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"tests.bench.{module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_make_environment(),
                cwd=ROOT,
            )
        self._log = log

    def __enter__(self) -> "Helper":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_tree(self._process)

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer. Raises RuntimeError if the process is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a helper died; see {self._log}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def end_tree(process: "subprocess.Popen[bytes]") -> None:
    """Ask the process to end, and kill it and what it has started if that takes too long."""
    tree = list_tree(process.pid)
    with suppress(OSError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    # A worker outlives a parent that was killed, and would take cores from the next one.
    for member in {*tree, *list_tree(process.pid)}:
        if member.is_alive():
            with suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
    process.wait()


class Bystanders:
    """Watches what others do to the machine while something is measured.

    `shares` has what they used of all cores, a value for each measurement that counts. One that they
    disturbed is repeated when they are done, until `patience_seconds` have gone into that.
    """

    def __init__(self, patience_seconds: float) -> None:
        self.shares: list[float] = []
        self._patience_seconds = patience_seconds

    def watch(self, measure: Callable[[], T]) -> T:
        """What `measure` gives, at a calm moment if there is one."""
        while True:
            start = time.monotonic()
            before = _read_others()
            found = measure()
            share = _share_cores(before, time.monotonic() - start)
            if share <= _CALM_SHARE or self._patience_seconds <= 0:
                self.shares.append(share)
                return found
            self._await_calm()
            self._patience_seconds -= time.monotonic() - start

    def _await_calm(self) -> None:
        deadline = time.monotonic() + self._patience_seconds
        while time.monotonic() < deadline:
            before = _read_others()
            time.sleep(_CALM_SECONDS)
            if _share_cores(before, _CALM_SECONDS) <= _CALM_SHARE:
                return


def _share_cores(before: float, seconds: float) -> float:
    return max(0.0, (_read_others() - before) / (seconds * (os.cpu_count() or 1)))


def _read_others() -> float:
    """Seconds of the cores that neither this process nor what it has started has used."""
    return _read_busy() - sum(_read_seconds(process.pid) for process in list_tree(os.getpid()))


def _read_busy() -> float:
    """Seconds that the cores were not idle since the start of the machine, time stolen by its host too."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = (int(value) for value in fields[:8])
    return (user + nice + system + irq + softirq + steal) / _CLOCK_TICKS


def _read_seconds(pid: int) -> float:
    """Of a process, and of what it has started and has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    return sum(int(value) for value in stat.rpartition(")")[2].split()[11:15]) / _CLOCK_TICKS


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _make_environment() -> dict[str, str]:
    """Nobody is called, and the modules of this folder are found."""
    return {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        # `mlflow models serve` starts uvicorn by its name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
