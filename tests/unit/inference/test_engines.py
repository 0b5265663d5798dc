"""The choice of the engine; all engines compute the same as the reference."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from sentiment.inference import engines
from sentiment.inference.engines import (
    ENGINES,
    EngineUnavailableError,
    NoRightEngineError,
    list_cpu_engines,
    load_checked_engine,
    load_engine,
    measure_deviation,
    run_engine,
)
from sentiment.inference.engines.openvino import GraphEngine, import_openvino
from sentiment.inference.processor import SATURATING, Processor, find_processor
from sentiment.inference.selfcheck import SelfCheck, load_self_check, make_self_check, save_self_check
from sentiment.inference.settings import Settings, load_settings, save_settings
from sentiment.inference.tokenization import Tokenizer
from sentiment.models import loading
from sentiment.schema import POLARITY_LABELS
from sentiment.training.export import export_graph, export_static_graph, remove_graph
from tests.factories import make_reviews, make_tiny_encoder
from tests.hostile import damage_graph

pytestmark = pytest.mark.slow

HERE = find_processor()
has_int8 = pytest.mark.skipif(
    HERE.instruction_set in SATURATING, reason=f"NOT RUN: int8 products saturate on {HERE}"
)
INT8_STATIC = pytest.param("int8_static", marks=has_int8)
AMX = Processor("amx", (), has_bf16=True)
VNNI = Processor("avx512_vnni", (), has_bf16=False)
AVX2 = Processor("avx2", ("avx2", "fma"), has_bf16=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a tiny encoder with graphs, whose CPU engine is int8."""
    folder = make_tiny_encoder(tmp_path_factory.mktemp("encoder"), max_length=32)
    give_biases(folder)
    export_graph(folder)
    export_static_graph(folder, Tokenizer(folder).encode(make_reviews(60)["text"].tolist()).ids)
    save_settings(dataclasses.replace(load_settings(folder), cpu_engine="int8"), folder)
    return folder


def give_biases(folder):
    """Add random biases, as in trained encoders, so that a graph that adds them wrongly is noticed."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    torch.manual_seed(1)
    for name, value in weights.items():
        if name.endswith("bias"):
            weights[name] = value + 0.03 * torch.randn_like(value)
    save_file(weights, file, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def rows(folder):
    return Tokenizer(folder).encode(make_reviews(60)["text"].tolist()).ids


@pytest.mark.parametrize("name", [INT8_STATIC, "int8", "bf16", "f32"])
def test_the_graph_computes_what_the_encoder_computes_but_for_its_precision(folder, rows, name):
    expected = load_engine(folder, "reference").classify(rows)
    found = load_engine(folder, name).classify(rows)
    assert found.dtype == np.float64
    assert np.allclose(found.sum(axis=1), 1)
    # Large random weights increase rounding errors; the gate allows less for trained ones.
    assert 0 < np.abs(found - expected).mean() < 0.02
    assert np.ptp(expected[:, 1]) > 0.3  # else any constant would pass


def test_in_the_static_graph_linear_layers_are_int8_attention_is_not_and_embeddings_stay_so(folder):
    graph = import_openvino().Core().read_model(folder / "static.xml")
    sources = {}
    for node in graph.get_ops():
        kinds = {value.get_source_output().get_node().get_type_name() for value in node.inputs()}
        sources.setdefault(node.get_type_name(), []).append(kinds)
    assert sum("FakeQuantize" in kinds for kinds in sources["MatMul"]) >= 12, "six a layer"
    weighted = [kinds for kinds in sources["MatMul"] if "Softmax" in kinds]
    assert len(weighted) == 2, "one a layer"
    assert not any("FakeQuantize" in kinds for kinds in weighted)
    tables = [node.input_value(0) for node in graph.get_ops() if node.get_type_name() == "Gather"]
    stored = [table for table in tables if table.get_node().get_type_name() == "Constant"]
    assert any(table.get_element_type().get_type_name() == "i8" for table in stored)


@pytest.mark.parametrize("name", ["graph.xml", "static.xml"])
def test_keys_of_the_attention_are_transposed_by_the_product_that_reads_them(folder, name):
    graph = import_openvino().Core().read_model(folder / name)
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul"]
    products = [node for node in nodes if node.input_value(1).get_node().get_type_name() == "Transpose"]
    assert [node.get_attributes()["transpose_b"] for node in products] == [True, False] * 2, "two a layer"
    orders = [node.input_value(1).get_node().input_value(1).get_node().data.tolist() for node in products]
    assert orders == [[0, 2, 1, 3]] * 4


@pytest.mark.parametrize("name", ["graph.xml", "static.xml"])
def test_of_the_last_layer_keys_and_values_alone_are_made_of_all_tokens(folder, name):
    graph = import_openvino().Core().read_model(folder / name)
    graph.reshape({parameter: [4, 17] for parameter in graph.inputs})
    products = [node for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul"]
    n_tokens = [node.get_output_shape(0)[1] for node in products if len(node.get_output_shape(0)) == 3]
    assert sorted(n_tokens) == [1] * 4 + [17] * 8, "six a layer"


@pytest.mark.parametrize("precision", [INT8_STATIC, "int8", "bf16", "f32"])
def test_padding_does_not_change_what_the_graph_says(folder, rows, precision):
    engine = GraphEngine(folder, precision)
    together = engine.classify(rows)
    alone = np.concatenate([engine.classify([row]) for row in rows])
    assert np.abs(together - alone).max() < 0.01  # all rows at once, more than two


@pytest.mark.parametrize("precision", [INT8_STATIC, "int8"])
def test_threads_may_share_a_graph(folder, rows, precision):
    engine = GraphEngine(folder, precision)
    expected = [engine.classify([row]) for row in rows]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: engine.classify([row]), rows))
    assert np.array_equal(np.concatenate(found), np.concatenate(expected))


@pytest.mark.parametrize("precision", [INT8_STATIC, "int8"])
# One width in each run; others take as long again.
@pytest.mark.parametrize("width", [64, *(pytest.param(w, marks=pytest.mark.reliability) for w in (32, 128))])
def test_streams_compute_side_by_side_exactly_what_one_computes(tmp_path, width, precision):
    """OpenVINO 2026.4 computes layers of width 32 wrongly in bfloat16: the engine uses one stream there."""
    folder = make_encoder_of_width(tmp_path, width)
    numbers = np.random.default_rng(0)
    parts = [
        [numbers.integers(5, 99, size=n).astype(np.int32) for n in numbers.integers(3, 40, size=5)]
        for _ in range(24)
    ]
    if precision == "int8_static":
        export_static_graph(folder, [row for part in parts for row in part])
    one, two = (GraphEngine(folder, precision, threads=2, streams=streams) for streams in (1, 2))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(two.classify, parts))
    for part, probabilities in zip(parts, found, strict=True):
        assert np.abs(probabilities - one.classify(part)).max() < 1e-6


def make_encoder_of_width(folder, width):
    config = BertConfig(
        vocab_size=100,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    save_settings(Settings("int8", "made by a test", 0, width, POLARITY_LABELS), folder)
    export_graph(folder)
    return folder


@pytest.mark.parametrize(
    ("gated", "processor", "expected"),
    [
        ("int8_static", AMX, ["int8_static", "int8", "bf16", "f32", "reference"]),
        ("int8_static", VNNI, ["int8_static", "int8", "f32", "reference"]),
        ("int8", AMX, ["int8", "bf16", "f32", "reference"]),
        ("int8_static", AVX2, ["f32", "reference"]),
        ("int8", AVX2, ["f32", "reference"]),
        ("reference", AVX2, ["reference"]),
        ("int8_static", Processor("unknown", (), has_bf16=False), ["f32", "reference"]),
        (
            "int8_static",
            Processor("neon_i8mm", (), has_bf16=False),
            ["int8_static", "int8", "f32", "reference"],
        ),
        ("bf16", VNNI, ["f32", "reference"]),
    ],
)
def test_a_processor_tries_what_it_computes_right_the_fastest_first(gated, processor, expected):
    assert list_cpu_engines(gated, processor) == expected


def test_auto_is_what_the_settings_say_where_there_is_no_gpu(folder, monkeypatch):
    monkeypatch.setattr(engines, "_has_gpu", lambda: False)
    monkeypatch.setattr(engines, "find_processor", lambda: AMX)
    assert load_checked_engine(folder).engine.name == load_engine(folder, "int8").name
    assert load_checked_engine(folder, "bf16").engine.name == load_engine(folder, "bf16").name
    assert load_checked_engine(folder, "reference").engine.name == "reference"


def test_a_gpu_that_is_not_there_is_said_and_the_cpu_runs(folder, monkeypatch, caplog):
    monkeypatch.setattr(engines, "_has_gpu", lambda: False)
    with caplog.at_level(logging.WARNING):
        assert load_checked_engine(folder, "gpu").engine.name == load_checked_engine(folder).engine.name
    assert "no GPU" in caplog.text


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [
        ("auto", "auto", ("gpu", "cuda")),
        ("gpu", "cuda:1", ("gpu", "cuda:1")),
        ("auto", "cpu", ("int8", None)),
        ("gpu", "cpu", ("int8", None)),
        ("int8", "auto", ("int8", None)),
    ],
)
def test_a_gpu_is_used_where_it_is_allowed(folder, monkeypatch, engine, device, expected):
    class OnGpu:
        name = "gpu"

        def __init__(self, folder, device):
            self.device = device

    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    monkeypatch.setattr("sentiment.inference.engines.packed.PackedEngine", OnGpu)
    monkeypatch.setattr(engines, "find_processor", lambda: AMX)
    loaded = load_checked_engine(folder, engine, device=device).engine
    name = load_engine(folder, "int8").name if expected[0] == "int8" else expected[0]
    assert (loaded.name, getattr(loaded, "device", None)) == (name, expected[1])


def test_an_encoder_that_cannot_be_packed_runs_the_reference_on_the_gpu(folder, monkeypatch, caplog):
    def refuse(folder, device):
        raise EngineUnavailableError("of another kind")

    class OnGpu:
        name = "reference"

        def __init__(self, device):
            self.device = device

    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    monkeypatch.setattr("sentiment.inference.engines.packed.PackedEngine", refuse)
    monkeypatch.setattr(engines, "_load_reference", lambda folder, threads, device: OnGpu(device))
    with caplog.at_level(logging.WARNING):
        checked = load_checked_engine(folder)
    assert (checked.engine.name, checked.engine.device, checked.instruction_set) == (
        "reference",
        "cuda",
        "cuda",
    )
    assert "of another kind" in caplog.text


def test_an_unknown_engine_is_an_error_that_names_the_known(folder):
    with pytest.raises(ValueError, match=", ".join(ENGINES)):
        load_checked_engine(folder, "int4")


def test_an_engine_that_the_model_does_not_carry_is_an_error_and_nothing_takes_its_place(tmp_path):
    folder = make_tiny_encoder(tmp_path, max_length=16)
    with pytest.raises(ValueError, match="carries no graph"):
        load_checked_engine(folder, "int8")


@pytest.fixture
def checked_folder(folder, tmp_path):
    """Copy the model, with both graphs and a self-check; its weights are large and random."""
    copy = Path(shutil.copytree(folder, tmp_path / "encoder"))
    reference, tokenizer = load_engine(copy, "reference"), Tokenizer(copy)
    check = make_self_check(
        lambda texts: tokenizer.encode(texts).ids, lambda rows: run_engine(reference, rows), 0.05
    )
    save_self_check(check, copy)
    save_settings(dataclasses.replace(load_settings(copy), cpu_engine="int8_static"), copy)
    return copy


def test_an_engine_that_is_right_is_used_without_a_warning(checked_folder, caplog):
    checked = load_checked_engine(checked_folder)
    assert checked.engine.name == load_engine(checked_folder, list_cpu_engines("int8_static", HERE)[0]).name
    assert (checked.instruction_set, checked.warning) == (HERE.instruction_set, None)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        pytest.param(["static"], ["int8", "bf16", "f32"], marks=has_int8),
        (["static", "graph"], ["reference"]),
    ],
)
def test_a_graph_that_is_wrong_gives_way_to_the_next_engine_with_one_warning(
    checked_folder, damaged, expected, caplog
):
    for name in damaged:
        damage_graph(checked_folder / f"{name}.xml")
    with caplog.at_level(logging.WARNING):
        checked = load_checked_engine(checked_folder)
    assert checked.engine.name in expected
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("sentiment.model", checked.warning)
    ]
    assert "labels differ" in checked.warning


def test_one_flipped_label_is_enough(checked_folder, monkeypatch):
    classify = GraphEngine.classify
    longest = max(map(len, load_self_check(checked_folder).ids))

    def flip_one(engine, rows):
        probabilities = classify(engine, rows)
        if len(rows[0]) == longest:
            probabilities[0] = probabilities[0][::-1]
        return probabilities

    monkeypatch.setattr(GraphEngine, "classify", flip_one)
    assert load_checked_engine(checked_folder).engine.name == "reference"


def test_the_copy_for_several_minibatches_at_once_is_proved_too(tmp_path):
    folder = make_encoder_of_width(tmp_path, 64)
    engine = GraphEngine(folder, "int8", threads=2, streams=2)
    rows = [np.arange(5, 5 + n, dtype=np.int32) for n in range(3, 20)]
    check = SelfCheck([""] * len(rows), [r.tolist() for r in rows], engine.classify(rows).tolist(), 0.01)
    assert measure_deviation(engine, check).is_within_bounds
    for _ in range(2):
        engine._requests.put(Upside(engine._requests.get()))
    assert measure_deviation(engine, check).flips == len(rows)


class Upside:
    """A request whose copy of the graph computes the opposite."""

    def __init__(self, request):
        self._request = request

    def infer(self, *arguments, **options):
        return [-self._request.infer(*arguments, **options)[0]]


def test_libraries_that_are_missing_are_no_reason_to_fail_while_another_engine_is_right(
    checked_folder, monkeypatch
):
    def fail(*_, **__):
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(GraphEngine, "__init__", fail)
    checked = load_checked_engine(checked_folder)
    assert checked.engine.name == "reference"
    assert "No module named" in checked.warning


def test_models_and_the_code_that_silences_them_agree_on_the_loggers_name():
    assert engines.MODEL_LOGGER == loading.MODEL_LOGGER


def test_a_graph_that_cannot_be_read_gives_way_too(checked_folder):
    for name in ("static.xml", "graph.xml"):
        (checked_folder / name).write_text("no graph")
    checked = load_checked_engine(checked_folder)
    assert checked.engine.name == "reference"
    assert checked.warning is not None


def test_no_right_engine_is_an_error_that_names_the_processors_flags(checked_folder, monkeypatch):
    for name in ("static.xml", "graph.xml"):
        damage_graph(checked_folder / name)
    find_spec = engines.importlib.util.find_spec
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    with pytest.raises(NoRightEngineError) as caught:
        load_checked_engine(checked_folder)
    assert str(HERE) in str(caught.value)
    assert "torch and transformers are not installed" in str(caught.value)


@pytest.mark.skipif(HERE.instruction_set.startswith("neon"), reason="NOT RUN: oneDNN limits x86 only")
@pytest.mark.parametrize(
    ("asked", "found"), [("auto", "f32"), ("int8", "f32"), ("int8_static", "f32"), ("reference", "reference")]
)
def test_with_avx2_only_the_model_is_right_in_float32(checked_folder, rows, asked, found):
    """With this limit of oneDNN, any x86 processor behaves like one without VNNI: int8 products saturate."""
    script = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from sentiment.inference.engines import load_checked_engine, run_engine\n"
        f"checked = load_checked_engine(Path({str(checked_folder)!r}), {asked!r})\n"
        f"rows = [np.array(row, dtype=np.int32) for row in {[row.tolist() for row in rows]}]\n"
        "print(json.dumps([checked.engine.name, checked.instruction_set, checked.warning,\n"
        "                  run_engine(checked.engine, rows).tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )
    name, instruction_set, warning, probabilities = json.loads(done.stdout)
    assert (name, instruction_set) == (found, "avx2")
    assert (warning is not None) == asked.startswith("int8")
    expected = load_engine(checked_folder, "reference").classify(rows)
    assert np.abs(np.array(probabilities) - expected).mean() < 0.02


def test_rows_get_their_own_probabilities_whatever_shares_their_minibatch(folder, rows):
    engine = load_engine(folder, "reference")
    together = run_engine(engine, rows, budget_tokens=64)
    alone = np.concatenate([engine.classify([row]) for row in rows])
    assert np.abs(together - alone).max() < 1e-5


def test_a_removed_graph_leaves_nothing(tmp_path):
    folder = make_tiny_encoder(tmp_path, max_length=16)
    before = set(folder.iterdir())
    export_graph(folder)
    assert {p.name for p in set(folder.iterdir()) - before} == {"graph.xml", "graph.bin"}
    remove_graph(folder, "graph.xml")
    assert set(folder.iterdir()) == before


def test_scoring_on_a_cpu_imports_neither_torch_nor_transformers_nor_usage_reports(folder):
    script = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from sentiment.inference.predictor import Predictor\n"
        f"predictor = Predictor(Path({str(folder)!r}))\n"
        "assert predictor.predict(['good phone', None])['label'].notna().tolist() == [True, False]\n"
        "unwanted = ('torch', 'transformers', 'sklearn', 'nncf', 'openvino_telemetry')\n"
        "print(json.dumps([predictor.engine, *(n for n in unwanted if sys.modules.get(n) is not None)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [load_checked_engine(folder).engine.name]
