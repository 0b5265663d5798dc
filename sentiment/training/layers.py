"""Find the layers and the embeddings of an encoder, whatever its type calls them."""

from typing import Any

from ..errors import ConfigError


def find_layers(model: Any) -> list[Any] | None:
    """Return the layers of an encoder, lowest first; None if they are shared, or in several stacks."""
    stacks = list(_find_stacks(model).values())
    stated = getattr(model.config, "num_hidden_layers", None)
    return list(stacks[0]) if len(stacks) == 1 and len(stacks[0]) == stated else None


def get_layers(model: Any) -> list[Any]:
    """Return the layers of an encoder, lowest first; raise ConfigError for `lr_decay` if there are none."""
    layers = find_layers(model)
    if layers is None:
        raise ConfigError(
            "lr_decay: expected an encoder with one stack of layers, each with weights of its own, found a "
            f"{model.config.model_type}; omit --lr_decay"
        )
    return layers


def get_first_layers(model: Any, trained_layers: int) -> list[Any]:
    """Return the embeddings and all but the last `trained_layers` layers of an encoder.

    Raises ConfigError if the encoder is not of the BERT family, or has fewer layers.
    """
    from ..inference.engines.first_token import FIRST_TOKEN_TYPES, get_stack

    if model.config.model_type not in FIRST_TOKEN_TYPES:
        raise ConfigError(
            f"trained_layers: expected an encoder of type {', '.join(sorted(FIRST_TOKEN_TYPES))}, found "
            f"{model.config.model_type}; omit --trained_layers to train all layers"
        )
    layers = get_stack(model).layer
    if trained_layers > len(layers):
        raise ConfigError(
            f"trained_layers: the encoder has {len(layers)} layers, found {trained_layers}; pass a smaller "
            "--trained_layers, or omit it to train all layers and the embeddings"
        )
    return [*find_embeddings(model), *layers[:-trained_layers]]


def find_embeddings(model: Any) -> list[Any]:
    """Return the modules of the embeddings of an encoder, with what projects and normalises them.

    A layer may have embeddings too, of relative positions: they are its own.
    """
    import torch

    inside = tuple(f"{stack}." for stack in _find_stacks(model))
    return [
        module
        for name, module in model.base_model.named_modules()
        if (isinstance(module, torch.nn.Embedding) or "embed" in name) and not name.startswith(inside)
    ]


def _find_stacks(model: Any) -> dict[str, Any]:
    """Return the lists of modules of the body by name; not those inside of others, as a layer may have."""
    import torch

    lists = {
        name: module
        for name, module in model.base_model.named_modules()
        if isinstance(module, torch.nn.ModuleList)
    }
    inside = tuple(f"{name}." for name in lists)
    return {name: module for name, module in lists.items() if not name.startswith(inside)}
