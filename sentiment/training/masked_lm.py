"""Train an encoder to predict masked tokens of reviews (Devlin et al., BERT, NAACL 2019)."""

import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset, Sequence, Value

from ..cli import Progress
from ..config import AdaptConfig
from ..errors import EmptyInputError, EncoderUnavailableError
from .callbacks import DivergenceCallback, MetricLog, ReportingCallback
from .data.mapping import map_to_file
from .encoders import Encoder
from .trainer import use_bf16

# Evaluations and checkpoints per run, at equal distances: a killed run loses at most this share of its work.
EVALUATIONS = 5
# A run stops after this number of evaluations without a lower loss.
PATIENCE = 2
# A new head learns for so many steps while the encoder is frozen: its random errors would damage the encoder.
HEAD_STEPS = 100
_HEAD_LR = 1e-3
_WARMUP_SHARE = 0.06
_WEIGHT_DECAY = 0.01
_IGNORED = -100  # the label of a token that is not to be predicted, in torch and transformers

# Return tokens with masks, and the labels, for tokens (rows, length) and, for whole words, their offsets.
Mask = Callable[[torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Packed:
    """Hold full sequences (`input_ids`, and `offset_mapping` for whole words), and the tokens in none."""

    train: Dataset
    held_out: Dataset
    unused_tokens: int


@dataclass(frozen=True)
class Task:
    """Hold all that a Trainer needs; `folder` is for its checkpoints, `held_out` has fixed masks."""

    encoder: Encoder
    train: Dataset
    held_out: Dataset
    mask: Mask
    config: AdaptConfig
    folder: Path

    @property
    def steps(self) -> int:
        return max(1, int(-(-len(self.train) // self.config.train_batch_size) * self.config.epochs))


@dataclass(frozen=True)
class Adaptation:
    """Hold the results of a training: mean losses per masked held-out token, and the log of the Trainer.

    `stopped` is `finished`, `early` (the held-out loss did not fall) or `time`. `resumed_from_step` is 0 for
    a run in one piece.
    """

    loss_before: float
    loss_after: float
    steps: int
    best_step: int
    planned_steps: int
    stopped: str
    resumed_from_step: int
    history: list[dict[str, float]]


def pack_texts(
    texts: Dataset, tokenizer: Any, max_length: int, with_offsets: bool, file: Path
) -> tuple[Dataset, int]:
    """Join reviews with separators, and cut the stream into sequences of exactly `max_length` tokens.

    The sequences are memory-mapped from `file`. Each begins and ends with the special tokens of the encoder.
    Returns the number of tokens at the end, too few for a sequence, too.
    """
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    width = max_length - 2
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []

    def cut(rows: dict[str, list[str]]) -> dict[str, Any]:
        encoded = tokenizer(
            rows["text"],
            add_special_tokens=False,
            truncation=False,
            return_offsets_mapping=with_offsets,
            verbose=False,
        )
        ids.extend(itertools.chain.from_iterable([*review, last] for review in encoded["input_ids"]))
        stop = len(ids) - len(ids) % width
        packed: dict[str, Any] = {
            "input_ids": [[first, *ids[i : i + width], last] for i in range(0, stop, width)]
        }
        del ids[:stop]
        if with_offsets:
            found = encoded["offset_mapping"]
            offsets.extend(itertools.chain.from_iterable([*review, (0, 0)] for review in found))
            packed["offset_mapping"] = [
                [(0, 0), *offsets[i : i + width], (0, 0)] for i in range(0, stop, width)
            ]
            del offsets[:stop]
        return packed

    columns = {"input_ids": Sequence(Value("int32"))}
    if with_offsets:
        columns["offset_mapping"] = Sequence(Sequence(Value("int32")))
    return map_to_file(texts, cut, columns, file), len(ids)


def adapt_encoder(
    encoder: Encoder,
    packed: Packed,
    config: AdaptConfig,
    folder: Path,
    progress: Progress,
    log_metrics: MetricLog,
) -> Adaptation:
    """Train `encoder.model` in place, and keep the weights with the lowest held-out loss.

    Checkpoints are in `folder`; a run that finds some there goes on from the last complete one. One GPU is
    used if there is one.
    """
    clock = _Clock(time.monotonic() + 60 * config.minutes if config.minutes else math.inf)
    mask = make_mask(encoder.tokenizer, config)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        fixed = _mask_once(packed.held_out, mask, folder.with_name("held_out.arrow"))
    _check_masked(fixed, config.input)
    task = Task(encoder, packed.train, fixed, mask, config, folder)
    checkpoint = _find_checkpoint(folder)
    before = folder.with_name("loss_before.txt")
    if checkpoint is None:
        if encoder.has_new_head:
            train_head(
                task, [clock, ReportingCallback(partial(progress, "training a new head"), _log_nothing)]
            )
        before.write_text(repr(_measure_loss(task)))
    stopper = transformers.EarlyStoppingCallback(early_stopping_patience=PATIENCE)
    reporter = ReportingCallback(partial(progress, "adapting"), log_metrics)
    trainer = _make_trainer(task, [DivergenceCallback(), stopper, clock, reporter])
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    state = trainer.state
    is_finished = state.global_step >= state.max_steps
    return Adaptation(
        loss_before=float(before.read_text()),
        loss_after=float(state.best_metric),
        steps=state.global_step,
        best_step=state.best_global_step,
        planned_steps=state.max_steps,
        stopped="finished" if is_finished else "time" if clock.is_over else "early",
        resumed_from_step=0 if checkpoint is None else _read_step(checkpoint),
        history=state.log_history,
    )


def train_head(task: Task, callbacks: Iterable[Any] = ()) -> None:
    """Train a new head with the encoder frozen; its bias begins as the log share of each token."""
    model = task.encoder.model
    counts = np.ones(model.config.vocab_size)
    for rows in task.train.select_columns("input_ids").with_format("numpy").iter(1_000):
        counts += np.bincount(np.concatenate(list(rows["input_ids"])), minlength=len(counts))
    model.get_output_embeddings().bias.data.copy_(torch.from_numpy(np.log(counts / counts.sum())))
    model.base_model.requires_grad_(False)
    trainer = _make_trainer(
        task,
        callbacks,
        max_steps=min(HEAD_STEPS, task.steps),
        learning_rate=_HEAD_LR,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    trainer.train()
    model.base_model.requires_grad_(True)


def _measure_loss(task: Task) -> float:
    """Return the held-out loss of the encoder as it is; raise EncoderUnavailableError if it is not finite."""
    loss = float(_make_trainer(task, []).evaluate()["eval_loss"])
    if not math.isfinite(loss):
        raise EncoderUnavailableError(
            f"encoder {task.encoder.name!r}: its loss before training is {loss}, expected a finite number; "
            "its weights may be damaged; pass another --distilbert_model"
        )
    return loss


def make_mask(tokenizer: Any, config: AdaptConfig) -> Mask:
    """Return a function that chooses other tokens in each call, from torch's global random numbers."""
    # Whole words are never replaced by random tokens: their number of tokens would show.
    shares = (1.0, 0.0) if config.whole_words else (0.8, 0.1)
    collator = transformers.DataCollatorForLanguageModeling(
        tokenizer,
        whole_word_mask=config.whole_words,
        mlm_probability=config.masked_share,
        mask_replace_prob=shares[0],
        random_replace_prob=shares[1],
    )

    def mask(ids: torch.Tensor, offsets: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        masked, labels = collator.torch_mask_tokens(ids.cpu().clone(), offset_mapping=offsets)
        return masked.to(ids.device), labels.to(ids.device)

    return mask


def _mask_once(rows: Dataset, mask: Mask, file: Path) -> Dataset:
    """Mask the held-out sequences, so that each evaluation predicts the same tokens."""

    def fix(batch: dict[str, Any]) -> dict[str, Any]:
        offsets = batch.get("offset_mapping")
        ids, labels = mask(
            torch.tensor(batch["input_ids"]), None if offsets is None else torch.tensor(offsets)
        )
        return {"input_ids": ids.numpy(), "labels": labels.numpy()}

    kind = Sequence(Value("int32"))
    return map_to_file(rows, fix, {"input_ids": kind, "labels": Sequence(Value("int64"))}, file)


def _check_masked(held_out: Dataset, name: str) -> None:
    """Raise EmptyInputError if there is no token to predict, so that no loss can be measured."""
    if not any((np.asarray(row["labels"]) != _IGNORED).any() for row in held_out):
        raise EmptyInputError(
            f"{name}: none of the tokens of {len(held_out)} held-out sequences is masked, expected at least "
            "1 to measure the loss; pass a larger --masked_share or --held_out_share"
        )


class _MaskedTrainer(transformers.Trainer):  # type: ignore[misc]  # transformers has no types
    """Mask in the step and not in the data loader, so that a resumed run masks the same tokens."""

    mask: Mask

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute logits of masked tokens only: the output layer is as expensive as a small encoder."""
        ids, labels = inputs["input_ids"], inputs.get("labels")
        if labels is None:
            ids, labels = self.mask(ids, inputs.get("offset_mapping"))
        chosen = labels != _IGNORED

        def narrow(_module: Any, _inputs: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state[chosen][None]
            return output

        hook = model.base_model.register_forward_hook(narrow)
        try:
            outputs = model(input_ids=ids, labels=labels[chosen][None])
        finally:
            hook.remove()
        # The mean of no tokens is not a number. Any other such loss must show, or it would be the lowest.
        loss = outputs.loss if chosen.any() else torch.nan_to_num(outputs.loss)
        return (loss, {"loss": loss}) if return_outputs else loss


class _Clock(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Stop a training at a time, and evaluate and save its last step."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self.is_over = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.is_over = time.monotonic() >= self._deadline
        if self.is_over or state.global_step >= state.max_steps:
            control.should_training_stop = True
            control.should_evaluate = control.should_save = args.eval_strategy != "no"


def _make_trainer(task: Task, callbacks: Iterable[Any], **changes: Any) -> _MaskedTrainer:
    arguments = transformers.TrainingArguments(**(_list_arguments(task) | changes))
    arguments._n_gpu = min(arguments.n_gpu, 1)  # the copies of a model on several GPUs would share one hook
    trainer = _MaskedTrainer(
        model=task.encoder.model,
        args=arguments,
        train_dataset=task.train,
        eval_dataset=task.held_out,
        data_collator=transformers.default_data_collator,
        callbacks=list(callbacks),
    )
    trainer.mask = task.mask
    # These callbacks would print over the progress line.
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.remove_callback(transformers.trainer_callback.ProgressCallback)
    return trainer


def _list_arguments(task: Task) -> dict[str, Any]:
    config = task.config
    interval = max(1, -(-task.steps // EVALUATIONS))
    return {
        "output_dir": str(task.folder),
        "learning_rate": config.lr,
        "max_steps": task.steps,
        "warmup_steps": int(task.steps * _WARMUP_SHARE),
        "weight_decay": _WEIGHT_DECAY,
        "per_device_train_batch_size": config.train_batch_size,
        "per_device_eval_batch_size": config.eval_batch_size,
        "eval_strategy": "steps",
        "eval_steps": interval,
        "save_strategy": "steps",
        "save_steps": interval,
        "save_total_limit": 1,  # and the best one, if it is another
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
        "remove_unused_columns": False,
        "prediction_loss_only": True,
        "logging_steps": max(1, interval // 4),
        "bf16": use_bf16(),
        "fp16": torch.cuda.is_available() and not use_bf16(),
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "disable_tqdm": True,
        "report_to": [],
        "seed": config.seed,
        "data_seed": config.seed,
    }


def _log_nothing(metrics: Mapping[str, float], step: int) -> None:
    """Log no metrics of a new head: their steps would mix with those of the training."""


def _find_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint; remove those that a killed run did not finish."""
    found = sorted(folder.glob("checkpoint-*"), key=_read_step)
    complete = []
    for path in found:
        # The Trainer writes this file last.
        state = path / transformers.trainer.TRAINER_STATE_NAME
        if state.is_file() and state.read_text().endswith("}\n"):
            complete.append(path)
        else:
            shutil.rmtree(path)
    return complete[-1] if complete else None


def _read_step(checkpoint: Path) -> int:
    return int(checkpoint.name.partition("-")[2])
