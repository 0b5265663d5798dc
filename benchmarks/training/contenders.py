"""Train a few steps with our loop or with a plain Trainer, and return reviews per second."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sentiment.config import FinetuneConfig

MAX_LENGTH = 256
# A review in 512 tokens is what the recipe that this project began with computes.
PADDED_TOKENS = 512


@dataclass
class Stopwatch:
    """Note the time at the start and after each step; all steps count, as they differ in length."""

    marks: list[float] = field(default_factory=list)

    def mark(self, done: int, total: int, note: str) -> None:
        """Note the time after `done` steps; a step may report more than once."""
        if done == len(self.marks):
            self.marks.append(time.perf_counter())

    def rate(self, rows: int) -> float:
        """Return reviews per second, if the steps together have `rows` reviews."""
        return rows / (self.marks[-1] - self.marks[0])


def list_contenders(encoder: Path, reviews: pd.DataFrame, batch_rows: int) -> dict[str, Callable[[], float]]:
    """Return the contenders by name; each call trains once over its rows, from the same weights.

    The plain Trainer gets fewer rows, because each of its steps takes the same time.
    """
    tokens = batch_rows * 128  # about as many as our mini-batches have
    few = reviews[: 3 * batch_rows]
    return {
        "ours": lambda: train_ours(encoder, reviews, train_batch_size=batch_rows),
        "ours_tokens": lambda: train_ours(encoder, reviews, train_tokens=tokens),
        "trainer_max_length": lambda: train_plain(encoder, few, batch_rows, MAX_LENGTH),
        "trainer_512": lambda: train_plain(encoder, few, batch_rows, PADDED_TOKENS),
    }


def train_ours(encoder: Path, reviews: pd.DataFrame, **settings: Any) -> float:
    """Train by `finetune_encoder`; its evaluation and checkpoint come after the last step."""
    from datasets import Dataset

    from sentiment.training.data.splits import Splits
    from sentiment.training.encoders import load_encoder
    from sentiment.training.trainer import finetune_encoder

    config = FinetuneConfig(
        distilbert_model=str(encoder), epochs=1, evaluations=1, max_length=MAX_LENGTH, **settings
    )
    few = reviews[:4]
    splits = Splits(Dataset.from_pandas(reviews, preserve_index=False), few, few)
    watch = Stopwatch()
    loaded = load_encoder(str(encoder), MAX_LENGTH, config.seed)
    finetune_encoder(loaded, splits, config, watch.mark, lambda *_: None)
    return watch.rate(len(reviews))


def train_plain(encoder: Path, reviews: pd.DataFrame, batch_rows: int, tokens: int) -> float:
    """Train by the Trainer with its defaults; each review is cut or padded to `tokens`."""
    import torch
    import transformers
    from datasets import Dataset

    from sentiment.training.encoders import load_encoder

    loaded = load_encoder(str(encoder), tokens, 42)
    encoded = loaded.tokenizer(
        reviews["text"].tolist(), padding="max_length", truncation=True, max_length=tokens
    )
    watch = Stopwatch()

    class Mark(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.mark(0, state.max_steps, "")

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.mark(state.global_step, state.max_steps, "")

    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=loaded.model,
            args=transformers.TrainingArguments(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=batch_rows,
                save_strategy="no",
                disable_tqdm=True,
                report_to=[],
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            train_dataset=Dataset.from_dict(dict(encoded) | {"labels": reviews["label"].tolist()}),
            callbacks=[Mark()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return watch.rate(len(reviews))
