"""Train a few steps with our loop or with a plain Trainer, and return reviews per second."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sentiment.config import FinetuneConfig

from .. import ROOT

MAX_LENGTH = 256
# A review in 512 tokens is what the recipe that this project began with computes.
PADDED_TOKENS = 512


@dataclass(frozen=True)
class Plan:
    """Sizes of a comparison: reviews of both kinds of contenders, and of a step of the plain Trainer.

    The plain Trainer gets fewer reviews, because each of its steps takes the same time. Of `passes` over the
    reviews only the last one is timed. `ours` are settings of our contenders by name.
    """

    rows: int
    plain_rows: int
    batch_rows: int
    passes: int
    ours: Mapping[str, Mapping[str, Any]]


def plan_cpu() -> Plan:
    """Return the sizes for a CPU; with fewer rows our mini-batches could not have similar lengths."""
    ours = {"ours": {"train_batch_size": 16}, "ours_tokens": {"train_tokens": 16 * 128}}
    return Plan(rows=256, plain_rows=48, batch_rows=16, passes=1, ours=ours)


def plan_gpu() -> Plan:
    """Return the sizes for a GPU, whose first steps load and make kernels; ours are those of its recipe."""
    recipe = yaml.safe_load((ROOT / "conf" / "finetune-gpu.yaml").read_text())
    by_tokens = {"train_tokens": recipe["train_tokens"]}
    ours = {"ours": by_tokens, "ours_compiled": {**by_tokens, "torch_compile": True}}
    return Plan(rows=7_000, plain_rows=960, batch_rows=16, passes=2, ours=ours)


@dataclass
class Stopwatch:
    """Note the time at the start and after each step; all steps count, as they differ in length."""

    marks: list[float] = field(default_factory=list)

    def mark(self, done: int, total: int, note: str) -> None:
        """Note the time after `done` steps; a step may report more than once."""
        if done == len(self.marks):
            self.marks.append(time.perf_counter())

    def rate(self, rows: int, passes: int = 1) -> float:
        """Return reviews per second of the last of `passes`, if each has `rows` reviews."""
        steps = (len(self.marks) - 1) // passes
        return rows / (self.marks[-1] - self.marks[-1 - steps])


def list_contenders(encoder: Path, reviews: pd.DataFrame, plan: Plan) -> dict[str, Callable[[], float]]:
    """Return the contenders by name; each call trains from the same weights."""
    few = reviews[: plan.plain_rows]
    ours: dict[str, Callable[[], float]] = {
        name: partial(train_ours, encoder, reviews, plan, **settings) for name, settings in plan.ours.items()
    }
    return ours | {
        "trainer_max_length": partial(train_plain, encoder, few, plan, MAX_LENGTH),
        "trainer_512": partial(train_plain, encoder, few, plan, PADDED_TOKENS),
    }


def train_ours(encoder: Path, reviews: pd.DataFrame, plan: Plan, **settings: Any) -> float:
    """Train by `finetune_encoder`; its evaluation and checkpoint come after the last step."""
    from datasets import Dataset

    from sentiment.training.data.splits import Splits
    from sentiment.training.encoders import load_encoder
    from sentiment.training.trainer import finetune_encoder

    config = FinetuneConfig(
        distilbert_model=str(encoder), epochs=plan.passes, evaluations=1, max_length=MAX_LENGTH, **settings
    )
    few = reviews[:4]
    splits = Splits(Dataset.from_pandas(reviews, preserve_index=False), few, few)
    watch = Stopwatch()
    loaded = load_encoder(str(encoder), MAX_LENGTH, config.seed)
    finetune_encoder(loaded, splits, config, watch.mark, lambda *_: None)
    return watch.rate(len(reviews), plan.passes)


def train_plain(encoder: Path, reviews: pd.DataFrame, plan: Plan, tokens: int) -> float:
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
                num_train_epochs=plan.passes,
                per_device_train_batch_size=plan.batch_rows,
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
    return watch.rate(len(reviews), plan.passes)
