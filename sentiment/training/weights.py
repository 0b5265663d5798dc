"""Load the weights of an encoder, and refuse what would leave a part of it random or damaged."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EncoderUnavailableError

# Names a tensor of a layer, such as `encoder.layer.3.output.dense.weight`, or `h.3.mlp.c_fc.weight` of GPT-2.
LAYER = re.compile(r"(?:^|\.)(?:\w*layers?|\w*layer_groups|h|blocks?)\.\d+\.")
# Many encoders were trained without the pooler, which some classifiers have.
_POOLER = re.compile(r"(^|\.)pooler\.")
# The files of weights in the order in which transformers looks for them; it reads the first that it finds.
_READ_FIRST = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class Weights:
    """Hold a model, the names of its tensors that are random, and notes on what it does not use.

    The checkpoint does not have the tensors in `missing`, and those in `resized` in another size. All are of
    the head or the pooler.
    """

    model: Any
    missing: frozenset[str]
    resized: frozenset[str]
    notes: tuple[str, ...]

    @property
    def body(self) -> str:
        """Return how the names of the tensors of the body begin; empty for a model without a head."""
        return "" if self.model.base_model is self.model else f"{self.model.base_model_prefix}."


def load_weights(loader: Any, name: str, source: str, options: dict[str, Any], **values: Any) -> Weights:
    """Load an encoder in float32 by a class of transformers, with all weights of its body.

    Raises EncoderUnavailableError if a tensor of the body would be random, or a weight is not finite, and
    what transformers raises if it cannot load it.
    """
    import torch

    model, found = loader.from_pretrained(
        source,
        dtype=torch.float32,  # a checkpoint may have half-precision weights, which cannot be trained
        output_loading_info=True,
        **values,
        **options,
    )
    resized = frozenset(key[0] for key in found["mismatched_keys"])
    weights = Weights(model, frozenset(found["missing_keys"]), resized, _note_unread(name, found))
    absent = weights.missing | resized
    lost = sorted(key for key in absent if key.startswith(weights.body) and not _POOLER.search(key))
    if lost:
        raise EncoderUnavailableError(
            f"encoder {name!r}: its weights do not fit its config.json: {len(lost)} tensors, such as "
            f"{lost[0]}, are missing or of another size; expected the weights of an encoder of type "
            f"{model.config.model_type}; pass another --distilbert_model"
        )
    check_finite(name, model.named_parameters())
    return weights


def _note_unread(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    unread = [key for key in found["unexpected_keys"] if LAYER.search(key)]
    if not unread:
        return ()
    return (f"{len(unread)} tensors of {name} are of layers that its config.json lacks, and not used",)


def check_finite(name: str, weights: Iterable[tuple[str, Any]]) -> None:
    """Raise EncoderUnavailableError if a weight is not a finite number.

    A row of the embedding may be that of a token which no text has in training, and one has later.
    """
    damaged = [key for key, values in weights if not values.isfinite().all()]
    if damaged:
        raise EncoderUnavailableError(
            f"encoder {name!r}: its weights are damaged: {len(damaged)} tensors, such as {damaged[0]}, have "
            "values that are not finite numbers (NaN or infinite); pass another --distilbert_model"
        )


def note_sources(folder: Path, config: Any) -> tuple[str, ...]:
    """Return notes on further weights in a local folder that are not read, and on code that is not run."""
    notes = []
    files = [file for file in _READ_FIRST if (folder / file).is_file()]
    if len(files) > 1:
        notes.append(f"{folder} has several files of weights: {files[0]} is read, {', '.join(files[1:])} not")
    if getattr(config, "auto_map", None):
        notes.append(
            "its config.json names code of its own (auto_map), which is not run; the class of transformers "
            f"for the type {config.model_type} is used"
        )
    return tuple(notes)
