"""The tiny model that the matrix scores with, fine-tuned here by the library."""

import os
from pathlib import Path

from tests.conftest import tune_tiny_model

from .cells import World

_SHORT_RUNS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""The JVMs of the matrix live for seconds: the second compiler costs them more than it gives."""


def make_world(folder: Path) -> World:
    """Fine-tune and register `models:/sentiment@champion` in a tracking store under `folder`."""
    from sentiment import registry

    folder.mkdir(parents=True)
    os.environ.setdefault("JDK_JAVA_OPTIONS", _SHORT_RUNS)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    registry.use_tracking(folder)
    return World(os.environ["MLFLOW_TRACKING_URI"], tune_tiny_model(folder))
