"""Start the Spark session: on the platform's master if there is one, else on all local cores."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from ..errors import ConfigError, ScoringError
from . import jvm, machine

_SPARK_SUBMIT_DEFAULT = "local[*]"
# Spark's `local[N]` fails a job with its first lost Python worker; this gives a task four attempts.
_LOCAL_WITH_RETRIES = "local[*,4]"

_WORKER = "spark.sql.execution.pyspark.udf"
_SETTINGS = {
    # A worker that hangs would hang the job for ever.
    f"{_WORKER}.killOnIdleTimeout": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    # The window in which reviews are sorted by length.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    "spark.python.worker.reuse": "true",
    # A second attempt of a slow task would only take cores from the first.
    "spark.speculation": "false",
    # Texts are most of what a run writes to the local disk: zstd takes two thirds of lz4's bytes, and few
    # partitions are else written twice, as one file each and joined.
    "spark.io.compression.codec": "zstd",
    "spark.shuffle.sort.bypassMergeThreshold": "1",
}
# Java options; those of spark-defaults.conf and of the command line come later and win.
_JVM_OPTIONS_VARIABLE = "SPARK_SUBMIT_OPTS"
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
# Spark ships a wheel given by `--py-files`, but lets workers import only from .zip, .egg and .jar.
_WHEEL = ".whl"
_DAEMON = "sentiment.tables.daemon"
_LOCAL_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


def tell_submitter(line: str) -> bool:
    """Print a line on the stderr of the spark-submit that started this process; return False if none did.

    spark-submit writes a Python driver's stderr to its own stdout, where no scheduler looks for errors.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return False
    try:
        gateway = SparkContext._gateway or launch_gateway()  # type: ignore[no-untyped-call]
        gateway.jvm.System.err.println(line)
    except (Py4JError, PySparkException, OSError):
        return False
    return True


def build_session(app_name: str, debug: bool = False, worker_timeout_seconds: int = 3600) -> SparkSession:
    """Start or find the session. Spark logs nothing unless `debug`, since the job reports a failure itself.

    A Python worker that returns nothing for `worker_timeout_seconds` is killed, and its task runs again.
    The master is the one of `spark-submit`, the platform or spark-defaults.conf; without one, or with
    spark-submit's default, it is `local[*]` with retries. Python workers run this interpreter unless
    PYSPARK_PYTHON names another.
    """
    machine.check_not_remote(os.environ)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if _WHEEL not in SparkContext.PACKAGE_EXTENSIONS:
        SparkContext.PACKAGE_EXTENSIONS = (*SparkContext.PACKAGE_EXTENSIONS, _WHEEL)
    builder = SparkSession.builder.appName(app_name)
    # Only the JVM has spark-submit's settings: without it a SparkConf is empty.
    _start_jvm()
    master = SparkConf().get("spark.master", _SPARK_SUBMIT_DEFAULT)
    settings = _SETTINGS | {f"{_WORKER}.idleTimeoutSeconds": str(worker_timeout_seconds)}
    settings = settings if debug else settings | {"spark.log.level": "OFF"}
    if master == _SPARK_SUBMIT_DEFAULT:
        builder = builder.master(_LOCAL_WITH_RETRIES)
    if str(master).startswith("local"):
        settings |= _LOCAL_SETTINGS | _share_gpu()
        if _is_installed():
            settings["spark.python.daemon.module"] = _DAEMON
    for key, value in settings.items():
        builder = builder.config(key, value)
    interrupt = signal.getsignal(signal.SIGINT)
    with _translate_start(str(master)):
        session = builder.getOrCreate()
    if threading.current_thread() is threading.main_thread():
        # Spark's own handler asks the JVM, which Ctrl-C stops too, and fails instead of interrupting.
        signal.signal(signal.SIGINT, interrupt)
    return session


def find_context(spark: SparkSession) -> SparkContext:
    """Return the context of a classic session; raise ConfigError over Spark Connect, which has none."""
    if is_remote(spark):
        raise ConfigError(
            "the scoring job needs classic Spark; over Spark Connect use sentiment.score(df), or start the "
            "job with spark-submit and without SPARK_REMOTE"
        )
    return spark.sparkContext


def is_remote(spark: SparkSession) -> bool:
    """Return True for a session of Spark Connect."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def is_on_this_machine(spark: SparkSession) -> bool:
    """Return True if all workers of the session run on this machine and see its files."""
    return not is_remote(spark) and str(find_context(spark).master).startswith("local")


def count_cores(spark: SparkSession) -> int:
    """Return the number of tasks that run at the same time."""
    return find_context(spark).defaultParallelism


def find_resources(spark: SparkSession) -> dict[str, Any]:
    """Return the model options for the resources of a task: as many threads as it has CPUs.

    In local mode with one task for all cores the model looks for the GPU; else it uses what Spark assigns.
    """
    threads = int(spark.conf.get("spark.task.cpus", "1") or 1)
    is_alone = is_on_this_machine(spark) and threads >= (os.cpu_count() or 1) > 1
    return {"threads": threads, **({"device": "auto"} if is_alone else {})}


def ship_archive(spark: SparkSession, archive: Path, name: str) -> None:
    """Bring an archive to every executor, unpacked in a folder of this name among Spark's files."""
    if is_remote(spark):
        spark.addArtifacts(f"{archive}#{name}", archive=True)
    else:
        find_context(spark).addArchive(f"{archive}#{name}")


def _start_jvm() -> None:
    """Start the JVM with options that keep it small, unless spark-submit or an earlier session started it."""
    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        machine.check_java(os.environ)
        machine.check_user(os.getuid())
        given = os.environ.get(_JVM_OPTIONS_VARIABLE, "")
        os.environ[_JVM_OPTIONS_VARIABLE] = f"{jvm.OPTIONS} {given}".strip()
    with _translate_start("Java"):
        SparkContext._ensure_initialized()


@contextlib.contextmanager
def _translate_start(what: str) -> Iterator[None]:
    """Raise ScoringError if Spark does not start; the messages of Java are stack traces."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        cause = _find_cause(error)
        raise ScoringError(
            f"Spark could not start with {what} ({cause}); check its settings and that this machine may use "
            "them; run again with --debug to see where"
        ) from error


def _find_cause(error: Exception) -> str:
    """Return the class of the error, or of the one of Java that it wraps."""
    java = getattr(error, "java_exception", None)
    return str(java.getClass().getSimpleName()) if java is not None else type(error).__name__


def _share_gpu() -> dict[str, str]:
    """Return settings that run one task at a time if there is a GPU, since local mode schedules none."""
    return {"spark.task.cpus": str(os.cpu_count())} if _NVIDIA_DRIVER.exists() else {}


def _is_installed() -> bool:
    """Return whether the parent of the workers can import this package; `--py-files` come too late for it."""
    if os.environ["PYSPARK_PYTHON"] != sys.executable:
        return False
    try:
        metadata.distribution("sentiment")
    except metadata.PackageNotFoundError:
        return False
    return True
