"""The parent of Spark's Python workers (`spark.python.daemon.module`), which knows MLflow before it forks.

A worker forked from it starts in a fraction of a second instead of seconds, and shares these pages with
its siblings. Nothing here may start a thread or open a device: neither survives a fork.
"""

from pyspark.daemon import manager

from .. import registry

if __name__ == "__main__":
    registry.import_mlflow().pyfunc.PyFuncModel  # noqa: B018  MLflow imports its parts at first use
    manager()
