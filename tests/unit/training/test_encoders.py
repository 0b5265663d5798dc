import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from sentiment.errors import ConfigError, EncoderUnavailableError
from sentiment.inference.tokenization import Tokenizer, save_truncating_tokenizer
from sentiment.training import encoders
from sentiment.training.encoders import find_max_length, load_encoder, load_language_model, make_tokenizer
from tests.factories import make_tiny_encoder
from tests.families import ROBERTA, SIZES
from tests.families import make_tokenizer as make_family_tokenizer


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


def save_head(folder, **stated):
    """Replace the encoder in `folder` by a classifier with the stated labels; return its head's weights."""
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(BertConfig.from_pretrained(folder, **stated))
    model.save_pretrained(folder)
    return model.classifier.weight


@pytest.mark.parametrize(
    "stated",
    [
        {"num_labels": 5},
        {"num_labels": 3, "id2label": {0: "negative", 1: "neutral", 2: "positive"}},
        {"num_labels": 1},
        {"id2label": {0: "LABEL_0", 1: "LABEL_1"}},
        {"id2label": {0: "positive", 1: "negative"}},
        {"id2label": {0: "spam", 1: "ham"}},
        {"num_labels": 4, "problem_type": "multi_label_classification"},
    ],
    ids=str,
)
def test_a_head_with_other_labels_is_replaced_and_said(tmp_path, stated):
    head = save_head(make_tiny_encoder(tmp_path), **stated)
    body = load_classifier_weights(tmp_path)
    encoder = load_encoder(str(tmp_path), 32, 1)
    assert encoder.model.classifier.weight.shape == (2, 32)
    assert not (head.shape == (2, 32) and head.equal(encoder.model.classifier.weight))
    assert encoder.model.config.id2label == {0: "negative", 1: "positive"}
    assert encoder.model.config.problem_type == "single_label_classification"
    assert [note for note in encoder.notes if "has other labels" in note]
    kept = dict(encoder.model.named_parameters())
    assert all(kept[name].equal(weights) for name, weights in body.items())
    again = load_encoder(str(tmp_path), 32, 1).model.classifier.weight
    assert again.equal(encoder.model.classifier.weight)


def load_classifier_weights(folder):
    """Return the weights of the body of the encoder in `folder`, as they are stored."""
    from safetensors.torch import load_file

    stored = load_file(folder / "model.safetensors")
    return {name: weights for name, weights in stored.items() if name.startswith("bert.")}


def test_layers_that_the_config_lacks_are_named(tmp_path):
    make_tiny_encoder(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": 1}))
    encoder = load_encoder(str(tmp_path), 32, 1)
    expected = f"16 tensors of {tmp_path} are of layers that its config.json lacks, and not used"
    assert encoder.notes[0] == expected


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("negative", "positive"), ("negative", "positive")),
        (("NEGATIVE", "POSITIVE"), ("negative", "positive")),
        (("Bad", "Good"), ("Bad", "Good")),
    ],
)
def test_a_head_with_our_labels_is_kept(tmp_path, names, labels):
    head = save_head(make_tiny_encoder(tmp_path), id2label=dict(enumerate(names)))
    encoder = load_encoder(str(tmp_path), 32, 1, labels)
    assert encoder.model.classifier.weight.equal(head)
    assert encoder.notes == ()
    assert not encoder.has_new_head


@pytest.mark.parametrize(
    ("names", "architectures"),
    [(("positive", "negative"), None), (("O", "ENT"), ["BertForTokenClassification"])],
    ids=str,
)
def test_a_head_with_other_labels_is_replaced_whatever_the_config_calls_it(tmp_path, names, architectures):
    head = save_head(make_tiny_encoder(tmp_path), id2label=dict(enumerate(names)))
    change_json(tmp_path / "config.json", architectures=architectures)
    encoder = load_encoder(str(tmp_path), 32, 1)
    assert not encoder.model.classifier.weight.equal(head)
    assert encoder.has_new_head
    assert "has other labels" in encoder.notes[0]


def test_a_head_that_lacks_a_tensor_is_replaced_and_said(tmp_path):
    head = save_head(make_tiny_encoder(tmp_path), id2label={0: "negative", 1: "positive"})
    change_weights(tmp_path, lambda weights: weights.pop("classifier.bias"))
    encoder = load_encoder(str(tmp_path), 32, 1)
    assert not encoder.model.classifier.weight.equal(head)
    assert "lacks 1 tensors, such as classifier.bias" in encoder.notes[0]


def change_json(path, **values):
    """Replace values of a JSON file; None removes a key."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def change_weights(folder, change):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_token_whose_embedding_is_damaged_ends_the_job_before_training(tmp_path):
    """No training review had the token, and later reviews with it had no score."""
    make_tiny_encoder(tmp_path)
    change_weights(tmp_path, lambda w: w["bert.embeddings.word_embeddings.weight"][10].fill_(float("nan")))
    with pytest.raises(EncoderUnavailableError, match="weights are damaged: 1 tensors, .*word_embeddings"):
        load_encoder(str(tmp_path), 32, 1)


@pytest.mark.parametrize("other", ["pytorch_model.bin", "model.safetensors.index.json"])
def test_a_second_file_of_weights_is_said(tmp_path, other):
    (make_tiny_encoder(tmp_path) / other).write_text("{}")
    notes = load_encoder(str(tmp_path), 32, 1).notes
    assert notes == (f"{tmp_path} has several files of weights: model.safetensors is read, {other} not",)


def test_code_that_is_not_run_is_said(tmp_path):
    make_tiny_encoder(tmp_path)
    change_json(tmp_path / "config.json", auto_map={"AutoModelForSequenceClassification": "own.Model"})
    [note] = load_encoder(str(tmp_path), 32, 1).notes
    assert "code of its own (auto_map), which is not run" in note


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: mit\ntags: [a, b\n---\n", "unknown"),
        (b"---\n- license\n---\n", "unknown"),
        (b"---\nlicense: mit\ndate: 2024-13-45\n---\n", "unknown"),
        (b"---\nlicense: mit\n---\ncaf\xe9", "mit"),
        (b"---\nlicense: mit\nmodel-index: broken\n---\n", "mit"),
    ],
)
def test_a_damaged_model_card_does_not_end_the_job(tmp_path, card, licence):
    (make_tiny_encoder(tmp_path) / "README.md").write_bytes(card)
    assert load_encoder(str(tmp_path), 32, 1).licence == licence


def change_tokenizer(folder, change):
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_random_tokens_are_switched_off_and_said(tmp_path):
    """The labels of a text changed from call to call."""
    from transformers import RobertaConfig, RobertaModel

    RobertaModel(RobertaConfig(**{**SIZES, **ROBERTA})).save_pretrained(tmp_path)
    make_family_tokenizer("bpe").save_pretrained(tmp_path)
    change_tokenizer(tmp_path, lambda content: content["model"].update(dropout=0.5))
    encoder = load_encoder(str(tmp_path), 32, 1)
    assert "(dropout); this was switched off" in encoder.notes[-1]
    text = "it is great and very good"
    assert len({tuple(encoder.tokenizer(text)["input_ids"]) for _ in range(20)}) == 1
    packaged = tmp_path / "packaged"
    packaged.mkdir()
    save_truncating_tokenizer(tmp_path, packaged, 32)
    assert '"dropout": null' in (packaged / "tokenizer.json").read_text()
    # A model that an earlier version packaged has dropout in its own file.
    tokens = [Tokenizer(tmp_path, max_length=32).encode([text] * 20).ids for _ in range(2)]
    assert len({tuple(ids) for ids in (*tokens[0], *tokens[1])}) == 1


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (lambda content: content["normalizer"].update(lowercase=False), {"do_lower_case": None}),
        (lambda content: None, {"do_lower_case": False}),
        (lambda content: content["normalizer"].update(strip_accents=False), {}),
        (lambda content: content.update(pre_tokenizer={"type": "WhitespaceSplit"}), {}),
    ],
    ids=["cased", "lower case", "accents", "splits"],
)
def test_a_tokenizer_that_differs_from_its_file_is_noted(tmp_path, change, settings):
    """BERT's class builds its tokenizer from the vocabulary, and the rest of tokenizer.json did not count."""
    add_word(make_tiny_encoder(tmp_path), "cafe")
    change_tokenizer(tmp_path, change)
    change_json(tmp_path / "tokenizer_config.json", **settings)
    [note] = [each for each in load_encoder(str(tmp_path), 32, 1).notes if "other tokens" in each]
    assert "correct do_lower_case, strip_accents or tokenizer_class" in note
    change_json(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    assert not [each for each in load_encoder(str(tmp_path), 32, 1).notes if "other tokens" in each]


def add_word(folder, word):
    def change(content):
        vocabulary = content["model"]["vocab"]
        vocabulary[word] = vocabulary.pop("perfect")

    change_tokenizer(folder, change)


@pytest.mark.parametrize(
    ("template", "where"),
    [
        ([{"Sequence": {"id": "A", "type_id": 0}}], "before"),
        ([{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "after"),
    ],
    ids=["none", "no last"],
)
def test_a_tokenizer_without_special_tokens_is_refused(tmp_path, template, where):
    make_tiny_encoder(tmp_path)
    change_tokenizer(tmp_path, lambda content: content["post_processor"].update(single=template))
    change_json(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(EncoderUnavailableError, match=f"adds no special token {where} a text"):
        load_encoder(str(tmp_path), 32, 1)


@pytest.mark.parametrize(
    ("pattern", "problem"), [(r"\ba\b", None), ("[a-z]", "knows no word"), (".", "knows no word")]
)
def test_a_tokenizer_that_removes_letters_is_read_or_refused(tmp_path, pattern, problem):
    """The special tokens were counted around the letter a, and without it the job ended in a traceback."""
    make_tiny_encoder(tmp_path)
    removing = {"type": "Replace", "pattern": {"Regex": pattern}, "content": ""}
    change_tokenizer(tmp_path, lambda content: content.update(normalizer=removing))
    change_json(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    if problem is None:
        encoder = load_encoder(str(tmp_path), 32, 1)
        assert make_tokenizer(encoder, 32).encode(["it is a good one"]).n_special_tokens == 2
        return
    with pytest.raises(EncoderUnavailableError, match=problem):
        load_encoder(str(tmp_path), 32, 1)


def test_a_packaged_tokenizer_that_removes_all_text_is_a_clear_error(tmp_path):
    make_tiny_encoder(tmp_path, max_length=32)
    removing = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    change_tokenizer(tmp_path, lambda content: content.update(normalizer=removing))
    with pytest.raises(ValueError, match="has no token for .*package the model again"):
        Tokenizer(tmp_path)


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path):
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

    make_tiny_encoder(tmp_path)
    smaller = BertConfig.from_pretrained(tmp_path, num_hidden_layers=1)
    BertModel(smaller).save_pretrained(tmp_path / "smaller")
    shutil.copy(tmp_path / "smaller" / "model.safetensors", tmp_path)
    with pytest.raises(EncoderUnavailableError, match="weights do not fit its config.json: 16 tensors"):
        load_encoder(str(tmp_path), 32, 1)
    other = DistilBertConfig(vocab_size=40, dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    DistilBertModel(other).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path)
    with pytest.raises(EncoderUnavailableError, match="weights do not fit its config.json"):
        load_encoder(str(tmp_path), 32, 1)


def add_token(folder, token="😀"):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([token])
    tokenizer.save_pretrained(folder)


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(tmp_path):
    add_token(make_tiny_encoder(tmp_path))
    with pytest.raises(EncoderUnavailableError, match=r"has 31 tokens, but its embedding only 30"):
        load_encoder(str(tmp_path), 32, 1)


def test_a_folder_without_a_vocabulary_is_refused(tmp_path):
    for file in make_tiny_encoder(tmp_path).glob("*token*"):
        file.unlink()
    with pytest.raises(EncoderUnavailableError, match="tokenizer"):
        load_encoder(str(tmp_path), 32, 1)


def test_a_type_that_transformers_does_not_know_is_said(tmp_path):
    config = make_tiny_encoder(tmp_path) / "config.json"
    config.write_text(config.read_text().replace('"bert"', '"nobert"'))
    with pytest.raises(EncoderUnavailableError, match="cannot load it .*nobert"):
        load_encoder(str(tmp_path), 32, 1)


def test_damaged_weights_are_said(tmp_path):
    weights = make_tiny_encoder(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EncoderUnavailableError, match="cannot load it"):
        load_encoder(str(tmp_path), 32, 1)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_named(name):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # for another user; the folder of a test is closed to others
        file = make_tiny_encoder(Path(folder) / "encoder") / name
        for other in file.parent.iterdir():
            other.chmod(0 if other == file else 0o644)
        with as_another_user(), pytest.raises(EncoderUnavailableError, match=f"{name} .Permission denied"):
            load_encoder(str(file.parent), 32, 1)


@contextlib.contextmanager
def as_another_user():
    """Give up the rights of root, if the tests run as root, who may read any file."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_roberta_reads_two_tokens_fewer_than_it_has_positions(tmp_path):
    from transformers import MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {"vocab_size": 40, "max_position_embeddings": 34, "pad_token_id": 1}
    for config, kind in ((RobertaConfig, RobertaModel), (MPNetConfig, MPNetModel)):
        make_tiny_encoder(tmp_path)
        kind(config(**sizes)).save_pretrained(tmp_path)
        assert find_max_length(load_encoder(str(tmp_path), 32, 1)) == 32
        with pytest.raises(ConfigError, match="reads at most 32 tokens, found 33"):
            load_encoder(str(tmp_path), 33, 1)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    make_tiny_encoder(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n")
    with pytest.raises(EncoderUnavailableError, match=r"model\.safetensors is a pointer .*git lfs pull"):
        load_encoder(str(tmp_path), 32, 1)


def test_an_adapter_is_refused_even_next_to_the_weights_of_its_base(tmp_path):
    """The weights of the base were used without the adapter, and nothing was said."""
    make_tiny_encoder(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    for load in (load_encoder, load_language_model):
        with pytest.raises(EncoderUnavailableError, match="has an adapter .* merge it with merge_and_unload"):
            load(str(tmp_path), 32, 1)


def test_a_folder_around_the_encoder_names_the_one_to_pass(tmp_path):
    inside = make_tiny_encoder(tmp_path / "0_Transformer")
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    with pytest.raises(EncoderUnavailableError, match=f"pass --distilbert_model {inside}$"):
        load_encoder(str(tmp_path), 32, 1)


def test_a_folder_around_several_encoders_names_them(tmp_path):
    """The Trainer keeps several checkpoints, here with weights in each of its forms."""
    for name, weights in (("checkpoint-1", "model.safetensors"), ("checkpoint-2", "pytorch_model.bin")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / weights).touch()
    with pytest.raises(EncoderUnavailableError, match=r"2 folders in it have \(checkpoint-1, checkpoint-2\)"):
        load_encoder(str(tmp_path), 32, 1)
