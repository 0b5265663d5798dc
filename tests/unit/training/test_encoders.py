import pytest

from sentiment.errors import ConfigError, EncoderUnavailableError
from sentiment.training import encoders
from sentiment.training.encoders import load_encoder
from tests.factories import make_tiny_encoder


def test_minilm_comes_with_its_package():
    encoder = load_encoder("minilm", max_length=128, seed=1)
    assert encoder.model.config.num_hidden_layers == 6
    assert encoder.model.config.id2label == {0: "negative", 1: "positive"}
    assert encoder.licence == "apache-2.0"


def test_the_seed_decides_the_new_head(tmp_path):
    from transformers import BertConfig, BertModel

    make_tiny_encoder(tmp_path)
    BertModel(BertConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)  # an encoder has no head
    heads = [load_encoder(str(tmp_path), 32, seed).model.classifier.weight for seed in (1, 1, 2)]
    assert heads[0].equal(heads[1])
    assert not heads[0].equal(heads[2])


def test_another_architecture_of_the_family_loads(tmp_path):
    from transformers import DistilBertConfig, DistilBertModel

    make_tiny_encoder(tmp_path)
    config = DistilBertConfig(vocab_size=40, dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    DistilBertModel(config).save_pretrained(tmp_path)
    assert load_encoder(str(tmp_path), 32, 1).model.config.model_type == "distilbert"


def test_a_hub_that_does_not_answer_is_said_and_minilm_named(monkeypatch):
    monkeypatch.setattr(encoders, "find_cached_or_hub", lambda name: {"local_files_only": True})
    with pytest.raises(EncoderUnavailableError, match="the hub does not answer.*--distilbert_model minilm"):
        load_encoder("distilbert-base-uncased-none", 128, 1)


def test_a_folder_without_an_encoder_is_an_error(tmp_path):
    with pytest.raises(EncoderUnavailableError, match="has no encoder"):
        load_encoder(str(tmp_path), 128, 1)


def test_more_tokens_than_the_encoder_reads_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="reads at most 64"):
        load_encoder(str(make_tiny_encoder(tmp_path)), 65, 1)
