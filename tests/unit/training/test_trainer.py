import pytest
import torch

from sentiment.errors import ConfigError
from sentiment.inference.engines.reference import load_classifier
from sentiment.training.trainer import freeze_first_layers
from tests.factories import make_tiny_encoder


def names_of_trained(model):
    return {name for name, weights in model.named_parameters() if weights.requires_grad}


def test_only_the_last_layers_and_the_head_are_trained(tmp_path):
    model = load_classifier(make_tiny_encoder(tmp_path))
    freeze_first_layers(model, 1)
    assert {name.partition(".weight")[0].partition(".bias")[0] for name in names_of_trained(model)} >= {
        "bert.pooler.dense",
        "classifier",
    }
    assert not any("embeddings" in name or "layer.0." in name for name in names_of_trained(model))
    assert any("layer.1." in name for name in names_of_trained(model))


def test_frozen_layers_have_no_dropout_and_the_others_keep_theirs(tmp_path):
    model = load_classifier(make_tiny_encoder(tmp_path))
    freeze_first_layers(model, 1)
    first, last = (
        {module.p for module in layer.modules() if isinstance(module, torch.nn.Dropout)}
        for layer in model.bert.encoder.layer
    )
    assert (first, last) == ({0.0}, {0.1})


def test_all_layers_may_be_trained_without_the_embeddings(tmp_path):
    model = load_classifier(make_tiny_encoder(tmp_path))
    freeze_first_layers(model, 2)
    assert {"layer.0." in name for name in names_of_trained(model)} == {True, False}
    assert not any("embeddings" in name for name in names_of_trained(model))


def test_more_layers_than_the_encoder_has_are_refused(tmp_path):
    """All layers were trained, but not the embeddings, and nothing was said."""
    model = load_classifier(make_tiny_encoder(tmp_path))
    with pytest.raises(ConfigError, match="trained_layers: the encoder has 2 layers, found 3"):
        freeze_first_layers(model, 3)


def test_an_encoder_whose_layers_are_not_known_is_refused(tmp_path):
    model = load_classifier(make_tiny_encoder(tmp_path))
    model.config.model_type = "gpt2"
    with pytest.raises(ConfigError, match="trained_layers.*gpt2"):
        freeze_first_layers(model, 1)
