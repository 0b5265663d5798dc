"""What the training loop adds to the Trainer: the loss, rates by layer, smaller steps if memory is full."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sentiment.config import FinetuneConfig
from sentiment.errors import ConfigError, TrainingError
from sentiment.inference.engines.reference import load_classifier
from sentiment.training import loop, starting
from sentiment.training.encoders import load_encoder
from sentiment.training.loop import group_by_layer, make_loss
from sentiment.training.trainer import finetune_encoder
from tests.factories import make_reviews, make_splits, make_tiny_encoder
from tests.families import SIZES, TYPES, make_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

LOGITS = torch.tensor([[2.0, -1.0], [0.5, 0.0], [0.0, 3.0]])
LABELS = torch.tensor([0, 1, 1])
ARGUMENTS = SimpleNamespace(learning_rate=1.0, weight_decay=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"), initializer_range=0.05)


def test_the_loss_is_the_mean_over_the_reviews():
    expected = torch.nn.functional.cross_entropy(LOGITS, LABELS)
    assert torch.isclose(make_loss(0.0)({"logits": LOGITS}, LABELS), expected)


def test_the_losses_of_parts_add_up_to_the_loss():
    loss = make_loss(0.1)
    parts = [loss({"logits": LOGITS[a:b]}, LABELS[a:b], torch.tensor(3)) for a, b in ((0, 1), (1, 3))]
    assert torch.isclose(sum(parts), loss({"logits": LOGITS}, LABELS))


def test_smoothed_labels_punish_certainty():
    sure = {"logits": torch.tensor([[20.0, -20.0]])}
    label = torch.tensor([0])
    assert make_loss(0.1)(sure, label) > make_loss(0.0)(sure, label) + 1


def test_rates_fall_from_the_head_to_the_embeddings(folder):
    model = load_classifier(folder)
    groups = group_by_layer(model, {"classifier.weight"}, 0.5, ARGUMENTS)
    rates = {id(weights): group["lr"] for group in groups for weights in group["params"]}
    layers = model.bert.encoder.layer
    found = [
        rates[id(weights)]
        for weights in (
            model.classifier.weight,
            layers[1].output.dense.weight,
            layers[0].output.dense.weight,
            model.bert.embeddings.word_embeddings.weight,
        )
    ]
    assert found == [1.0, 0.5, 0.25, 0.125]
    assert groups[0]["lr"] == 1.0  # the Trainer logs the rate of the first group
    assert [group["weight_decay"] for group in groups].count(0.1) == 1
    assert len(rates) == len(list(model.parameters()))


def test_frozen_weights_are_in_no_group(folder):
    model = load_classifier(folder)
    model.bert.embeddings.requires_grad_(False)
    names = [name for name, _ in model.named_parameters() if "embeddings" in name]
    groups = group_by_layer(model, set(), 0.5, ARGUMENTS)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters())) - len(names)


def make_model(kind, **values):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(kind, **{**SIZES, "pad_token_id": 1, **values})
    return AutoModelForSequenceClassification.from_config(config)


SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
SEQ2SEQ |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "eos_token_id": 2}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("albert", {"embedding_size": 16}),
        ("t5", {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 2, "num_layers": 2, "eos_token_id": 2}),
        ("bart", SEQ2SEQ),
    ],
)
def test_an_encoder_without_layers_of_its_own_has_no_rates_by_layer(kind, values):
    """Layers of ALBERT share their weights; T5 was divided by parts of its layers."""
    with pytest.raises(ConfigError, match=f"lr_decay: expected .* one stack of layers.*found a {kind}"):
        group_by_layer(make_model(kind, **values), set(), 0.5, ARGUMENTS)


@pytest.mark.parametrize(
    ("kind", "values", "embeddings"),
    [
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2}, {"wte", "wpe"}),
        ("llama", {"num_key_value_heads": 2}, {"embed_tokens"}),
        ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}, {"embed_tokens", "embed_positions"}),
        ("electra", {"embedding_size": 16}, {"word_embeddings", "embeddings_project", "LayerNorm"}),
    ],
)
def test_embeddings_have_the_lowest_rate_whatever_their_names(kind, values, embeddings):
    model = make_model(kind, **values)
    groups = group_by_layer(model, set(), 0.5, ARGUMENTS)
    assert [group["lr"] for group in groups] == [1.0, 0.5, 0.25, 0.125]
    names = {id(weights): name for name, weights in model.named_parameters()}
    lowest = {names[id(weights)].split(".")[-2] for weights in groups[-1]["params"]}
    assert lowest >= embeddings
    assert not any("embed" in names[id(w)] for group in groups[:-1] for w in group["params"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"lr_decay": 0.9}, "lr_decay: expected .*found a albert; omit --lr_decay"),
        ({"trained_layers": 1}, "trained_layers: expected .*found albert; omit --trained_layers"),
    ],
)
def test_settings_of_layers_that_an_encoder_cannot_have_are_refused_before_reviews_are_read(
    tmp_path, monkeypatch, given, expected
):
    make_model("albert", **TYPES["albert"][1]).save_pretrained(tmp_path)
    make_tokenizer("unigram").save_pretrained(tmp_path)
    monkeypatch.setattr(starting.registry, "open_experiment", lambda *_: None)
    monkeypatch.setattr(starting.registry, "check_name", lambda name: None)
    config = FinetuneConfig(distilbert_model=str(tmp_path), max_length=32, **given)
    with pytest.raises(ConfigError, match=expected):
        starting.load_first_encoder(config)


def tune(folder, most_rows=None, **changes):
    """Tune a tiny encoder that is out of memory with more than `most_rows` rows; return it and the notes."""
    config = FinetuneConfig(
        distilbert_model=str(folder), lr=1e-3, epochs=1, max_length=32, train_batch_size=8, evaluations=1
    )
    config = replace(config, **changes)
    encoder = load_encoder(str(folder), 32, config.seed)
    # Dropout would differ between a step and its parts.
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0

    def limit(model, args, inputs):
        if model.training and most_rows is not None and len(inputs["input_ids"]) > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    encoder.model.register_forward_pre_hook(limit, with_kwargs=True)
    rows = make_reviews(52)
    notes = []
    finetune_encoder(
        encoder,
        make_splits(rows[:32], rows[32:42], rows[42:]),
        config,
        lambda done, total, note: notes.append(note),
        lambda *_: None,
    )
    return encoder.model, notes


def test_a_step_that_does_not_fit_is_computed_in_parts_with_the_same_result(folder):
    expected, _ = tune(folder)
    found, notes = tune(folder, most_rows=3)
    assert any("out of memory: each step is now computed in 4 parts" in note for note in notes)
    assert torch.allclose(found.classifier.weight, expected.classifier.weight, atol=1e-5)


def test_a_review_that_does_not_fit_is_an_error(folder):
    with pytest.raises(TrainingError, match="one review per step; pass a smaller --max_length"):
        tune(folder, most_rows=0)


def test_with_several_processes_a_step_that_does_not_fit_is_an_error(folder, monkeypatch):
    monkeypatch.setattr(loop, "count_processes", lambda: 2)
    with pytest.raises(TrainingError, match="process 0: out of memory with 8 reviews per step"):
        tune(folder, most_rows=3)


def test_other_errors_are_not_taken_for_full_memory(folder, monkeypatch):
    monkeypatch.setattr(torch, "OutOfMemoryError", RuntimeError)
    monkeypatch.setattr(loop, "should_reduce_batch_size", lambda error: False)
    with pytest.raises(RuntimeError, match="CUDA"):
        tune(folder, most_rows=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_tokens": 100},
        {"lr_decay": 0.8, "schedule": "cosine", "label_smoothing": 0.1, "warmup_share": 0.0},
        {"trained_layers": 1, "lr_decay": 0.9},
    ],
    ids=["tokens", "recipe", "layers"],
)
def test_options_train(folder, changes):
    untuned = load_encoder(str(folder), 32, 42).model
    tuned, _ = tune(folder, **changes)
    is_same = torch.equal(
        tuned.bert.embeddings.word_embeddings.weight, untuned.bert.embeddings.word_embeddings.weight
    )
    assert is_same == ("trained_layers" in changes)
    assert not torch.equal(tuned.classifier.weight, untuned.classifier.weight)
