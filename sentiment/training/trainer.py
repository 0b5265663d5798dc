"""Fine-tune an encoder with the Hugging Face `Trainer`; only `masked_lm` also uses it."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from datasets import Dataset, Features, Sequence, Value, disable_progress_bars
from sklearn.metrics import accuracy_score, f1_score

from ..config import FinetuneConfig
from ..errors import ConfigError
from ..inference.engines.first_token import FIRST_TOKEN_TYPES, get_stack
from .data.splits import Splits
from .encoders import Encoder

# Called with the steps done, all steps, and a note.
Progress = Callable[[int, int, str], None]
# Called with metrics by name, and their step.
MetricLog = Callable[[Mapping[str, float], int], None]

# Evaluations per run, at equal distances.
EVALUATIONS = 4
# A run stops after this number of evaluations without a better F1.
PATIENCE = 2
_WARMUP_SHARE = 0.1
_WEIGHT_DECAY = 0.01


def finetune_encoder(
    encoder: Encoder,
    splits: Splits,
    config: FinetuneConfig,
    progress: Progress,
    log_metrics: MetricLog,
) -> list[dict[str, float]]:
    """Fine-tune `encoder.model` in place, and keep the weights with the best validation F1.

    Returns the log of the Trainer: one dict per logged step, with `step` and some of `loss`, `eval_loss`,
    `eval_f1`, `eval_accuracy`.
    """
    if config.trained_layers is not None:
        freeze_first_layers(encoder.model, config.trained_layers)
    disable_progress_bars()
    # Sorted by length, because each mini-batch is padded to its longest row.
    validation = splits.validation.sort_values("text", key=lambda texts: texts.str.len())
    with tempfile.TemporaryDirectory(prefix="sentiment-finetune-") as folder:
        trainer = transformers.Trainer(
            model=encoder.model,
            args=_training_arguments(config, len(splits.train), Path(folder)),
            train_dataset=_tokenize(splits.train, encoder, config.max_length),
            eval_dataset=_tokenize(validation, encoder, config.max_length),
            processing_class=encoder.tokenizer,
            data_collator=transformers.DataCollatorWithPadding(encoder.tokenizer),
            compute_metrics=_compute_metrics,
            callbacks=[
                transformers.EarlyStoppingCallback(early_stopping_patience=PATIENCE),
                TrainerReporter(progress, log_metrics),
            ],
        )
        # These callbacks would print over the progress line.
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.remove_callback(transformers.trainer_callback.ProgressCallback)
        trainer.train()
        history: list[dict[str, float]] = trainer.state.log_history
    return history


def freeze_first_layers(model: Any, trained_layers: int) -> None:
    """Freeze the embeddings and all but the last `trained_layers` layers, and switch off their dropout.

    Raises ConfigError if the encoder is not of the BERT family.
    """
    if model.config.model_type not in FIRST_TOKEN_TYPES:
        raise ConfigError(
            f"trained_layers: expected an encoder of type {', '.join(sorted(FIRST_TOKEN_TYPES))}, found "
            f"{model.config.model_type}; omit --trained_layers to train all layers"
        )
    frozen = [model.base_model.embeddings, *get_stack(model).layer[:-trained_layers]]
    for part in frozen:
        part.requires_grad_(False)
        for module in part.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0


def describe_device() -> str:
    """Return hardware and precision of a run, such as `cpu bf16` or `NVIDIA H100 bf16`."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    precision = "bf16" if use_bf16() else "fp16" if torch.cuda.is_available() else "fp32"
    return f"{name} {precision}"


def _training_arguments(
    config: FinetuneConfig, train_rows: int, folder: Path
) -> transformers.TrainingArguments:
    batch_rows = config.train_batch_size * max(1, torch.cuda.device_count())
    steps_per_epoch = -(-train_rows // batch_rows)
    total_steps = max(1, int(steps_per_epoch * config.epochs))
    eval_steps = max(1, total_steps // EVALUATIONS)
    return transformers.TrainingArguments(
        output_dir=str(folder),
        learning_rate=config.lr,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.train_batch_size,
        per_device_eval_batch_size=config.eval_batch_size,
        train_sampling_strategy="group_by_length",
        warmup_steps=int(total_steps * _WARMUP_SHARE),
        weight_decay=_WEIGHT_DECAY,
        eval_strategy="steps",
        eval_steps=eval_steps,
        save_strategy="steps",
        save_steps=eval_steps,
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="f1",
        greater_is_better=True,
        logging_steps=max(1, eval_steps // 4),
        bf16=use_bf16(),
        fp16=torch.cuda.is_available() and not use_bf16(),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to=[],
        seed=config.seed,
        data_seed=config.seed,
    )


def use_bf16() -> bool:
    """Return True if bfloat16 is native: on a CPU with AVX512-BF16 it is 2.1 times faster, else slower."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _tokenize(reviews: pd.DataFrame, encoder: Encoder, max_length: int) -> Dataset:
    """Tokenise into an Arrow table, with four bytes per token; lists of millions of rows would not fit."""

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = encoder.tokenizer(rows["text"], truncation=True, max_length=max_length)
        return {"input_ids": encoded["input_ids"], "labels": rows["label"]}

    features = Features({"input_ids": Sequence(Value("int32")), "labels": Value("int64")})
    rows = Dataset.from_pandas(reviews[["text", "label"]], preserve_index=False)
    return rows.map(encode, batched=True, remove_columns=rows.column_names, features=features)


def _compute_metrics(prediction: transformers.EvalPrediction) -> dict[str, float]:
    predicted = np.argmax(prediction.predictions, axis=-1)
    return {
        "accuracy": float(accuracy_score(prediction.label_ids, predicted)),
        "f1": float(f1_score(prediction.label_ids, predicted, average="weighted")),
    }


class TrainerReporter(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Pass progress and metrics of the Trainer to our callbacks."""

    def __init__(self, progress: Progress, log_metrics: MetricLog) -> None:
        self._progress = progress
        self._log_metrics = log_metrics
        self._note = ""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress(state.global_step, state.max_steps, self._note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        metrics = {name: value for name, value in (logs or {}).items() if isinstance(value, int | float)}
        self._log_metrics(metrics, state.global_step)
        if "loss" in metrics:
            self._note = f"loss {metrics['loss']:.3f}"
        if "eval_f1" in metrics:
            self._note = f"validation F1 {metrics['eval_f1']:.3f}"
            self._progress(state.global_step, state.max_steps, self._note)
