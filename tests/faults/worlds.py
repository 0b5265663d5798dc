"""The tiny model that the matrix scores with, fine-tuned here by the library."""

import os
from pathlib import Path

from tests.conftest import make_reviews, make_tiny_encoder

from .cells import World


def make_world(folder: Path) -> World:
    """Fine-tune and register `models:/sentiment@champion` in a tracking store under `folder`."""
    from sentiment import registry
    from sentiment.config import FinetuneConfig
    from sentiment.training.finetuning import finetune

    folder.mkdir(parents=True)
    encoder = make_tiny_encoder(folder / "encoder", initializer_range=0.05)
    make_reviews(400).to_parquet(folder / "train.parquet")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    registry.use_tracking(folder)
    config = FinetuneConfig(
        dataset_name=str(folder / "train.parquet"),
        distilbert_model=str(encoder),
        lr=3e-3,
        epochs=4,
        max_length=32,
        alias="champion",
    )
    summary = finetune(config, lambda *_: None)
    return World(os.environ["MLFLOW_TRACKING_URI"], summary.model_uri)
