"""Make encoders of many families, tiny and random, with tokenizers of their kinds."""

from pathlib import Path
from typing import Any

from tests.factories import _BAD, _GOOD, VOCABULARY, make_reviews

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
    """Save a classifier of a family as `save_pretrained` does; one label gives one output.

    It has learned generated reviews for a few seconds, so that labels differ and scores are clear.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, logging, set_seed

    set_seed(0)
    logging.disable_progress_bar()
    kind_of_tokenizer, sizes = TYPES[kind]
    config = AutoConfig.for_model(
        kind,
        **{**SIZES, "initializer_range": 0.05, **sizes, **values},
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer = make_tokenizer(kind_of_tokenizer)
    _train(model, tokenizer)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _train(model: Any, tokenizer: Any) -> None:
    """Teach the labels that the word of feeling in a generated review gives it, until scores are clear."""
    import torch

    words = [*_GOOD, *_BAD]
    n = model.config.num_labels
    texts = make_reviews(160)["text"].tolist()
    truth = torch.tensor([next(i for i, w in enumerate(words) if w in t.split()) for t in texts])
    truth = truth // 5 if n < 3 else truth % n
    tokens = tokenizer(texts, truncation=True, max_length=32, padding=True, return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    # The vocabulary differs from run to run where pieces are equally frequent, so 25 passes may be too few.
    for n_passes in range(100):
        total = 0.0
        for rows in torch.randperm(len(texts)).split(32):
            logits = model(input_ids=ids[rows], attention_mask=mask[rows]).logits
            if n == 1:
                goal = (truth[rows, None] == 0).float()
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, goal)
            else:
                loss = torch.nn.functional.cross_entropy(logits, truth[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(rows)
        if n_passes >= 25 and total / len(texts) < 0.1:
            break
    model.eval()
