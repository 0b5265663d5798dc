"""Make encoders of many families, tiny and random, with tokenizers of their kinds."""

from pathlib import Path
from typing import Any

from tests.factories import VOCABULARY, make_reviews

SIZES = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.3,  # so that scores differ from review to review
}
ROBERTA = {"max_position_embeddings": 66, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
# Type -> its tokenizer (`make_tokenizer`), and values of its config.
TYPES = {
    "bert": ("wordpiece", {}),
    "distilbert": ("wordpiece", {}),
    "roberta": ("bpe", ROBERTA),
    "xlm-roberta": ("unigram", ROBERTA),
    "albert": ("unigram", {"embedding_size": 16}),
    "electra": ("wordpiece", {"embedding_size": 32}),
    "mpnet": ("wordpiece", ROBERTA),
    "deberta-v2": (
        "unigram",
        {
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "share_att_key": True,
            "type_vocab_size": 0,
        },
    ),
    "modernbert": (
        "bpe",
        {"cls_token_id": 0, "sep_token_id": 2, "pad_token_id": 1, "local_attention": 8},
    ),
}


def make_tokenizer(kind: str) -> Any:
    """Train a small tokenizer on generated reviews: [CLS] text [SEP] in the names that its family uses."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [*make_reviews(200)["text"], " ".join(VOCABULARY[5:])]
    if kind == "wordpiece":
        first, pad, last, unknown = "[CLS]", "[PAD]", "[SEP]", "[UNK]"
        tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer
    else:
        first, pad, last, unknown = "<s>", "<pad>", "</s>", "<unk>"
        tokenizer = Tokenizer(models.BPE() if kind == "bpe" else models.Unigram())
        if kind == "bpe":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer if kind == "bpe" else trainers.UnigramTrainer
    special = [first, pad, last, unknown]
    options = {"unk_token": unknown} if kind == "unigram" else {}
    tokenizer.train_from_iterator(
        texts, trainer(vocab_size=120, special_tokens=special, show_progress=False, **options)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=first, pad_token=pad, sep_token=last, unk_token=unknown
    )


def make_classifier(
    folder: Path, kind: str, labels: tuple[str, ...], dtype: str = "float32", **values: Any
) -> Path:
    """Save a random classifier of a family as `save_pretrained` does; one label gives one output.

    Its head tells clusters of generated reviews apart, so that all labels occur, with clear scores.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, logging, set_seed

    set_seed(0)
    logging.disable_progress_bar()
    kind_of_tokenizer, sizes = TYPES[kind]
    config = AutoConfig.for_model(
        kind,
        **{**SIZES, **sizes, **values},
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer = make_tokenizer(kind_of_tokenizer)
    _fit_head(model, tokenizer)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _fit_head(model: Any, tokenizer: Any) -> None:
    """Make the last layer score each text by its distances to the centres of clusters."""
    import torch
    from sklearn.cluster import KMeans

    n = model.config.num_labels
    last = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part.out_features == n][
        -1
    ]
    seen: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.inference_mode():
        for text in make_reviews(200)["text"]:
            ids = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")["input_ids"]
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    hook.remove()
    features = torch.cat(seen).reshape(200, -1).numpy()
    found = KMeans(max(2, n), n_init=1, random_state=0).fit(features)
    centres = torch.from_numpy(found.cluster_centers_).float()
    weight, bias = centres, -(centres**2).sum(1) / 2
    if n == 1:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    scale = 4 / (torch.from_numpy(features) @ weight.T + bias).std()
    with torch.no_grad():
        last.weight.copy_(weight * scale)
        last.bias.copy_(bias * scale)
