import inspect
import subprocess
import sys

import numpy as np
import pytest

from sentiment.inference.engines import EngineUnavailableError, packed
from sentiment.inference.engines.first_token import FIRST_TOKEN_TYPES
from sentiment.inference.engines.packed import PackedEngine, number_positions

MAX_LENGTH = 64
N_WORDS = 50
LENGTHS = (2, 17, MAX_LENGTH, 3, 2, 40, 9)


def make_classifier(folder, model_type, initializer_range=0.3, **overrides):
    """A tiny random classifier of a `model_type` of transformers; it reads MAX_LENGTH tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    is_distilbert = model_type == "distilbert"
    config = AutoConfig.for_model(
        model_type,
        vocab_size=N_WORDS,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=initializer_range,
        **{"dim" if is_distilbert else "hidden_size": 32},
        **{"hidden_dim" if is_distilbert else "intermediate_size": 64},
        **overrides,
    )
    has_padding_position = config.pad_token_id == 1  # RoBERTa and related encoders
    config.max_position_embeddings = MAX_LENGTH + 2 * has_padding_position
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def make_rows(lengths=LENGTHS):
    """Random token ids, none of them padding."""
    random = np.random.default_rng(0)
    return [random.integers(2, N_WORDS, n).astype(np.int32) for n in lengths]


def classify_padded(folder, rows):
    """Classify the rows by transformers: padded, masked, float32."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.full((len(rows), max(map(len, rows))), model.config.pad_token_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = 1
    with torch.inference_mode():
        return torch.softmax(model(input_ids=ids, attention_mask=mask).logits.double(), dim=-1).numpy()


@pytest.fixture(scope="module", params=sorted(FIRST_TOKEN_TYPES))
def classifier(request, tmp_path_factory):
    return make_classifier(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def engine(classifier):
    return PackedEngine(classifier, device="cpu")


def test_packed_equals_padded(classifier, engine):
    rows = make_rows()
    expected = classify_padded(classifier, rows)
    assert np.ptp(expected[:, 1]) > 0.1, "rows that score alike would prove nothing"
    probabilities = engine.classify(rows)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


def test_a_row_scores_alone_what_it_scores_in_any_company(engine):
    rows = make_rows()
    together = engine.classify(rows)
    for row, expected in zip(rows, together, strict=True):
        np.testing.assert_allclose(engine.classify([row])[0], expected, rtol=0, atol=1e-6)


def test_rows_keep_their_order(engine):
    rows = make_rows()
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = engine.classify([rows[i] for i in order])
    np.testing.assert_allclose(shuffled, engine.classify(rows)[order], rtol=0, atol=1e-6)


def test_a_padding_token_in_a_text_is_read_as_transformers_reads_it(classifier, engine):
    rows = make_rows((5, 12, 7))
    for row in rows[1:]:
        row[3] = row[5] = 1  # the id of padding for RoBERTa and related encoders, a word for the others
    np.testing.assert_allclose(engine.classify(rows), classify_padded(classifier, rows), rtol=0, atol=1e-5)


def test_no_rows_have_no_probabilities(engine):
    assert engine.classify([]).shape == (0, 2)


@pytest.mark.parametrize("length", [0, MAX_LENGTH + 1])
def test_a_row_that_the_encoder_cannot_read_is_an_error(engine, length):
    with pytest.raises(ValueError, match=f"1 to {MAX_LENGTH} tokens"):
        engine.classify(make_rows((5, length)))


def test_half_precision_is_close_and_leaves_the_head_at_float32(tmp_path):
    import torch

    folder = make_classifier(tmp_path, "bert", initializer_range=0.1)
    rows = make_rows()
    half = PackedEngine(folder, device="cpu", dtype=torch.bfloat16)
    full = PackedEngine(folder, device="cpu")
    np.testing.assert_allclose(half.classify(rows), full.classify(rows), rtol=0, atol=0.02)
    dtypes = {name: parameter.dtype for name, parameter in half._model.named_parameters()}
    in_float32 = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    assert in_float32 == {name for name in dtypes if "pooler" in name or "classifier" in name}


def test_positions_restart_at_each_row():
    lengths = np.array([2, 3])
    ids = np.array([5, 6, 7, 1, 8])
    starts = np.array([0, 2])
    assert number_positions(ids, starts, lengths, None).tolist() == [0, 1, 0, 1, 2]
    assert number_positions(ids, starts, lengths, 1).tolist() == [2, 3, 2, 1, 3]


@pytest.mark.parametrize("is_last", [False, True])
def test_the_gpu_kernel_gets_rows_and_bounds_as_it_wants_them(monkeypatch, is_last):
    """Check the arguments of the kernel with a stand-in, because the kernel needs a GPU."""
    import torch
    from torch.nn.attention import varlen

    signature = inspect.signature(varlen.varlen_attn)

    def attend(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        queries, keys = given["cu_seq_q"], given["cu_seq_k"]
        assert queries.dtype == keys.dtype == torch.int32
        assert queries.tolist() == ([0, 1, 2, 3] if is_last else [0, 2, 7, 8])
        assert keys.tolist() == [0, 2, 7, 8]
        assert (given["max_q"], given["max_k"]) == (1 if is_last else 5, 5)
        assert given["query"].is_contiguous()
        parts = []
        for i in range(3):
            q = given["query"][queries[i] : queries[i + 1]].transpose(0, 1)
            k, v = (given[name][keys[i] : keys[i + 1]].transpose(0, 1) for name in ("key", "value"))
            weights = torch.softmax(q @ k.transpose(1, 2) * given["scale"], dim=-1)
            parts.append((weights @ v).transpose(0, 1))
        return torch.cat(parts)

    monkeypatch.setattr(varlen, "varlen_attn", attend)
    rows = packed._Rows(torch.tensor([0, 2, 7, 8], dtype=torch.int32), [2, 5, 1], 5)
    packing = packed._Packing(rows, rows)
    torch.manual_seed(0)
    states = torch.randn(1, 8, 32)
    first = states
    if is_last:
        first, _, options = packed._take_first_tokens(states, None, {"packing": packing})
        packing = options["packing"]
        assert torch.equal(first[0], states[0, [0, 2, 7]])
    # As the encoders make them: (1, tokens, heads, size), then transposed.
    heads = [x.view(1, -1, 2, 16).transpose(1, 2) for x in (first, states, states + 1)]
    by_kernel, _ = packed.attend_varlen(None, *heads, None, packing=packing, scaling=0.25)
    by_row, _ = packed.attend_by_row(None, *heads, None, packing=packing, scaling=0.25)
    assert by_kernel.shape == (1, 3 if is_last else 8, 2, 16)
    torch.testing.assert_close(by_kernel, by_row)


@pytest.mark.parametrize("model_type", ["mpnet", "deberta-v2", "modernbert"])
def test_an_encoder_that_would_mix_reviews_is_refused(tmp_path, model_type):
    from transformers import AutoConfig

    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    with pytest.raises(EngineUnavailableError, match=f"type '{model_type}' cannot be run packed"):
        PackedEngine(tmp_path, device="cpu")


def test_a_decoder_is_refused(tmp_path):
    folder = make_classifier(tmp_path, "bert", is_decoder=True)
    with pytest.raises(EngineUnavailableError, match="decoder"):
        PackedEngine(folder, device="cpu")


def test_a_device_that_cannot_run_it_says_so_at_construction(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(packed, "attend_by_row", fail)
    with pytest.raises(EngineUnavailableError, match="no kernel image"):
        PackedEngine(make_classifier(tmp_path, "bert"), device="cpu")


def test_scores_that_are_not_finite_show_at_construction(tmp_path):
    folder = make_classifier(tmp_path, "bert", initializer_range=float("inf"))
    with pytest.raises(EngineUnavailableError, match="finite"):
        PackedEngine(folder, device="cpu")


def test_without_a_gpu_the_error_says_so(tiny_encoder):
    import torch

    if torch.cuda.is_available():
        pytest.skip("NOT RUN: this machine has a GPU")
    with pytest.raises(EngineUnavailableError, match="no GPU"):
        PackedEngine(tiny_encoder)


def test_on_a_gpu_half_precision_is_close_to_float32(tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("NOT RUN: no GPU, so torch's variable-length kernel was never called")
    folder = make_classifier(tmp_path, "bert", initializer_range=0.1)
    rows = make_rows(LENGTHS * 20)
    expected = classify_padded(folder, rows)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        engine = PackedEngine(folder, dtype=dtype)
        together = engine.classify(rows)
        np.testing.assert_allclose(together, expected, rtol=0, atol=0.02)
        np.testing.assert_allclose(engine.classify(rows[:1]), together[:1], rtol=0, atol=0.005)


def test_importing_the_module_loads_no_torch():
    code = (
        "import sys, sentiment.inference.engines.packed\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
