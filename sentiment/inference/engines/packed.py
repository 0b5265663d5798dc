"""Run the encoder on a GPU with reviews packed into one sequence, which saves the padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import EngineUnavailableError
from .probabilities import to_probabilities
from .reference import load_classifier

if TYPE_CHECKING:
    import torch

# Compute capability of the first cards that support bf16 and torch's variable-length kernel.
_AMPERE = (8, 0)


@dataclass(frozen=True)
class _Rows:
    """Hold where packed rows start and end: `bounds` (rows + 1) is on the device."""

    bounds: "torch.Tensor"
    lengths: list[int]
    longest: int


@dataclass(frozen=True)
class _Packing:
    """Hold the bounds of queries and keys: row i of the queries attends only to row i of the keys."""

    queries: _Rows
    keys: _Rows


class PackedEngine:
    """Run the encoder in torch on packed rows.

    `folder` holds a fine-tuned classifier (config.json, model.safetensors). `dtype` is the type of the
    encoder (None: bf16 or fp16 on a GPU, float32 on a CPU); the head is always float32. Threads may share
    an engine. Raises EngineUnavailableError if the encoder or the device cannot run packed.
    """

    name = "gpu"
    is_packed = True
    step_tokens = 1
    budget_tokens = 65_536

    def __init__(self, folder: Path, device: str = "cuda", dtype: "torch.dtype | None" = None) -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineUnavailableError(f"torch finds no GPU for {device=}; use another engine")
        self._device = torch.device(device)
        dtype = dtype or _choose_dtype(self._device)
        self._model = _load_classifier(folder, self._device, dtype)
        embeddings = self._model.base_model.embeddings
        self._has_token_types = hasattr(embeddings, "token_type_embeddings")
        # RoBERTa and related encoders reserve a position for padding, and count from the position after it.
        self._padding_id: int | None = embeddings.position_embeddings.padding_idx
        first_position = 0 if self._padding_id is None else self._padding_id + 1
        self._max_length: int = embeddings.position_embeddings.num_embeddings - first_position
        self._rehearse()

    def classify(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Classify as `Engine.classify`; raise ValueError if a row is empty or too long for the encoder."""
        import torch

        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        if len(rows) == 0:
            return np.empty((0, max(2, self._model.config.num_labels)))
        # After an index out of range, a GPU fails every later call of the process.
        if lengths.min() == 0 or lengths.max() > self._max_length:
            raise ValueError(
                f"rows must have 1 to {self._max_length} tokens, found {lengths.min()} to {lengths.max()}; "
                "truncate the texts"
            )
        ids = np.concatenate(rows)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        positions = number_positions(ids, bounds[:-1], lengths, self._padding_id)
        with torch.inference_mode():
            sent_ids, sent_positions, sent_bounds = _send([ids, positions, bounds], self._device)
            packed_rows = _Rows(sent_bounds, lengths.tolist(), int(lengths.max()))
            inputs = {"input_ids": sent_ids[None], "position_ids": sent_positions[None]}
            if self._has_token_types:
                inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
            logits = self._model(**inputs, packing=_Packing(packed_rows, packed_rows)).logits
        return to_probabilities(logits.double().cpu().numpy())

    def _rehearse(self) -> None:
        """Run two rows, to detect a device without the necessary kernels before the first review."""
        rows = [np.zeros(n, dtype=np.int32) for n in (1, self._max_length)]
        try:
            probabilities = self.classify(rows)
        except RuntimeError as error:
            raise EngineUnavailableError(f"a packed step fails on {self._device}: {error}") from error
        if not np.isfinite(probabilities).all():
            raise EngineUnavailableError("a packed step gives scores that are not finite; use another engine")


def number_positions(
    ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, padding_id: int | None
) -> np.ndarray:
    """Return the position ids, int64 (tokens,), of rows that begin at `starts` of the packed `ids`.

    Without `padding_id`, positions count from 0 in each row. With it they count from padding_id + 1, as in
    RoBERTa; a padding token, which a text can contain, has position padding_id and is not counted.
    """
    if padding_id is None:
        from_0: np.ndarray = np.arange(len(ids)) - np.repeat(starts, lengths)
        return from_0
    is_counted = ids != padding_id
    counts = np.cumsum(is_counted)
    before_row = counts[starts] - is_counted[starts]
    positions: np.ndarray = (counts - np.repeat(before_row, lengths)) * is_counted + padding_id
    return positions


def _choose_dtype(device: "torch.device") -> "torch.dtype":
    import torch

    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= _AMPERE else torch.float16


def _load_classifier(folder: Path, device: "torch.device", dtype: "torch.dtype") -> Any:
    """Load the classifier on the device, its encoder in `dtype` and reduced to one hidden state per row."""
    from transformers import AutoConfig

    from .first_token import get_stack, narrow_last_layer

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    _check_packable(config)
    attention = _register_attention(config, device, dtype)
    model = load_classifier(folder, config=config, attn_implementation=attention)
    body = model.base_model
    for name, part in body.named_children():
        if name != "pooler":  # the head costs little, and bf16 logits would have only three digits
            part.to(dtype)
    narrow_last_layer(model, _take_first_tokens)
    get_stack(model).register_forward_hook(_unpack_first_tokens)
    return model.to(device)


def _check_packable(config: Any) -> None:
    from .first_token import FIRST_TOKEN_TYPES, reads_first_token

    if config.model_type not in FIRST_TOKEN_TYPES:
        raise EngineUnavailableError(
            f"an encoder of type {config.model_type!r} cannot be run packed, only "
            f"{', '.join(sorted(FIRST_TOKEN_TYPES))}; use another engine"
        )
    if not reads_first_token(config):
        raise EngineUnavailableError("a decoder (causal attention) cannot be run packed; use another engine")


def _register_attention(config: Any, device: "torch.device", dtype: "torch.dtype") -> str:
    """Register the attention for this device in transformers, and return its name there.

    The name contains the module name, because each packaged model has a copy of this module. transformers
    builds no mask, because none is registered under this name.
    """
    import torch
    from transformers import AttentionInterface

    head_size = config.hidden_size // config.num_attention_heads
    has_kernel = (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(device) >= _AMPERE
        and head_size % 8 == 0
        and head_size <= 256
    )
    attend = attend_varlen if has_kernel else attend_by_row
    name = f"{__name__}.{attend.__name__}"
    AttentionInterface.register(name, attend)
    return name


def attend_varlen(
    module: object,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: None,
    *,
    packing: _Packing,
    scaling: float | None = None,
    **_: object,
) -> "tuple[torch.Tensor, None]":
    """Compute attention inside each row in one kernel.

    Inputs are (1, heads, tokens, size), the output is (1, tokens, heads, size).
    """
    import torch
    from torch.nn.attention.varlen import varlen_attn

    attended = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        cu_seq_q=packing.queries.bounds,
        cu_seq_k=packing.keys.bounds,
        max_q=packing.queries.longest,
        max_k=packing.keys.longest,
        scale=scaling,
    )
    assert isinstance(attended, torch.Tensor)  # a pair only if auxiliary output is requested
    return attended[None], None


def attend_by_row(
    module: object,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: None,
    *,
    packing: _Packing,
    scaling: float | None = None,
    **_: object,
) -> "tuple[torch.Tensor, None]":
    """Compute the same as `attend_varlen` row by row, for a CPU, float32 and cards before Ampere."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    queries, keys = packing.queries.lengths, packing.keys.lengths
    split = (torch.split(x, n, dim=2) for x, n in ((query, queries), (key, keys), (value, keys)))
    attended = [scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in zip(*split, strict=True)]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _take_first_tokens(
    states: "torch.Tensor", mask: "torch.Tensor | None", options: dict[str, Any]
) -> "tuple[torch.Tensor, torch.Tensor | None, dict[str, Any]]":
    """Pick the first token of each row of a packed sequence (1, tokens, width); keys stay whole rows."""
    import torch

    keys = options["packing"].keys
    n_rows = len(keys.lengths)
    bounds = torch.arange(n_rows + 1, dtype=torch.int32, device=states.device)
    packing = _Packing(_Rows(bounds, [1] * n_rows, 1), keys)
    return states.index_select(1, keys.bounds[:-1]), mask, {**options, "packing": packing}


def _unpack_first_tokens(module: object, args: object, output: Any) -> Any:
    """Reshape the output of the encoder to (rows, 1, width) in float32, because the head reads `[:, 0]`."""
    output.last_hidden_state = output.last_hidden_state.transpose(0, 1).float()
    return output


def _send(arrays: Sequence[np.ndarray], device: "torch.device") -> "tuple[torch.Tensor, ...]":
    """Copy the arrays as int32 to the device in one asynchronous copy.

    The pinned memory is safe to release here: torch does not reuse it before the copy is done.
    """
    import torch

    sizes = [array.size for array in arrays]
    staged = torch.empty(sum(sizes), dtype=torch.int32, pin_memory=device.type == "cuda")
    np.concatenate(arrays, out=staged.numpy(), casting="same_kind")
    return torch.split(staged.to(device, non_blocking=True), sizes)
