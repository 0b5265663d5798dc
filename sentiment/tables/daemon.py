"""The parent of Spark's Python workers (`spark.python.daemon.module`): before it forks, it has imported
what they will need, MLflow and the libraries of a model on a CPU.

A worker forked from it starts in a fraction of a second instead of seconds, and shares these pages with
its siblings. Nothing here may start a thread or open a device: neither survives a fork.
"""

from pyspark.daemon import manager

from .. import registry
from ..inference import (
    graph,
    tokenization,  # noqa: F401  imports tokenizers
)
from . import worker  # noqa: F401  imports pandas


def preload() -> None:
    """Import what imports itself at its first use only."""
    registry.import_mlflow().pyfunc.PyFuncModel  # noqa: B018
    graph.import_openvino()


if __name__ == "__main__":
    preload()
    manager()
