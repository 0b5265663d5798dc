"""Import what Spark's Python workers will need, in their parent (`spark.python.daemon.module`).

These are MLflow and the libraries of a model on a CPU. A worker forked from the parent starts in a fraction
of a second instead of seconds, and shares these pages with its siblings. Nothing here may start a thread or
open a device: neither survives a fork.
"""

import contextlib

from pyspark.daemon import manager

from ..models import registry
from . import worker, writing  # noqa: F401  what runs in a worker, with pandas and pyarrow
from .input import reviews  # noqa: F401


def preload() -> None:
    """Import the parts of MLflow that are otherwise imported at first use, and the libraries of a model.

    A library that is not installed is skipped: loading the model raises an error that names it.
    """
    registry.import_mlflow().pyfunc.PyFuncModel  # noqa: B018
    with contextlib.suppress(ModuleNotFoundError):
        from ..inference import tokenization  # noqa: F401  tokenizers
        from ..inference.engines import openvino as graph

        graph.import_openvino()


if __name__ == "__main__":
    preload()
    manager()
