"""Read the memory of processes, and end them."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

# Five samples per second would take 5 to 6 % of two cores. Peaks between samples are not lost: the kernel
# records the peak of resident memory.
_INTERVAL_SECONDS = 1.0


def list_tree(root: int) -> list[psutil.Process]:
    """Return the process `root` and its descendants, parents first; empty if it does not exist."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    return []


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill the processes that still run, but not another process that has got the same number since."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def sample_memory(root: int) -> Iterator[dict[str, float]]:
    """Sample the memory of `root` and its descendants while the block runs, and yield the peaks in MB.

    `driver` is the resident memory of all processes except the workers and their parent (for Spark, the
    Python and the JVM of the driver). `worker` and `worker_pss` are the resident and the proportional memory
    of the largest worker.
    """
    peaks: dict[str, float] = {}
    stop = threading.Event()

    def run() -> None:
        is_over = False
        while not is_over:
            is_over = stop.wait(_INTERVAL_SECONDS)
            for name, value in _sample(root).items():
                peaks[name] = max(value, peaks.get(name, 0.0))

    thread = threading.Thread(target=run, name="memory-sampler", daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def _sample(root: int) -> dict[str, float]:
    parents: dict[int, int] = {}
    daemons: set[int] = set()  # Spark's Python workers, and their parent, from which they are forked
    for process in list_tree(root):
        with suppress(psutil.Error):
            parents[process.pid] = process.ppid()
            if any(argument.endswith(".daemon") for argument in process.cmdline()):
                daemons.add(process.pid)
    workers = [pid for pid in daemons if parents[pid] in daemons]
    drivers = parents.keys() - daemons
    return {
        "driver_peak_mb": sum(_read_mb(pid, "status", "VmHWM:") for pid in drivers),
        "worker_peak_mb": max((_read_mb(pid, "status", "VmHWM:") for pid in workers), default=0.0),
        "worker_peak_pss_mb": max((_read_mb(pid, "smaps_rollup", "Pss:") for pid in workers), default=0.0),
    }


def _read_mb(pid: int, file: str, key: str) -> float:
    with suppress(OSError):  # the process has ended
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    return 0.0
