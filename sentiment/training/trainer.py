"""Fine-tune an encoder with the Hugging Face `Trainer`; no other module uses it."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import torch
import transformers
from datasets import Dataset, disable_progress_bars
from sklearn.metrics import accuracy_score, f1_score
from torch._dynamo.exc import TorchDynamoException

from ..config import FinetuneConfig
from ..errors import ConfigError
from ..inference.tokenization import Tokenizer
from .callbacks import (
    CheckpointCallback,
    DivergenceCallback,
    EarlyStopping,
    EpochCallback,
    MetricLog,
    ReportingCallback,
    StepProgress,
)
from .checkpoints import MOST_CHECKPOINTS, Checkpoints
from .data.splits import Splits
from .encoders import Encoder, make_tokenizer
from .layers import get_first_layers
from .loop import TrainingLoop, make_loss
from .minibatches import MiniBatches
from .processes import (
    Termination,
    count_processes,
    get_rank,
    noticing_lost_processes,
    share,
    sharing_errors,
)
from .runs import Training
from .tokens import pad_batch, tokenize, tokenize_once

# A checkpoint holds the weights and two averages of each, in float32.
_CHECKPOINT_BYTES_PER_WEIGHT = 12


def train_encoder(encoder: Encoder, training: Training) -> list[dict[str, float]]:
    """Fine-tune `encoder.model` in place and keep its weights, or load those that were kept earlier.

    Returns the log of the Trainer.
    """
    log, progress, checkpoints = training.log, training.progress, training.checkpoints
    history = share(lambda: checkpoints.load_trained(encoder.model))
    if history is None:
        history = finetune_encoder(
            encoder,
            training.splits,
            training.config,
            lambda done, total, note: progress("fine-tuning", done, total, note),
            lambda metrics, step: None if log is None else log.log_metrics(metrics, step),
            checkpoints,
            training.termination,
        )
        if get_rank() == 0:
            checkpoints.save_trained(encoder.model, history)
    return history


def finetune_encoder(
    encoder: Encoder,
    splits: Splits,
    config: FinetuneConfig,
    progress: StepProgress,
    log_metrics: MetricLog,
    checkpoints: Checkpoints | None = None,
    termination: Termination | None = None,
) -> list[dict[str, float]]:
    """Fine-tune `encoder.model` in place, and keep the weights with the best validation F1.

    Continues from the last of the `checkpoints`; None: begins at the first step and keeps none. Returns the
    log of the Trainer: a dict per logged step, with `step` and some of `loss`, `eval_loss`, `eval_f1`,
    `eval_accuracy`.
    """
    if checkpoints is None:
        with tempfile.TemporaryDirectory(prefix="sentiment-finetune-") as folder:
            kept = Checkpoints(Path(folder))
            return finetune_encoder(encoder, splits, config, progress, log_metrics, kept, termination)
    termination = termination or Termination()
    disable_progress_bars()
    reporter = ReportingCallback(progress, log_metrics)
    keeper = CheckpointCallback(termination, config.checkpoint_minutes * 60)
    with sharing_errors():
        if config.trained_layers is not None:
            freeze_first_layers(encoder.model, config.trained_layers)
        trainer = _make_trainer(encoder, splits, config, checkpoints, reporter, keeper)
    last = share(lambda: _find_start(checkpoints, encoder.model))
    compilation = compiled(encoder.model) if config.torch_compile else contextlib.nullcontext()
    with compilation, termination.deferred(), noticing_lost_processes():
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    history: list[dict[str, float]] = trainer.state.log_history
    return history


@contextlib.contextmanager
def compiled(model: torch.nn.Module) -> Iterator[None]:
    """Compile the calls of a model in this block, for batches of any size; it keeps its names of weights.

    Raises ConfigError if torch cannot compile it here.
    """
    model.compile(dynamic=True)
    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        reason = str(cause).strip().partition("\n")[0]
        raise ConfigError(
            f"torch_compile: torch {torch.__version__} cannot compile this encoder on this machine "
            f"({type(cause).__name__}: {reason}); omit --torch_compile"
        ) from error
    finally:
        # There is no public inverse. The export reads the module as it is.
        model._compiled_call_impl = None


def _find_start(checkpoints: Checkpoints, model: Any) -> Path | None:
    weights = sum(parameter.numel() for parameter in model.parameters())
    last = checkpoints.find_last()
    if last is None:  # else the room is taken already
        checkpoints.check_room(weights * _CHECKPOINT_BYTES_PER_WEIGHT * MOST_CHECKPOINTS)
    return last


def _make_trainer(
    encoder: Encoder,
    splits: Splits,
    config: FinetuneConfig,
    checkpoints: Checkpoints,
    reporter: ReportingCallback,
    keeper: CheckpointCallback,
) -> TrainingLoop:
    tokenizer = make_tokenizer(encoder, config.max_length, config.truncation)
    train = _tokenize_train(splits, tokenizer)
    minibatches = MiniBatches(
        measure_lengths(train),
        config.train_batch_size,
        config.train_tokens,
        config.seed,
        get_rank(),
        count_processes(),
    )
    # Sorted by length, because each mini-batch is padded to its longest row.
    validation = splits.validation.sort_values("text", key=lambda texts: texts.str.len())
    trainer = TrainingLoop(
        model=encoder.model,
        args=_training_arguments(config, len(minibatches), checkpoints.folder),
        train_dataset=train,
        eval_dataset=_tokenize(validation, tokenizer),
        processing_class=encoder.tokenizer,
        data_collator=functools.partial(pad_batch, pad_id=encoder.model.config.pad_token_id),
        compute_metrics=_compute_metrics,
        compute_loss_func=make_loss(config.label_smoothing),
        callbacks=[
            DivergenceCallback(),
            EarlyStopping(config.patience),
            reporter,
            keeper,
            EpochCallback(minibatches),
        ],
        minibatches=minibatches,
        lr_decay=config.lr_decay,
        checkpoints=checkpoints,
        show_note=reporter.show_note,
    )
    # These callbacks would print over the progress line.
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.remove_callback(transformers.trainer_callback.ProgressCallback)
    return trainer


def measure_lengths(rows: Dataset) -> np.ndarray:
    """Return the number of tokens of each row, in bounded memory."""
    tables = rows.select_columns("input_ids").with_format("arrow").iter(100_000)
    return np.concatenate([pc.list_value_length(table["input_ids"]).to_numpy() for table in tables])


def freeze_first_layers(model: Any, trained_layers: int) -> None:
    """Freeze the embeddings and all but the last `trained_layers` layers, and switch off their dropout."""
    for part in get_first_layers(model, trained_layers):
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
    config: FinetuneConfig, steps_per_epoch: int, folder: Path
) -> transformers.TrainingArguments:
    total_steps = max(1, int(steps_per_epoch * config.epochs))
    eval_steps = max(1, total_steps // config.evaluations)
    return transformers.TrainingArguments(
        output_dir=str(folder),
        learning_rate=config.lr,
        lr_scheduler_type=config.schedule,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.train_batch_size,
        per_device_eval_batch_size=config.eval_batch_size,
        warmup_steps=int(total_steps * config.warmup_share),
        weight_decay=config.weight_decay,
        eval_strategy="steps",
        eval_steps=eval_steps,
        save_strategy="steps",
        save_steps=eval_steps,
        save_total_limit=MOST_CHECKPOINTS - 1,
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=True,
        metric_for_best_model="f1",
        greater_is_better=True,
        logging_steps=max(1, eval_steps // 4),
        bf16=use_bf16(),
        fp16=torch.cuda.is_available() and not use_bf16(),
        optim="adamw_torch_fused",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
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


def _tokenize_train(splits: Splits, tokenizer: Tokenizer) -> Dataset:
    """Tokenise the training rows in the main process; another one does it if its machine lacks the file."""

    def make() -> str:
        return tokenize_once(splits.train, tokenizer, splits.release)

    file = share(make)
    with sharing_errors():
        return Dataset.from_file(file if Path(file).is_file() else make())


def _tokenize(reviews: pd.DataFrame, tokenizer: Tokenizer) -> Dataset:
    return tokenize(Dataset.from_pandas(reviews[["text", "label"]], preserve_index=False), tokenizer)


def _compute_metrics(prediction: transformers.EvalPrediction) -> dict[str, float]:
    predicted = np.argmax(prediction.predictions, axis=-1)
    return {
        "accuracy": float(accuracy_score(prediction.label_ids, predicted)),
        "f1": float(f1_score(prediction.label_ids, predicted, average="weighted")),
    }
