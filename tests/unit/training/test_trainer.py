from functools import partialmethod

import pytest
import torch

from sentiment.config import FinetuneConfig
from sentiment.errors import ConfigError
from sentiment.inference.engines.reference import load_classifier
from sentiment.training.encoders import load_encoder
from sentiment.training.trainer import finetune_encoder, freeze_first_layers
from tests.factories import make_reviews, make_splits, make_tiny_encoder
from tests.families import SIZES


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


def test_the_projection_of_narrower_embeddings_is_not_trained_either():
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model("electra", **{**SIZES, "embedding_size": 16})
    model = AutoModelForSequenceClassification.from_config(config)
    freeze_first_layers(model, 1)
    assert not any("embed" in name for name in names_of_trained(model))


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


def compile_by(monkeypatch, backend):
    """Let torch compile by another backend than Inductor, which needs a compiler and a minute."""
    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compile_, backend=backend))


def tune(folder, **changes):
    """Tune a tiny encoder without dropout and return it."""
    config = FinetuneConfig(
        distilbert_model=str(folder),
        lr=1e-3,
        epochs=1,
        max_length=32,
        train_tokens=200,
        evaluations=2,
        **changes,
    )
    encoder = load_encoder(str(folder), 32, config.seed)
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):  # compiled, it draws other numbers
            module.p = 0.0
    rows = make_reviews(60)
    splits = make_splits(rows[:40], rows[40:50], rows[50:])
    finetune_encoder(encoder, splits, config, lambda *_: None, lambda *_: None)
    return encoder.model


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.reliability)])
def test_a_compiled_encoder_trains_to_nearly_the_same_weights(tmp_path, monkeypatch, one_thread, backend):
    make_tiny_encoder(tmp_path, initializer_range=0.05)
    graphs = []

    def note(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    expected = tune(tmp_path).state_dict()
    compile_by(monkeypatch, note)
    found = tune(tmp_path, torch_compile=True)
    assert graphs
    assert len(graphs) < 10, "each shape of a mini-batch was compiled"
    assert found.state_dict().keys() == expected.keys()
    for name, weights in found.state_dict().items():
        assert torch.allclose(weights, expected[name], atol=1e-4), name
    # What reads the model afterwards, such as the export, meets no compiled call.
    assert found._compiled_call_impl is None


@pytest.mark.slow
def test_an_encoder_that_torch_cannot_compile_is_a_clear_error(tmp_path, monkeypatch, one_thread):
    def fail(graph, inputs):
        raise RuntimeError("no working C++ compiler found\nand many more lines")

    make_tiny_encoder(tmp_path)
    compile_by(monkeypatch, fail)
    with pytest.raises(
        ConfigError, match="torch_compile: torch .* cannot compile this encoder.*omit"
    ) as caught:
        tune(tmp_path, torch_compile=True)
    assert "no working C++ compiler found" in str(caught.value)
    assert "many more" not in str(caught.value)
