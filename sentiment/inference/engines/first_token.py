"""Compute the last layer of an encoder only for the first token of each row: classifiers read no other."""

from collections.abc import Callable
from typing import Any

import torch

# Types of encoders whose classifier reads only the first token, whose positions are learned and absolute, and
# whose attention uses transformers' AttentionInterface. Add a type only with a test that compares it with the
# whole, padded forward pass: other attentions (MPNet, DeBERTa, XLNet) would ignore the bounds of packed rows
# and silently mix reviews.
FIRST_TOKEN_TYPES = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})

Options = dict[str, Any]
# Reduces the input of a layer, states (batch, tokens, width), mask and options, to the first tokens.
Narrow = Callable[
    [torch.Tensor, torch.Tensor | None, Options], tuple[torch.Tensor, torch.Tensor | None, Options]
]


def reads_first_token(config: Any) -> bool:
    """Return True if `narrow_last_layer` supports this encoder, which must not be a decoder."""
    is_decoder = any(getattr(config, name, False) for name in ("is_decoder", "is_causal"))
    return config.model_type in FIRST_TOKEN_TYPES and not is_decoder


def narrow_last_layer(model: Any, narrow: Narrow) -> None:
    """Change `model` in place to compute its last layer only for the states that `narrow` picks.

    `reads_first_token` must be true. The encoder then returns only these states; the logits do not change.
    """
    layers = get_stack(model).layer
    layers[-1] = _FirstTokenLayer(layers[-1], narrow)


def get_stack(model: Any) -> Any:
    """Return the module that holds the layers of the encoder."""
    body = model.base_model
    return body.transformer if model.config.model_type == "distilbert" else body.encoder


def take_first_column(
    states: torch.Tensor, mask: torch.Tensor | None, options: Options
) -> tuple[torch.Tensor, torch.Tensor | None, Options]:
    """Pick the first token of right-padded rows; `mask` is (batch, 1, queries, keys)."""
    return states[:, :1], None if mask is None else mask[:, :, :1], options


class _FirstTokenLayer(torch.nn.Module):
    """Compute a layer for first tokens: keys and values come from all tokens, the rest from the first only.

    This takes a sixth of the layer's linear operations if the inner width is four times the outer.
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
        """Apply the rest of the layer, which treats each token separately."""
        layer = self.layer
        if not self._is_distilbert:
            return layer.feed_forward_chunk(layer.attention.output(attended, first))
        attended = layer.sa_layer_norm(layer.attention.out_lin(attended) + first)
        return layer.output_layer_norm(layer.ffn(attended) + attended)
