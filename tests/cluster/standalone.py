"""Start a standalone Spark cluster on loopback from the pyspark package, each part as a process."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark

HOST = "127.0.0.1"
_SPARK_HOME = Path(pyspark.__file__).parent
_DEPLOY = "org.apache.spark.deploy"
_EXECUTOR = "CoarseGrainedExecutorBackend"
_START_SECONDS = 120
_STOP_SECONDS = 20


@dataclass(frozen=True)
class Cluster:
    """A running cluster: the URL for `spark-submit --master`, its workers' process ids and their folder."""

    url: str
    worker_pids: tuple[int, ...]
    work_folder: Path

    def list_executors(self) -> list[int]:
        """Process ids of the executors that run now."""
        return [
            pid for worker in self.worker_pids for pid in _list_children(worker) if _EXECUTOR in _command(pid)
        ]

    def list_executor_folders(self) -> list[Path]:
        """Working folders of all executors that ever ran here, lost ones included."""
        return sorted(path.parent for path in self.work_folder.glob("worker-*/app-*/*/stderr"))


@contextmanager
def start_cluster(folder: Path, workers: int, cores: int, memory: str) -> Iterator[Cluster]:
    """Start a master, and `workers` workers with `cores` cores and `memory` each.

    Logs and scratch files go to `folder`. In the end every process is stopped, executors included. Raises
    RuntimeError if they are not up in time.
    """
    folder.mkdir(parents=True)
    port, web_port = _find_free_ports(2)
    url = f"spark://{HOST}:{port}"
    with ExitStack() as running:
        options = ("--host", HOST, "--port", str(port), "--webui-port", str(web_port))
        running.enter_context(_run_daemon(folder / "master.log", f"{_DEPLOY}.master.Master", *options))
        # Workers try to register for long enough that none need wait for the master.
        pids = []
        for number in range(workers):
            options = ("--host", HOST, "--cores", str(cores), "--memory", memory, "--webui-port", "0")
            options += ("--work-dir", str(folder / f"worker-{number}"), url)
            log = folder / f"worker-{number}.log"
            pids.append(running.enter_context(_run_daemon(log, f"{_DEPLOY}.worker.Worker", *options)).pid)
        _wait_for_workers(f"http://{HOST}:{web_port}/json/", workers, folder)
        cluster = Cluster(url, tuple(pids), folder)
        try:
            yield cluster
        finally:
            for pid in cluster.list_executors():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)


@contextmanager
def _run_daemon(log: Path, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | {
        "SPARK_HOME": str(_SPARK_HOME),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_LOCAL_DIRS": str(log.parent / "scratch"),
        "SPARK_DAEMON_MEMORY": "512m",
        "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
    }
    with log.open("wb") as out:
        # spark-class replaces itself by Java: this process id is the daemon's.
        process = subprocess.Popen(
            [str(_SPARK_HOME / "bin" / "spark-class"), *command], env=environment, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_workers(master: str, workers: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            if _read_json(master)["aliveworkers"] == workers:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the cluster was not up after {_START_SECONDS} s; see the logs in {folder}")


def _read_json(url: str) -> Any:
    loopback = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with loopback.open(url, timeout=5) as answer:
        return json.load(answer)


def _find_free_ports(n: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for found in sockets:
            found.bind((HOST, 0))
        return [found.getsockname()[1] for found in sockets]


def _list_children(pid: int) -> list[int]:
    """By Linux's list of the children of each thread (proc_pid_task_tid_children(5))."""
    children = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += [int(child) for child in thread.read_text().split()]
    return children


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
