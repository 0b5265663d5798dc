"""Watch and steer the Trainer: progress, metrics, checkpoints, early stopping, the order of an epoch."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import transformers

from ..errors import DivergedError
from .minibatches import MiniBatches
from .processes import Termination, agree, get_rank

# Called with the steps done, all steps, and a note.
StepProgress = Callable[[int, int, str], None]
# Called with metrics by name, and their step.
MetricLog = Callable[[Mapping[str, float], int], None]


class ReportingCallback(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Pass progress and metrics of the Trainer to our callbacks."""

    def __init__(self, progress: StepProgress, log_metrics: MetricLog) -> None:
        self._progress = progress
        self._log_metrics = log_metrics
        self._note = ""
        self._steps = (0, 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._steps = (state.global_step, state.max_steps)
        self._progress(*self._steps, self._note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        metrics = {name: value for name, value in (logs or {}).items() if isinstance(value, int | float)}
        self._log_metrics(metrics, state.global_step)
        if "loss" in metrics:
            self._note = f"loss {metrics['loss']:.3f}"
        if "eval_f1" in metrics:
            self._note = f"validation F1 {metrics['eval_f1']:.3f}"
            self._progress(state.global_step, state.max_steps, self._note)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._steps = (state.global_step, state.max_steps)
        self._progress(*self._steps, f"continued from step {state.global_step}" if state.global_step else "")

    def show_note(self, note: str) -> None:
        """Show a note at once, and with each step until the next one."""
        self._note = note
        self._progress(*self._steps, note)


class DivergenceCallback(transformers.TrainerCallback):  # type: ignore[misc]
    """End a training whose weights are of no more use, before they are compared with better ones."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        loss = metrics["eval_loss"]
        if not math.isfinite(loss):
            error = DivergedError(
                f"the training diverged: expected a finite loss after step {state.global_step} of "
                f"{state.max_steps}, found {loss}; pass a smaller --lr than {args.learning_rate:g}"
            )
            error.is_reported = get_rank() != 0
            raise error


class CheckpointCallback(transformers.TrainerCallback):  # type: ignore[misc]
    """Save a checkpoint when it is time, and after SIGTERM a last one."""

    def __init__(self, termination: Termination, every_seconds: float) -> None:
        self._termination = termination
        self._every_seconds = every_seconds
        self._saved = time.monotonic()
        self._is_last = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        is_due = time.monotonic() - self._saved >= self._every_seconds
        self._is_last, is_due = agree(self._termination.is_requested, is_due)
        control.should_save = control.should_save or is_due or self._is_last

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = time.monotonic()
        if self._is_last:
            self._termination.end(f" after step {state.global_step} of {state.max_steps}")


class EarlyStopping(transformers.EarlyStoppingCallback):  # type: ignore[misc]
    """Stop early, also at the first step after a restart whose checkpoint had used up the patience."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True


class EpochCallback(transformers.TrainerCallback):  # type: ignore[misc]
    """Set the epoch of the mini-batches when one begins, also after a restart."""

    def __init__(self, minibatches: MiniBatches) -> None:
        self._minibatches = minibatches

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._minibatches.set_epoch(int(state.epoch))
