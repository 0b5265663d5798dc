"""Compute the last layer of an encoder only for the first token of each row: a classifier reads no other."""

from collections.abc import Callable
from typing import Any

import torch

FIRST_TOKEN_TYPES = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
"""`model_type`s whose classifier reads the first token alone, whose positions are learned and absolute, and
whose attention goes through transformers' AttentionInterface. A type belongs here once the tests compare it
with the whole, padded forward: of rows that are packed, an attention that is computed elsewhere (MPNet,
DeBERTa, XLNet) would ignore the bounds and mix the reviews without a word."""

Options = dict[str, Any]
Narrow = Callable[
    [torch.Tensor, torch.Tensor | None, Options], tuple[torch.Tensor, torch.Tensor | None, Options]
]
"""States (batch, tokens, width), mask and options that a layer gets, to those of the first tokens."""


def reads_first_token(config: Any) -> bool:
    """Return whether `narrow_last_layer` knows this encoder, which must attend both ways."""
    is_decoder = any(getattr(config, name, False) for name in ("is_decoder", "is_causal"))
    return config.model_type in FIRST_TOKEN_TYPES and not is_decoder


def narrow_last_layer(model: Any, narrow: Narrow) -> None:
    """Have `model`, a classifier for which `reads_first_token`, compute what it reads of its last layer.

    Its encoder then gives the states that `narrow` picked, and only them; its logits stay what they are.
    """
    layers = get_stack(model).layer
    layers[-1] = _FirstTokenLayer(layers[-1], narrow)


def get_stack(model: Any) -> Any:
    """Return the module that runs the layers one after another."""
    body = model.base_model
    return body.transformer if model.config.model_type == "distilbert" else body.encoder


def take_first_column(
    states: torch.Tensor, mask: torch.Tensor | None, options: Options
) -> tuple[torch.Tensor, torch.Tensor | None, Options]:
    """For rows that are padded on the right; `mask` is (batch, 1, queries, keys)."""
    return states[:, :1], None if mask is None else mask[:, :, :1], options


class _FirstTokenLayer(torch.nn.Module):
    """Compute `layer` for first tokens: keys and values are of all tokens, queries and the rest of the first.

    Where the inner width is four times the outer, that is a sixth of the layer's linear operations.
    """

    def __init__(self, layer: Any, narrow: Narrow) -> None:
        from transformers import AttentionInterface

        super().__init__()
        self.layer = layer
        self._narrow = narrow
        self._is_distilbert = hasattr(layer.attention, "q_lin")
        self._attend = AttentionInterface()[self._core.config._attn_implementation]

    @property
    def _core(self) -> Any:
        return self.layer.attention if self._is_distilbert else self.layer.attention.self

    def forward(
        self, states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **options: Any
    ) -> Any:
        first, mask, options = self._narrow(states, attention_mask, options)
        core = self._core
        names = ("q_lin", "k_lin", "v_lin") if self._is_distilbert else ("query", "key", "value")
        heads = (
            getattr(core, name)(x).view(*x.shape[:-1], -1, core.attention_head_size).transpose(1, 2)
            for name, x in zip(names, (first, states, states), strict=True)
        )
        attended, _weights = self._attend(core, *heads, mask, scaling=core.scaling, **options)
        return self._finish(attended.reshape(*first.shape[:-1], -1), first)

    def _finish(self, attended: torch.Tensor, first: torch.Tensor) -> Any:
        """Apply what a layer does with each token by itself, after attention."""
        layer = self.layer
        if not self._is_distilbert:
            return layer.feed_forward_chunk(layer.attention.output(attended, first))
        attended = layer.sa_layer_norm(layer.attention.out_lin(attended) + first)
        return layer.output_layer_norm(layer.ffn(attended) + attended)
