import json
import os
import random

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from sentiment.config import FinetuneConfig
from sentiment.evaluation.judged import judge_reviews
from sentiment.evaluation.metrics import measure
from sentiment.inference import tokenization
from sentiment.inference.minibatches import pad_rows
from sentiment.inference.predictor import Predictor
from sentiment.inference.settings import load_settings
from sentiment.inference.tokenization import HEAD, HEAD_TAIL, Tokenizer
from sentiment.training import trainer
from sentiment.training.encoders import load_encoder, make_tokenizer
from sentiment.training.packaging import save_encoder
from sentiment.training.tokens import pad_batch, tokenize, tokenize_once
from tests.factories import VOCABULARY, make_reviews, make_splits, make_tiny_encoder

MAX_LENGTH = 16
WORDS = [*VOCABULARY[5:], "Great", "GOOD", "café", "unknown", "[SEP]", "[PAD]", "\x00"]


def make_texts(n, seed=0):
    """Return texts of 1 to 60 words, some of them special tokens, capitals or unknown words."""
    words = random.Random(seed)
    return [" ".join(words.choices(WORDS, k=words.randint(1, 60))) for _ in range(n)]


def change_tokenizer(folder, **values):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def load(folder):
    return load_encoder(str(folder), MAX_LENGTH, seed=1)


def tokenize_texts(encoder, truncation, texts, **options):
    rows = Dataset.from_dict({"text": texts, "label": [0] * len(texts)})
    return tokenize(rows, make_tokenizer(encoder, MAX_LENGTH, truncation), **options)["input_ids"]


@pytest.mark.parametrize("truncation", [HEAD, HEAD_TAIL])
@pytest.mark.parametrize(
    "stated",
    [
        {"truncation_side": "left"},
        {"truncation_side": "right"},
        {"padding_side": "left", "pad_token": None},
        {"model_max_length": 8},
    ],
    ids=str,
)
def test_training_reads_the_tokens_that_scoring_reads(tmp_path, truncation, stated):
    change_tokenizer(make_tiny_encoder(tmp_path / "encoder"), **stated)
    encoder = load(tmp_path / "encoder")
    save_encoder(encoder, tmp_path / "packaged", MAX_LENGTH, truncation)
    texts = make_texts(2_000)
    scored = Tokenizer(tmp_path / "packaged", load_settings(tmp_path / "packaged").truncation).encode(texts)
    trained = list(tokenize_texts(encoder, truncation, texts))
    assert trained == [ids.tolist() for ids in scored.ids]
    assert scored.truncated.sum() > 1_000


def test_the_library_alone_would_read_other_tokens(tmp_path):
    """So the test above can fail."""
    change_tokenizer(make_tiny_encoder(tmp_path), truncation_side="left")
    encoder = load(tmp_path)
    texts = make_texts(100)
    library = encoder.tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    assert library != list(tokenize_texts(encoder, HEAD, texts))


def test_rows_are_tokenised_once(tmp_path, monkeypatch):
    encoder = load(make_tiny_encoder(tmp_path / "encoder"))
    texts = make_texts(200)
    rows = Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(200)], "group": texts})
    tokenizer = make_tokenizer(encoder, MAX_LENGTH, HEAD_TAIL)
    released = []
    path = tokenize_once(rows, tokenizer, lambda: released.append(True))
    assert released == [True]
    found = Dataset.from_file(path)
    assert found.column_names == ["input_ids", "labels"]
    assert found["labels"][:3] == [0, 1, 0]
    assert str(found.features["input_ids"].feature.dtype) == "int32"
    assert list(found["input_ids"]) == [ids.tolist() for ids in tokenizer.encode(texts).ids]
    monkeypatch.setattr(Tokenizer, "encode", None)
    assert tokenize_once(rows, make_tokenizer(encoder, MAX_LENGTH, HEAD_TAIL)) == path
    with pytest.raises(TypeError):
        tokenize_once(rows, make_tokenizer(encoder, MAX_LENGTH, HEAD))
    (tmp_path / "tokenization.py").write_text("another cut")
    with monkeypatch.context() as patch:
        patch.setattr(tokenization, "__file__", str(tmp_path / "tokenization.py"))
        with pytest.raises(TypeError):
            tokenize_once(rows, tokenizer)
    os.truncate(path, 1000)
    with pytest.raises(TypeError):
        tokenize_once(rows, tokenizer)


def test_a_process_on_another_machine_makes_its_own_tokens(tmp_path, monkeypatch):
    """It ended, because the file of the main process was not there, and the others waited for it."""
    encoder = load(make_tiny_encoder(tmp_path / "encoder"))
    rows = make_reviews(40)
    monkeypatch.setattr(trainer, "share", lambda make: "/on/another/machine/tokens.arrow")
    tokenizer = make_tokenizer(encoder, MAX_LENGTH, HEAD)
    found = trainer._tokenize_train(make_splits(rows, rows[:2], rows[:2]), tokenizer)
    assert list(found["input_ids"]) == [ids.tolist() for ids in tokenizer.encode(rows["text"].tolist()).ids]


def test_a_batch_is_padded_as_for_scoring():
    rows = [{"input_ids": [2, 7, 3], "labels": 1}, {"input_ids": [2, 3], "labels": 0}]
    found = pad_batch(rows, pad_id=9)
    ids, mask = pad_rows([np.array(row["input_ids"]) for row in rows], 9)
    assert found["input_ids"].tolist() == ids.tolist() == [[2, 7, 3], [2, 3, 9]]
    assert found["attention_mask"].tolist() == mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert found["labels"].tolist() == [1, 0]


def make_late_verdicts(n, seed):
    """Return reviews of 60 words of which only the last one says whether they are positive."""
    words = random.Random(seed)
    filler = ["the", "battery", "screen", "it", "works", "is", "and", "very", "phone"]
    rows = [
        (" ".join([*words.choices(filler, k=59), words.choice(verdicts)]), label)
        for _ in range(n // 2)
        for label, verdicts in enumerate((("bad", "awful", "hate"), ("good", "great", "love")))
    ]
    return pd.DataFrame(rows, columns=["text", "label"])


@pytest.mark.slow
@pytest.mark.parametrize(("truncation", "least", "most"), [(HEAD_TAIL, 0.98, 1.0), (HEAD, 0.3, 0.7)])
def test_a_verdict_in_the_last_word_is_learnt_from_the_tail(tmp_path, truncation, least, most):
    encoder = load(make_tiny_encoder(tmp_path / "encoder", initializer_range=0.05))
    splits = make_splits(*(make_late_verdicts(n, seed) for seed, n in enumerate((320, 40, 100))))
    config = FinetuneConfig(
        max_length=MAX_LENGTH, truncation=truncation, lr=3e-3, epochs=3, train_batch_size=16
    )
    trainer.finetune_encoder(encoder, splits, config, lambda *_: None, lambda *_: None)
    save_encoder(encoder, tmp_path / "packaged", MAX_LENGTH, truncation)
    found = measure(judge_reviews(Predictor(tmp_path / "packaged", probabilities=True), splits.test))
    assert least <= found.accuracy <= most
