"""Classifiers from elsewhere: which are found, which are refused and why, and what is taken from each."""

import json
import pickle

import pytest
import yaml

from sentiment.errors import ConfigError, EncoderUnavailableError, ModelNotFoundError, UnusableClassifierError
from sentiment.models import registry
from sentiment.training import classifier_files
from sentiment.training.classifier_files import find_classifier
from sentiment.training.classifiers import choose_max_length, load_classifier
from tests.factories import make_tiny_encoder
from tests.families import SIZES, TYPES, make_classifier, make_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    return make_tiny_encoder(tmp_path / "classifier", labels=("bad", "good"))


def load(folder, labels_from="config"):
    return load_classifier(find_classifier(str(folder)), labels_from)


def change_config(folder, **values):
    """Replace values of config.json; None removes a key."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def drop_weights(folder, *starts):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if not name.startswith(starts)}
    save_file(weights, path, metadata={"format": "pt"})


def test_a_classifier_keeps_its_head_and_its_labels(folder):
    from safetensors.torch import load_file

    encoder = load(folder)
    stored = load_file(folder / "model.safetensors")
    assert encoder.labels == ("bad", "good")
    assert not encoder.has_new_head
    assert all(weights.equal(stored[name]) for name, weights in encoder.model.state_dict().items())


def test_given_names_are_those_of_the_packaged_config(folder):
    encoder = load(folder, "0=negative,1=positive")
    assert encoder.model.config.id2label == {0: "negative", 1: "positive"}
    assert encoder.model.config.label2id == {"negative": 0, "positive": 1}


def test_a_head_of_one_output_has_two_labels(tmp_path):
    folder = make_tiny_encoder(tmp_path / "sigmoid", labels=("LABEL_0",))
    with pytest.raises(ConfigError, match="the model has one output"):
        load(folder)
    encoder = load(folder, "0=negative,1=positive")
    assert encoder.labels == ("negative", "positive")
    assert encoder.model.config.num_labels == 1


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"problem_type": "regression"}, "gives a number"),
        ({"problem_type": "multi_label_classification"}, "one label per text"),
        ({"architectures": ["BertModel"]}, "is a BertModel, expected a sequence classifier"),
        ({"architectures": ["BertForTokenClassification"]}, "is a BertForTokenClassification"),
        ({"sbert_ce_default_activation_function": "Identity"}, "compares two texts"),
        ({"sentence_transformers": {"activation_fn": "Identity"}}, "compares two texts"),
        (
            {"id2label": {0: "entailment", 1: "other"}, "label2id": {"entailment": 0, "other": 1}},
            "compares two texts",
        ),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights"),
        ({"label2id": {"bad": 1, "good": 0}}, "contradicts itself"),
        ({"label2id": {"Bad": 1, " good. ": 0}}, "contradicts itself"),
        ({"label2id": {"bad": 0, "good": 1, "GOOD": 0}}, "contradicts itself"),
        ({"id2label": {0: "bad", 2: "good"}, "label2id": {"bad": 0, "good": 2}}, "contradicts itself"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}, "never run"),
    ],
    ids=str,
)
def test_a_model_without_one_label_per_text_is_refused(folder, values, problem):
    change_config(folder, **values)
    with pytest.raises(UnusableClassifierError, match=problem):
        load(folder)


@pytest.mark.parametrize(
    "label2id",
    [{"Bad": 0, "GOOD": 1}, {"LABEL_0": 0, "LABEL_1": 1}, {"bad": 0, "good": 1, "fine": 1}],
    ids=str,
)
def test_names_that_no_output_has_contradict_nothing(folder, label2id):
    change_config(folder, label2id=label2id)
    assert load(folder).labels == ("bad", "good")


def test_several_labels_of_one_output_are_a_sigmoid(tmp_path):
    folder = make_tiny_encoder(tmp_path / "sigmoid", labels=("LABEL_0",))
    change_config(folder, problem_type="multi_label_classification")
    assert load(folder, "0=negative,1=positive").labels == ("negative", "positive")


def test_an_encoder_without_a_head_is_refused_by_its_missing_tensors(folder):
    change_config(folder, architectures=None)
    drop_weights(folder, "classifier")
    with pytest.raises(
        UnusableClassifierError,
        match=r"no classification head .classifier.bias, classifier.weight missing.*finetune.py",
    ):
        load(folder)


def test_a_missing_pooler_is_refused(folder):
    drop_weights(folder, "bert.pooler")
    with pytest.raises(UnusableClassifierError, match="2 tensors are missing .*bert.pooler.dense.bias"):
        load(folder)


def test_a_head_of_another_size_is_refused(folder):
    names = {"id2label": {i: f"c{i}" for i in range(3)}, "label2id": {f"c{i}": i for i in range(3)}}
    change_config(folder, **names)
    with pytest.raises(UnusableClassifierError, match="0 tensors are missing and 2 have another size"):
        load(folder)


def test_code_of_a_models_own_is_never_run(folder):
    (folder / "own.py").write_text("raise SystemExit('run')\n")
    change_config(folder, auto_map={"AutoModelForSequenceClassification": "own.Model"})
    load(folder)  # transformers has this type, and all weights fit
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["second_head.weight"] = weights["classifier.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnusableClassifierError, match="needs code of its own, which is never run"):
        load(folder)


def add_weights(folder, *names):
    """Add tensors of ones to the weights of a folder."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    more = {name: torch.ones(2) for name in names}
    save_file({**load_file(path), **more}, path, metadata={"format": "pt"})


def test_a_model_is_not_cut_to_the_layers_of_its_config(folder):
    change_config(folder, num_hidden_layers=1)
    with pytest.raises(
        UnusableClassifierError, match=r"16 tensors .* bert\.encoder\.layer\.1\..*would be cut"
    ):
        load(folder)


@pytest.mark.parametrize(
    "name",
    [
        "distilbert.transformer.layer.3.ffn.lin1.bias",
        "transformer.h.6.mlp.c_fc.weight",
        "albert.encoder.albert_layer_groups.1.albert_layers.0.ffn.bias",
        "model.layers.6.attn.Wo.weight",
    ],
)
def test_a_layer_is_known_in_the_names_of_each_family(folder, name):
    add_weights(folder, name)
    with pytest.raises(
        UnusableClassifierError, match=f"1 tensors of its weights, such as {name}, are of layers"
    ):
        load(folder)


@pytest.mark.parametrize(
    "name", ["classifier.dense.weight", "cls.weight", "projection.0.bias", "qa_outputs.bias"]
)
def test_a_head_that_the_type_lacks_is_refused(folder, name):
    add_weights(folder, name)
    with pytest.raises(
        UnusableClassifierError, match=f"1 tensors of its weights, such as {name}, are of a head"
    ):
        load(folder)


def make_leftovers(kind, model):
    """Return tensors of language models and of the encoder of a type that its classifier lacks."""
    import transformers

    config, body = model.config, model.base_model_prefix
    found = {f"{body}.embeddings.position_ids": None, f"{body}.embeddings.added": None}
    if kind != "modernbert":  # has no head of pre-training
        found |= transformers.AutoModelForPreTraining.from_config(config).state_dict()
    found |= transformers.AutoModelForMaskedLM.from_config(config).state_dict()
    found |= {f"{body}.{name}": None for name in transformers.AutoModel.from_config(config).state_dict()}
    return sorted(found.keys() - model.state_dict().keys())


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_left_from_pre_training_is_noted(tmp_path, kind):
    import transformers

    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    sizes = {**SIZES, **TYPES[kind][1], **names}
    model = transformers.AutoModelForSequenceClassification.from_config(
        transformers.AutoConfig.for_model(kind, **sizes)
    )
    model.save_pretrained(tmp_path)
    make_tokenizer(TYPES[kind][0]).save_pretrained(tmp_path)
    assert not [note for note in load(tmp_path).notes if "not used" in note]
    leftovers = make_leftovers(kind, model)
    assert len(leftovers) > 3
    add_weights(tmp_path, *leftovers)
    [note] = [note for note in load(tmp_path).notes if "not used" in note]
    assert "tensors of its weights, such as " in note


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickled_weights_are_refused_unread_with_the_command_that_converts(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(tmp_path / "run")))
    with pytest.raises(UnusableClassifierError, match=r"pickled .pytorch_model.bin.*python -c .*converted"):
        load(folder)
    assert not (tmp_path / "run").exists()


def test_pickles_next_to_safe_weights_are_not_read(folder, tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Canary(tmp_path / "run")))
    load(folder)
    assert not (tmp_path / "run").exists()


def test_an_adapter_is_refused_with_advice_to_merge(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UnusableClassifierError, match="is an adapter .*merge_and_unload"):
        load(folder)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.reliability)])
def test_weights_of_half_precision_are_cast_and_noted(tmp_path, dtype):
    import torch

    encoder = load(make_classifier(tmp_path, "bert", ("bad", "good"), dtype))
    assert {weights.dtype for weights in encoder.model.parameters()} == {torch.float32}
    assert f"its {dtype} weights were cast to float32" in encoder.notes


def test_a_tokenizer_that_is_not_fast_is_refused(folder, monkeypatch):
    import transformers

    class Slow:
        is_fast = False

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: Slow())
    with pytest.raises(EncoderUnavailableError, match="no fast tokenizer"):
        load(folder)


def test_labels_that_are_spelled_unlike_others_are_noted(tmp_path):
    encoder = load(make_tiny_encoder(tmp_path, labels=("POSITIVE", "NEGATIVE")))
    assert encoder.labels == ("POSITIVE", "NEGATIVE")
    assert [n for n in encoder.notes if '--labels_from "POSITIVE=positive,NEGATIVE=negative"' in n]


def test_licence_and_base_model_come_from_the_card(folder):
    files = find_classifier(str(folder))
    assert (files.licence, files.base_model) == ("unknown", None)
    assert [note for note in load(folder).notes if "no model card states a licence" in note]
    card = "---\nlicense: other\nlicense_name: own-1\nbase_model:\n- a/b\n- c/d\n---\ntext\n"
    (folder / "README.md").write_text(card)
    files = find_classifier(str(folder))
    assert (files.licence, files.base_model) == ("own-1", "a/b, c/d")
    for broken in ("no card", "---\n: [\n---\n", "---\ntext\n---\n"):
        (folder / "README.md").write_text(broken)
        assert find_classifier(str(folder)).licence == "unknown"


def test_the_length_is_what_tokenizer_and_encoder_can_read(folder, tmp_path):
    encoder = load(folder)  # 64 positions
    assert choose_max_length(encoder, None) == 64
    assert choose_max_length(encoder, 16) == 16
    with pytest.raises(ConfigError, match="reads at most 64 tokens, found 65"):
        choose_max_length(encoder, 65)
    encoder.tokenizer.model_max_length = 48
    assert choose_max_length(encoder, None) == 48
    assert choose_max_length(encoder, 64) == 64
    long = load(make_tiny_encoder(tmp_path / "long", labels=("bad", "good")))
    long.model.config.max_position_embeddings = 8_192
    long.model.bert.embeddings.position_embeddings.num_embeddings = 8_192
    assert choose_max_length(long, None) == 512


@pytest.mark.parametrize("name", ["none/of/these", "./nothing", "/nowhere", "not a name"])
def test_a_path_that_does_not_exist_is_said(name):
    with pytest.raises(ModelNotFoundError, match="no folder at"):
        find_classifier(name)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(UnusableClassifierError, match="no weights that transformers reads"):
        find_classifier(str(tmp_path))


def test_a_hub_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setattr(classifier_files, "is_hub_reachable", lambda: False)
    with pytest.raises(ModelNotFoundError, match="not in the cache, and the hub does not answer"):
        find_classifier("nobody/nothing")


def test_only_safe_files_are_downloaded(folder, monkeypatch):
    import huggingface_hub

    asked = {}

    def download(name, **options):
        asked.update(options)
        return str(folder)

    files = ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx"]
    monkeypatch.setattr(classifier_files, "is_hub_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_classifier("owner/name").weights == folder
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in asked["allow_patterns"])
    files.remove("model.safetensors")
    asked.clear()
    with pytest.raises(UnusableClassifierError, match="pickled .pytorch_model.bin"):
        find_classifier("owner/name")
    assert not asked


def log_by_hand(folder, classifier, **changes):
    """Write a model as `mlflow.transformers.save_model` does; None removes a key of the flavour."""
    import shutil

    flavour = {"task": "text-classification", "model_binary": "model", "components": ["tokenizer"]}
    flavour = {key: value for key, value in {**flavour, **changes}.items() if value is not None}
    (folder / "components").mkdir(parents=True)
    shutil.copytree(classifier, folder / "model", ignore=shutil.ignore_patterns("token*"))
    ignored = shutil.ignore_patterns("config*", "model*")
    shutil.copytree(classifier, folder / "components" / "tokenizer", ignore=ignored)
    (folder / "model_card.md").write_text("---\nlicense: mit\n---\n")
    flavours = {"transformers": flavour, "python_function": {"loader_module": "mlflow.transformers"}}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours, "model_uuid": "m-1"}))
    return folder


def test_a_logged_model_of_transformers_is_found(folder, tmp_path, tracking):
    logged = log_by_hand(tmp_path / "logged", folder, source_model_name="owner/base")
    files = find_classifier(str(logged))
    assert (files.licence, files.base_model) == ("mit", "owner/base")
    assert load_classifier(files, "config").labels == ("bad", "good")


def test_a_source_is_named_by_its_version_and_not_by_its_alias(folder, tmp_path, tracking):
    logged = log_by_hand(tmp_path / "logged", folder)
    client = registry.import_mlflow().MlflowClient()
    client.create_registered_model("shop")
    client.create_model_version("shop", source=logged.as_uri())
    client.set_registered_model_alias("shop", "prod", "1")
    assert find_classifier("models:/shop@prod").name == "models:/shop/1"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"task": "summarization"}, "expected the task text-classification, found summarization"),
        ({"peft_adaptor": "peft"}, "is an adapter"),
        ({"model_binary": None, "source_model_name": "a/b"}, "without its weights .*--model a/b"),
        ({"model_binary": "../../etc"}, "no weights"),
    ],
    ids=str,
)
def test_a_logged_model_of_another_kind_is_refused(folder, tmp_path, tracking, changes, problem):
    logged = log_by_hand(tmp_path / "logged", folder, **changes)
    with pytest.raises(UnusableClassifierError, match=problem):
        find_classifier(str(logged))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"metadata": {"sentiment_version": "1"}}, "of this project already"),
        ({"flavors": {"python_function": {}, "sklearn": {}}}, "flavour transformers, found sklearn"),
        ({"flavors": {"python_function": {}}}, "flavour transformers, found python_function"),
    ],
    ids=str,
)
def test_a_logged_model_of_another_flavour_is_refused(tmp_path, tracking, content, problem):
    facts = {"flavors": {"python_function": {}}, "model_uuid": "m-1", **content}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(facts))
    with pytest.raises(UnusableClassifierError, match=problem):
        find_classifier(str(tmp_path))


def test_a_model_that_the_registry_lacks_is_said(tracking):
    with pytest.raises(ModelNotFoundError, match="no model at 'models:/none/1'"):
        find_classifier("models:/none/1")
