"""Start the Spark session: on the platform's master if there is one, else on all local cores."""

import os
import sys
from importlib import metadata
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from . import jvm

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
    # The default, 4,096 texts, makes arrays of megabytes, for which the collector G1 grows the heap.
    "spark.sql.parquet.columnarReaderBatchSize": "512",
    # Spark reads a slice of a large file in whole splits; the default, 128 MB, may be 500,000 rows.
    "spark.sql.files.maxPartitionBytes": "32m",
    "spark.python.worker.reuse": "true",
    # `day=01` is the text 01, not the number 1.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # Other readers take Spark's default, INT96, for a time without a zone.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Spark refuses a file that has a nanosecond column, even if it is not read. As an id it is a number.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # A second attempt of a slow task would only take cores from the first.
    "spark.speculation": "false",
    # A damaged file must be an error, never fewer rows.
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
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
    return builder.getOrCreate()


def _start_jvm() -> None:
    """Start the JVM with options that keep it small, unless spark-submit or an earlier session started it."""
    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        given = os.environ.get(_JVM_OPTIONS_VARIABLE, "")
        os.environ[_JVM_OPTIONS_VARIABLE] = f"{jvm.OPTIONS} {given}".strip()
    SparkContext._ensure_initialized()


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
