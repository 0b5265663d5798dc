"""Processes and their memory, as /proc of Linux shows them."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_PROC = Path("/proc")
_KB_PER_MB = 1024
_INTERVAL_SECONDS = 1.0
"""Five samples a second cost contenders 5 to 6 % of two cores. Of resident memory the kernel keeps peaks."""


@dataclass(frozen=True)
class Process:
    """One process as it was when it was listed. `started` tells it from a later one of the same pid."""

    pid: int
    parent: int
    started: int
    arguments: tuple[str, ...]

    @property
    def is_daemon(self) -> bool:
        """Whether this is, or was forked from, a parent of Spark's Python workers."""
        return any(argument.endswith(".daemon") for argument in self.arguments)

    @property
    def is_jvm(self) -> bool:
        return bool(self.arguments) and Path(self.arguments[0]).name == "java"

    def is_alive(self) -> bool:
        current = _read_process(self.pid)
        return current is not None and current.started == self.started

    def read_peak_resident_mb(self) -> float:
        """The most resident memory (RSS) so far, shared pages counted in full; 0 once the process is gone."""
        return _read_field(self.pid, "status", "VmHWM:")

    def read_proportional_mb(self) -> float:
        """Resident memory with shared pages divided among those that share them (PSS)."""
        return _read_field(self.pid, "smaps_rollup", "Pss:")


def list_tree(root: int) -> list[Process]:
    """The process `root` and all that descend from it, parents first; empty if there is none."""
    children: dict[int, list[Process]] = {}
    tree = []
    for entry in os.listdir(_PROC):
        process = _read_process(int(entry)) if entry.isdigit() else None
        if process is None:
            continue
        children.setdefault(process.parent, []).append(process)
        if process.pid == root:
            tree.append(process)
    for process in tree:  # grows while it is walked
        tree.extend(children.get(process.pid, ()))
    return tree


def find_workers(tree: list[Process]) -> list[Process]:
    """Spark's Python workers: forked from a daemon that is itself in the tree."""
    daemons = {process.pid for process in tree if process.is_daemon}
    return [process for process in tree if process.is_daemon and process.parent in daemons]


@dataclass(frozen=True)
class MemoryPeaks:
    """Highest values seen, in MB; each on its own, not all at one moment.

    `driver_mb` is every process that is neither a worker nor the workers' parent (for a Spark driver: its
    Python and its JVM), `jvm_mb` the JVM alone, both resident. Of workers: the largest one's resident and
    proportional memory, and the proportional memory of all together, which counts a shared page once.
    """

    driver_mb: float
    jvm_mb: float
    worker_mb: float
    worker_pss_mb: float
    workers_pss_mb: float
    workers: float


class MemorySampler:
    """Samples the tree of `root` in a thread while the block runs; `peaks` after it.

    Without Spark the workers are 0 and all memory is the driver's.
    """

    def __init__(self, root: int, interval_seconds: float = _INTERVAL_SECONDS) -> None:
        self._root = root
        self._interval = interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-sampler", daemon=True)
        self._samples: list[tuple[float, ...]] = [(0.0,) * 6]

    @property
    def peaks(self) -> MemoryPeaks:
        return MemoryPeaks(*(max(values) for values in zip(*self._samples, strict=True)))

    def __enter__(self) -> "MemorySampler":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stop.wait(self._interval)
            self._samples.append(_sample(self._root))


def _sample(root: int) -> tuple[float, ...]:
    tree = list_tree(root)
    workers = find_workers(tree)
    proportional = [worker.read_proportional_mb() for worker in workers]
    drivers = [process for process in tree if not process.is_daemon]
    return (
        sum(process.read_peak_resident_mb() for process in drivers),
        sum(process.read_peak_resident_mb() for process in drivers if process.is_jvm),
        max((worker.read_peak_resident_mb() for worker in workers), default=0.0),
        max(proportional, default=0.0),
        sum(proportional),
        float(len(workers)),
    )


def _read_process(pid: int) -> Process | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        line = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    # The second field is a name in parentheses that may itself hold blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":  # a zombie has ended, it only waits to be collected
        return None
    arguments = tuple(part.decode(errors="replace") for part in line.split(b"\0") if part)
    return Process(pid, int(fields[1]), int(fields[19]), arguments)


def _read_field(pid: int, file: str, key: str) -> float:
    try:
        for line in (_PROC / str(pid) / file).read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / _KB_PER_MB
    except OSError:  # ended meanwhile, or not ours to read
        pass
    return 0.0
