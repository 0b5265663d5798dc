"""Encoders of many types, tiny and random: which engine each gets, and what is found before training."""

import errno
import logging
import resource
import signal

import numpy as np
import pytest

from sentiment.config import FinetuneConfig
from sentiment.errors import ConfigError, EncoderUnavailableError
from sentiment.inference.engines import REFERENCE, list_cpu_engines, load_engine, run_engine
from sentiment.inference.engines.openvino import INT8
from sentiment.inference.predictor import Predictor
from sentiment.inference.processor import Processor, find_processor
from sentiment.inference.settings import load_settings
from sentiment.inference.tokenization import Tokenizer
from sentiment.training import export, quantization, trainer
from sentiment.training.encoders import find_max_length, load_encoder
from sentiment.training.export import export_graph
from sentiment.training.packaging import save_encoder
from sentiment.training.rehearsal import rehearse
from tests.factories import make_reviews, make_splits
from tests.families import SIZES, TYPES, make_tokenizer

pytestmark = pytest.mark.slow


def make_encoder(folder, kind, tokenizer, pad=True, **values):
    from transformers import AutoConfig, AutoModel, logging, set_seed

    set_seed(0)
    logging.disable_progress_bar()
    AutoModel.from_config(AutoConfig.for_model(kind, **{**SIZES, **values})).save_pretrained(folder)
    tokens = make_tokenizer(tokenizer)
    if not pad:
        tokens.pad_token = None
    tokens.save_pretrained(folder)
    return load_encoder(str(folder), 32, 1)


TEXTS = [*make_reviews(40)["text"], "the battery is good " * 20]


@pytest.mark.parametrize("kind", TYPES)
def test_encoders_of_many_types_are_exported_and_agree_with_the_reference(tmp_path, kind):
    tokenizer, values = TYPES[kind]
    encoder = make_encoder(tmp_path / "encoder", kind, tokenizer, **values)
    save_encoder(encoder, tmp_path, 32, "head_tail")
    export_graph(tmp_path)
    tokens = Tokenizer(tmp_path, "head_tail").encode(TEXTS)
    assert tokens.truncated.any()
    reference, graph = (run_engine(load_engine(tmp_path, name), tokens.ids) for name in (REFERENCE, "f32"))
    assert np.abs(reference - graph).mean() < 0.02
    assert reference.std(axis=0).min() > 0.05


def test_an_encoder_that_can_be_exported_passes(tmp_path):
    assert rehearse(make_encoder(tmp_path, "bert", "wordpiece"), 32, "head_tail") is None


def test_an_encoder_without_a_pad_token_is_trained(tmp_path):
    encoder = make_encoder(
        tmp_path / "encoder", "gpt2", "bpe", pad=False, n_embd=32, n_layer=2, n_head=2, eos_token_id=2
    )
    assert encoder.tokenizer.pad_token is None
    assert encoder.model.config.pad_token_id == 2
    splits = make_splits(*(make_reviews(n) for n in (64, 20, 20)))
    config = FinetuneConfig(max_length=32, lr=1e-3, epochs=1)
    trainer.finetune_encoder(encoder, splits, config, lambda *_: None, lambda *_: None)
    save_encoder(encoder, tmp_path, 32)
    assert load_settings(tmp_path).pad_id == 2
    assert Predictor(tmp_path).predict(TEXTS)["label"].notna().all()


def test_an_encoder_that_cannot_be_exported_gets_the_reference_engine(tmp_path):
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    sizes |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    sizes |= {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0}
    encoder = make_encoder(tmp_path / "encoder", "bart", "bpe", **sizes)
    root = logging.getLogger()
    before = (root.level, list(root.filters), [handler.level for handler in root.handlers])
    problem = rehearse(encoder, 32, "head")
    assert "cannot convert an encoder of type bart" in problem
    after = (root.level, root.filters, [handler.level for handler in root.handlers])
    assert after == before, "OpenVINO has silenced the warnings of this process"
    folder = tmp_path / "packaged"
    save_encoder(encoder, folder, 32)
    assert quantization.quantize(folder, TEXTS, make_reviews(20), lambda *_: None) == []
    settings = load_settings(folder)
    assert (settings.cpu_engine, settings.cpu_engine_reason) == (REFERENCE, problem)
    assert not list(folder.glob("*.xml"))
    assert Predictor(folder).predict(TEXTS)["label"].notna().all()


def raise_error(error):
    def fail(*_, **__):
        raise error

    return fail


def raise_caused(error):
    def fail(*_, **__):
        try:
            raise error
        except type(error) as cause:
            raise RuntimeError("tracing failed") from cause

    return fail


@pytest.mark.parametrize("step", ["export_graph", "export_static_graph"])
@pytest.mark.parametrize("how", [raise_error, raise_caused])
@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")], ids=repr)
def test_a_lack_of_memory_is_no_encoder_that_cannot_be_converted(tmp_path, monkeypatch, error, how, step):
    save_encoder(make_encoder(tmp_path / "encoder", "bert", "wordpiece"), tmp_path, 32)
    arguments = () if step == "export_graph" else ([np.arange(4)],)
    monkeypatch.setattr(export, "_spell_out_attention", how(error))
    with pytest.raises(type(error)) as caught:
        getattr(export, step)(tmp_path, *arguments)
    assert caught.value is error


def test_a_graph_that_finds_no_room_ends_the_job(tmp_path, monkeypatch):
    save_encoder(make_encoder(tmp_path / "encoder", "bert", "wordpiece"), tmp_path, 32)
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"graph\.xml: cannot write the graph .* MB are free.*TMPDIR"):
            quantization.quantize(tmp_path, TEXTS, make_reviews(20), lambda *_: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    full = raise_error(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(export.import_openvino(), "save_model", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        export.export_static_graph(tmp_path, [np.arange(4)])


def test_a_graph_that_openvino_cannot_run_is_not_used(tmp_path, monkeypatch):
    def fail(folder, name, **_):
        if name != REFERENCE:
            raise RuntimeError("the plugin has no such operation")
        return load_engine(folder, name)

    save_encoder(make_encoder(tmp_path / "encoder", "bert", "wordpiece"), tmp_path, 32)
    monkeypatch.setattr(quantization, "load_engine", fail)
    assert quantization.quantize(tmp_path, TEXTS, make_reviews(20), lambda *_: None) == []
    settings = load_settings(tmp_path)
    assert settings.cpu_engine == REFERENCE
    name = list_cpu_engines(INT8, find_processor())[0]
    assert f"{name} failed: OpenVINO cannot run it (RuntimeError)" in settings.cpu_engine_reason


def test_the_static_graph_alone_may_fail(tmp_path, monkeypatch):
    def fail(*_):
        raise EncoderUnavailableError("OpenVINO cannot convert it")

    save_encoder(make_encoder(tmp_path / "encoder", "bert", "wordpiece"), tmp_path, 32)
    monkeypatch.setattr(quantization, "export_static_graph", fail)
    amx = Processor("amx", (), has_bf16=True)
    monkeypatch.setattr(quantization, "find_processor", lambda: amx)
    compared = quantization.quantize(tmp_path, TEXTS, make_reviews(20), lambda *_: None)
    assert compared[0].engine == "int8"
    assert load_settings(tmp_path).cpu_engine_reason.startswith("int8_static: OpenVINO cannot convert it; ")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}),
        ("convbert", {"embedding_size": 32}),
    ],
)
def test_an_encoder_whose_scores_depend_on_padding_is_refused(tmp_path, kind, values):
    encoder = make_encoder(tmp_path, kind, "wordpiece", **values)
    if kind == "xlnet":
        assert find_max_length(encoder) is None  # its config states -1
    with pytest.raises(EncoderUnavailableError, match=f"type {kind}.*depend on the padding"):
        rehearse(encoder, 32, "head")


def test_an_encoder_that_fails_is_refused(tmp_path, monkeypatch):
    encoder = make_encoder(tmp_path, "bert", "wordpiece")

    def fail(*_, **__):
        raise IndexError("index out of range in self")

    monkeypatch.setattr(type(encoder.model), "forward", fail)
    with pytest.raises(EncoderUnavailableError, match="fails on a text of 32 tokens .IndexError"):
        rehearse(encoder, 32, "head")
