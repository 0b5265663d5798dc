"""Extend the Hugging Face `Trainer`: our mini-batches, layer-wise rates, smaller steps if memory is full."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from accelerate.utils.memory import should_reduce_batch_size

from ..errors import TrainingError
from .checkpoints import Checkpoints, explaining_writes
from .layers import find_embeddings, get_layers
from .minibatches import MiniBatches
from .processes import count_processes, get_rank, noticing_lost_processes, wait_for_all


class TrainingLoop(transformers.Trainer):  # type: ignore[misc]  # transformers has no types
    """Train with given mini-batches; `show_note` is called with a note when a step had to be made smaller."""

    def __init__(
        self,
        *,
        minibatches: MiniBatches,
        lr_decay: float,
        checkpoints: Checkpoints,
        show_note: Callable[[str], None],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._minibatches = minibatches
        self._lr_decay = lr_decay
        self._checkpoints = checkpoints
        self._show_note = show_note
        # Each mini-batch is computed in so many parts, whose gradients are added.
        self._parts = 1

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Return the mini-batches of this process; accelerate must not deal them again."""
        return torch.utils.data.DataLoader(
            self._remove_unused_columns(self.train_dataset, description="Training"),
            batch_sampler=self._minibatches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimizer; with `lr_decay` each layer gets a lower rate than the layer above it."""
        if self.optimizer is None and self._lr_decay < 1:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            decayed = set(self.get_decay_parameter_names(self.model))
            groups = group_by_layer(self.model, decayed, self._lr_decay, self.args)
            self.optimizer: torch.optim.Optimizer | None = kind(groups, **options)
        made: torch.optim.Optimizer = super().create_optimizer(model)
        return made

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Add the gradients of one mini-batch, in more and smaller parts if the memory is full."""
        if self.args.n_gpu > 1:  # DataParallel splits the rows itself, and the loss is the mean of them
            loss: torch.Tensor = super().training_step(model, inputs, None)
            return loss
        while True:
            try:
                parts = _split(inputs, self._parts)
                return torch.stack(
                    [super(TrainingLoop, self).training_step(model, p, num_items_in_batch) for p in parts]
                ).sum()
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                self._make_parts_smaller(len(inputs["labels"]), error)
            model.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _make_parts_smaller(self, rows: int, error: RuntimeError) -> None:
        if self._parts >= rows:
            raise TrainingError(
                "out of memory with one review per step; pass a smaller --max_length or encoder"
            ) from error
        if count_processes() > 1:  # the other processes wait for this one's gradients
            raise TrainingError(
                f"process {get_rank()}: out of memory with {rows} reviews per step; pass a smaller "
                "--train_batch_size or --train_tokens"
            ) from error
        self._parts *= 2
        self._show_note(f"out of memory: each step is now computed in {self._parts} parts")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint and, when all processes have written their part, record that it is complete."""
        with explaining_writes(self._checkpoints.folder), noticing_lost_processes():
            super()._save_checkpoint(model, trial)
            wait_for_all()
            if get_rank() == 0:
                self._checkpoints.seal(f"checkpoint-{self.state.global_step}")


def make_loss(label_smoothing: float) -> Callable[..., torch.Tensor]:
    """Return the loss of a step: the mean over its reviews in all parts and processes.

    `labels` are class ids, or the probabilities of all classes. The Trainer passes the number of their values
    as `num_items_in_batch`; None means the reviews of the call.
    """

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        total = torch.nn.functional.cross_entropy(
            outputs["logits"], labels, label_smoothing=label_smoothing, reduction="sum"
        )
        values_per_review = labels.numel() // len(labels)
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch / values_per_review)

    return loss


def group_by_layer(model: Any, decayed: set[str], lr_decay: float, args: Any) -> list[dict[str, Any]]:
    """Return a group of parameters per layer and kind, the head first; embeddings are below all layers.

    Only parameters named in `decayed` get weight decay. Raises ConfigError if there are no separate layers.
    """
    layers = get_layers(model)
    embeddings = [weights for part in find_embeddings(model) for weights in part.parameters()]
    depths = {id(weights): len(layers) + 1 for weights in embeddings}
    for i, layer in enumerate(layers):
        depths.update((id(weights), len(layers) - i) for weights in layer.parameters())
    groups: dict[tuple[int, bool], list[Any]] = {}
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            groups.setdefault((depths.get(id(weights), 0), name not in decayed), []).append(weights)
    return [
        {
            "params": weights,
            "lr": args.learning_rate * lr_decay**depth,
            "weight_decay": 0.0 if is_plain else args.weight_decay,
        }
        for (depth, is_plain), weights in sorted(groups.items(), key=lambda item: item[0])
    ]


def _split(inputs: dict[str, torch.Tensor], parts: int) -> list[dict[str, torch.Tensor]]:
    pieces = {name: values.tensor_split(parts) for name, values in inputs.items()}
    split = [{name: values[i] for name, values in pieces.items()} for i in range(parts)]
    return [part for part in split if len(part["labels"])]
