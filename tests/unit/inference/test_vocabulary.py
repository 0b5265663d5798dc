"""Texts of which an encoder knows next to nothing get no label."""

import json
import shutil

import pytest

from sentiment import schema
from sentiment.inference.predictor import Predictor
from sentiment.inference.tokenization import Tokenizer
from sentiment.inference.vocabulary import VOCABULARY_FILE, Vocabulary, load_vocabulary, make_vocabulary
from sentiment.training.encoders import load_encoder
from sentiment.training.packaging import save_encoder


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """MiniLM with a new head: its vocabulary is BERT's English one."""
    folder = tmp_path_factory.mktemp("minilm")
    save_encoder(load_encoder("minilm", 64, 0), folder, 64)
    return folder


def find_unknown(folder, texts):
    tokens = Tokenizer(folder).encode(texts)
    return load_vocabulary(folder).find_unknown(texts, tokens).tolist()


def test_the_vocabulary_says_which_scripts_an_encoder_reads(minilm):
    assert load_vocabulary(minilm) == Vocabulary(("LATIN",), 100)


@pytest.mark.parametrize(
    "text",
    [
        "😀😀😀",
        "👍 🎉",
        "a" * 100_000,
        "good " + "x" * 5_000,
        "这个产品很糟糕",
        "منتج سيء جدا",
        "Отличный товар, рекомендую",
        "これは very 良い商品です、本当に",
    ],
)
def test_what_an_english_encoder_cannot_read_is_unknown(minilm, text):
    assert find_unknown(minilm, [text]) == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Love it 😍 😍 😍 😍 😍 😍",
        "5/5",
        "10/10!!!",
        "!!!",
        "Très bon café, señor Müller",
        "Terrific",
        "The manual is in 中文 only, but it works",
        "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
        "see http://example.org/" + "a" * 40,
        "It\u2019s \u201cfine\u201d \u2014 for €5",
    ],
)
def test_what_it_can_read_is_known(minilm, text):
    assert find_unknown(minilm, [text]) == [False]


def test_a_multilingual_vocabulary_reads_its_scripts(minilm, tmp_path):
    content = json.loads((minilm / "tokenizer.json").read_text())
    words = [a + b for a in "абвгдежзик" for b in "лмнопрсту"] * 2
    vocabulary = content["model"]["vocab"]
    for word in (*words, *(f"##{word}" for word in words)):
        vocabulary.setdefault(word, len(vocabulary))
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert make_vocabulary(tmp_path, 100).scripts == ("CYRILLIC", "LATIN")
    assert find_unknown(tmp_path, ["Отличный товар", "منتج"]) == [False, True]


def test_a_script_of_one_letter_words_is_known_by_the_number_of_its_letters(minilm, tmp_path):
    """As in a Chinese BERT, whose tokenizer makes a token of each character."""
    content = json.loads((minilm / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    for point in range(0x4E00, 0x4E00 + 7_000):
        vocabulary.setdefault(chr(point), len(vocabulary))
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert make_vocabulary(tmp_path, 100).scripts == ("CJK", "LATIN")
    assert find_unknown(tmp_path, ["丙丁专且"]) == [False]


def test_an_unknown_text_is_a_reject_with_a_reason_of_its_own(minilm):
    found = Predictor(minilm).predict(["good phone", "😀", "", "😀"])
    unknown = schema.UNKNOWN_TEXT
    assert found[schema.REJECT_REASON].tolist() == [None, unknown, schema.BLANK_TEXT, unknown]
    assert found[schema.LABEL].notna().tolist() == [True, False, False, False]
    assert not found[schema.UNSURE].any()


def test_a_tokenizer_without_unknown_token_is_judged_by_letters(minilm, tmp_path):
    shutil.copyfile(minilm / "tokenizer.json", tmp_path / "tokenizer.json")
    (tmp_path / VOCABULARY_FILE).write_text('{"scripts": ["LATIN"], "unknown_id": null}')
    assert find_unknown(tmp_path, ["😀", "商品"]) == [False, True]
