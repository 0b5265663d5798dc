"""Encoders of many types, tiny and random: which engine each gets, and what is found before training."""

import numpy as np
import pytest

from sentiment.inference.engines import REFERENCE
from sentiment.inference.predictor import Predictor
from sentiment.inference.selfcheck import Deviation
from sentiment.inference.settings import load_settings
from sentiment.training import quantization
from sentiment.training.encoders import load_encoder
from sentiment.training.packaging import save_encoder
from sentiment.training.rehearsal import rehearse
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
    "modernbert": ("bpe", {"cls_token_id": 0, "sep_token_id": 2, "pad_token_id": 1}),
}


def make_tokenizer(kind):
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


def make_encoder(folder, kind, tokenizer, **values):
    from transformers import AutoConfig, AutoModel, set_seed

    set_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, **{**SIZES, **values})).save_pretrained(folder)
    make_tokenizer(tokenizer).save_pretrained(folder)
    return load_encoder(str(folder), 32, 1)


@pytest.fixture
def lenient(monkeypatch):
    """Bounds that any rounding keeps: what is random is sensitive to it."""
    for bound in ("MAX_ACCURACY_LOSS_POINTS", "MAX_FLIP_SHARE", "MAX_MEAN_SHIFT"):
        monkeypatch.setattr(quantization, bound, 20)
    monkeypatch.setattr(Deviation, "is_within_bounds", True)


@pytest.mark.parametrize("kind", TYPES)
def test_encoders_of_many_types_are_exported_and_agree_with_the_reference(tmp_path, lenient, kind):
    tokenizer, values = TYPES[kind]
    encoder = make_encoder(tmp_path / "encoder", kind, tokenizer, **values)
    assert rehearse(encoder, 32, "head_tail") is None
    folder = tmp_path / "packaged"
    save_encoder(encoder, folder, 32, "head_tail")
    reviews = make_reviews(40)
    quantization.quantize(folder, reviews["text"].tolist(), reviews, lambda *_: None)
    assert load_settings(folder).cpu_engine != REFERENCE, load_settings(folder).cpu_engine_reason
    expected = Predictor(folder, engine=REFERENCE).predict(reviews["text"].tolist())
    for engine in ("auto", "f32"):
        found = Predictor(folder, engine=engine).predict(reviews["text"].tolist())
        assert found["reject_reason"].isna().all()
        assert np.abs(positive(found) - positive(expected)).mean() < 0.02, engine
    assert positive(expected).std() > 0.02


def positive(predictions):
    return np.where(predictions["label"] == "positive", predictions["score"], 1 - predictions["score"])
