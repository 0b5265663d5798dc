"""Load a classifier that was trained elsewhere, and refuse one that does not give one label per text."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .. import schema
from ..errors import SentimentError, UnusableClassifierError
from .class_names import choose_labels
from .classifier_files import UNKNOWN, ClassifierFiles
from .data.labels import clean_label
from .encoders import (
    Encoder,
    check_length,
    check_readable,
    find_max_length,
    silencing_transformers,
)
from .tokenizer_check import prepare_tokenizer
from .weights import LAYER, check_finite, note_sources

# Longer reviews are rare, and cost more than they are worth.
DEFAULT_MAX_LENGTH = 512
# Labels of models that compare two texts (natural language inference).
_PAIR_LABELS = {"entailment", "contradiction"}
# Keys of config.json with which sentence-transformers marks a model that compares two texts.
_PAIR_KEYS = ("sbert_ce_default_activation_function", "sentence_transformers")
# Tensors that a classifier does not read although nothing is cut: heads of pre-training, poolers that its
# type lacks, buffers of older versions of transformers, and weights of the loss.
_LEFTOVER = re.compile(
    r"^(cls\.(predictions|seq_relationship)|lm_(head|loss|predictions)|mask_predictions|predictions"
    r"|(generator|discriminator)_predictions|generator_lm_head|sop_classifier|pred_layer"
    r"|vocab_(transform|layer_norm|projector)|decoder(?=\.(weight|bias)$))\."
    r"|(^|\.)pooler\.|(^|\.)(position_ids|token_type_ids|inv_freq|attn\.bias|(attn|attention)\.masked_bias)$"
    r"|(^|\.)(loss(_\w+)?|criterion|class_weights?)(\.|$)"
)


def load_classifier(files: ClassifierFiles, labels_from: str) -> Encoder:
    """Load a classifier in float32 with its tokenizer; `labels_from` as for `class_names.choose_labels`.

    Raises UnusableClassifierError if it gives several labels or a number, lacks a head, or cannot be loaded;
    EncoderUnavailableError if its tokenizer does not fit; ConfigError if its labels have no names.
    """
    import transformers

    check_readable(files.weights)
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        with silencing_transformers():
            config = transformers.AutoConfig.from_pretrained(files.weights, **options)
            check_kind(files.name, config)
            model, found = _load_model(files)
            tokenizer = transformers.AutoTokenizer.from_pretrained(files.tokenizer, use_fast=True, **options)
    except SentimentError:
        raise
    # transformers runs the code of a model type, which may raise anything.
    except Exception as error:
        raise UnusableClassifierError(_explain_failure(files.name, error)) from error
    _check_weights(files.name, model, config, found)
    labels = choose_labels(_list_names(config), labels_from)
    switched_off = prepare_tokenizer(files.name, files.tokenizer, options, model, tokenizer)
    _name_outputs(model, labels)
    notes = (
        *_list_notes(files, config, labels, tokenizer.truncation_side),
        *_note_unread(found),
        *note_sources(files.weights, config),
        *switched_off,
    )
    return Encoder(files.name, model, tokenizer, files.licence, notes, False, labels)


def choose_max_length(encoder: Encoder, given: int | None) -> int:
    """Return the tokens to read: `given`, else what tokenizer and encoder can read, at most 512.

    Raises ConfigError if the encoder cannot read `given` tokens.
    """
    if given is not None:
        check_length(encoder, given)
        return given
    stated = [encoder.tokenizer.model_max_length, find_max_length(encoder)]
    return min(DEFAULT_MAX_LENGTH, *(int(limit) for limit in stated if limit is not None and limit > 0))


def check_kind(name: str, config: Any) -> None:
    """Raise UnusableClassifierError if the config is not that of a classifier with one label per text."""
    kinds = config.architectures or ()
    n_outputs = len(config.id2label)
    stated = {str(label).lower() for label in config.id2label.values()}
    problem = None
    if kinds and not any("SequenceClassification" in kind for kind in kinds):
        problem = f"is a {kinds[0]}, expected a sequence classifier; fine-tune it with jobs/finetune.py"
    elif config.problem_type == "regression":
        problem = "gives a number (problem_type regression), expected classes; pass another --model"
    elif config.problem_type == "multi_label_classification" and n_outputs > 1:
        problem = (
            f"gives each of {n_outputs} labels its own yes or no (multi_label_classification), expected one "
            "label per text; pass a model with single_label_classification"
        )
    elif stated & _PAIR_LABELS or any(hasattr(config, key) for key in _PAIR_KEYS):
        problem = "compares two texts (a cross-encoder), expected one that labels a single text"
    elif getattr(config, "quantization_config", None) is not None:
        problem = "has quantised weights, expected float weights; pass the model that it was made from"
    if problem is not None:
        raise UnusableClassifierError(f"model {name!r}: {problem}")


def _explain_failure(name: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    return (
        f"model {name!r}: transformers cannot load it ({type(error).__name__}: {reason}); expected "
        "config.json, model.safetensors and tokenizer.json of a type that transformers knows (code of a "
        "model's own is never run); pass another --model"
    )


def _load_model(files: ClassifierFiles) -> tuple[Any, Mapping[str, Any]]:
    import torch
    import transformers

    model, found = transformers.AutoModelForSequenceClassification.from_pretrained(
        files.weights,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # `_check_weights` names them
        output_loading_info=True,
    )
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False  # as in `encoders`
    return model, found


def _check_weights(name: str, model: Any, config: Any, found: Mapping[str, Any]) -> None:
    """Raise UnusableClassifierError if a tensor would be random, or the weights belong to other code."""
    body = f"{model.base_model_prefix}."
    missing = sorted(found["missing_keys"])
    sizes = sorted(str(key[0]) for key in found["mismatched_keys"])
    head = [key for key in missing if not key.startswith(body)]
    if head and len(head) == len(missing):
        raise UnusableClassifierError(
            f"model {name!r}: has no classification head ({', '.join(head)} missing), so its labels would be "
            "random; expected a fine-tuned classifier; fine-tune it with jobs/finetune.py --distilbert_model"
        )
    if missing or sizes:
        raise UnusableClassifierError(
            f"model {name!r}: its weights do not fit its config.json: {len(missing)} tensors are missing and "
            f"{len(sizes)} have another size, such as {[*missing, *sizes][0]}; expected the weights of a "
            f"classifier of type {config.model_type}; pass another --model"
        )
    has_code = "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {})
    if has_code and found["unexpected_keys"]:
        raise UnusableClassifierError(
            f"model {name!r}: needs code of its own, which is never run; expected a type of transformers; "
            "pass another --model"
        )
    _check_unread(name, config, body, found["unexpected_keys"])
    check_finite(name, model.named_parameters())


def _check_unread(name: str, config: Any, body: str, keys: Collection[str]) -> None:
    """Raise UnusableClassifierError if tensors are of layers or of a head that config.json does not use."""
    unread = sorted(key for key in keys if not _LEFTOVER.search(key))
    layers = [key for key in unread if LAYER.search(key)]
    heads = [key for key in unread if not key.startswith(body)]
    if layers:
        raise UnusableClassifierError(
            f"model {name!r}: {len(layers)} tensors of its weights, such as {layers[0]}, are of layers that "
            "its config.json does not use, so the model would be cut; expected as many layers in both; "
            "correct the number of layers in its config.json, or pass another --model"
        )
    if heads:
        raise UnusableClassifierError(
            f"model {name!r}: {len(heads)} tensors of its weights, such as {heads[0]}, are of a head that a "
            f"classifier of type {config.model_type} does not have, so its labels would be others than "
            "those of its author; expected the weights of a sequence classifier of transformers; pass "
            "another --model"
        )


def _note_unread(found: Mapping[str, Any]) -> tuple[str, ...]:
    keys = sorted(found["unexpected_keys"])
    if not keys:
        return ()
    return (
        f"{len(keys)} tensors of its weights, such as {keys[0]}, are not used: classifiers do not read them",
    )


def _list_names(config: Any) -> tuple[str, ...]:
    """Return the names of the outputs in order. Raises UnusableClassifierError if two facts differ.

    Names that differ only in case, spaces and final dots are one name, as everywhere.
    """
    names = {int(i): str(name) for i, name in config.id2label.items()}
    holders: dict[str | None, set[int]] = {}
    for i, name in names.items():
        holders.setdefault(clean_label(name), set()).add(i)
    # Names that no output has are left out: many a config.json has a default label2id.
    stated = [(clean_label(str(name)), int(i)) for name, i in (config.label2id or {}).items()]
    is_same = all(i in holders.get(name, {i}) for name, i in stated)
    if sorted(names) != list(range(len(names))) or not is_same:
        raise UnusableClassifierError(
            "model: config.json contradicts itself: id2label and label2id do not give the classes the same "
            "numbers from 0 on (case, spaces and final dots do not count); correct its config.json, or look "
            "the classes up in the model card"
        )
    return tuple(names[i] for i in sorted(names))


def _name_outputs(model: Any, labels: Sequence[str]) -> None:
    """Give the packaged config.json the same labels; a head of one output has only one."""
    if model.config.num_labels == len(labels):
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: i for i, label in enumerate(labels)}


def _list_notes(
    files: ClassifierFiles, config: Any, labels: Sequence[str], truncation_side: str
) -> tuple[str, ...]:
    notes = []
    if truncation_side == "left":
        notes.append(
            "its tokenizer keeps the end of a long review, which is not possible here: labels of long "
            "reviews may differ from those elsewhere; --truncation head_tail keeps both ends"
        )
    usual = next(
        (
            known
            for known in (schema.POLARITY_LABELS, schema.THREE_WAY_LABELS)
            if {label.lower() for label in labels} == set(known) and set(labels) != set(known)
        ),
        None,
    )
    if usual:
        renamed = ",".join(f"{label}={label.lower()}" for label in labels)
        notes.append(
            f"its labels are spelled unlike those of other models here ({', '.join(usual)}); to spell them "
            f'alike, pass --labels_from "{renamed}"'
        )
    dtype = str(getattr(config, "dtype", None)).rpartition(".")[2]
    if dtype in ("float16", "bfloat16"):
        notes.append(f"its {dtype} weights were cast to float32")
    if files.licence == UNKNOWN:
        notes.append("no model card states a licence; find out that you may use the model")
    return tuple(notes)
