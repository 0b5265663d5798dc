"""Measure the limit of the cores: int8 matrix products with the shapes of an encoder, and nothing else."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from .. import CORES
from ..measuring.encoders import EncoderShape
from ..measuring.hosting import Hosted
from ..measuring.interleaving import measure_interleaved
from ..measuring.machine import read_machine

# Tokens of the activation matrix.
ROWS = 1024
# A pass ends only after the running product: the largest one takes 2 s at 2.4 GOP/s.
_PASS_SECONDS = 1.5
_WARM_SECONDS = 0.5
_SCALE = 0.01

# The number of weights, and a call that multiplies by all matrices on one thread.
Product = tuple[int, Callable[[], object]]


def count_linear_operations(shape: EncoderShape, n_tokens: float) -> float:
    """Return the operations of the linear layers for `n_tokens`; a multiplication and an addition are two.

    Per token and layer: four H x H matrices of the attention, H x I and I x H of the feed-forward part.
    Products inside the attention, and the head (once per review), are not counted.
    """
    return sum(2 * inputs * outputs for inputs, outputs in _list_matrices(shape)) * shape.layers * n_tokens


def count_done_operations(shape: EncoderShape, n_tokens: float, n_rows: int) -> float:
    """Return the operations of our engine: in the last layer only keys and values use all tokens."""
    keys_and_values = 2 * 2 * shape.hidden * shape.hidden
    skipped = count_linear_operations(shape, 1) / shape.layers - keys_and_values
    return count_linear_operations(shape, n_tokens) - skipped * (n_tokens - n_rows)


def measure_limit(shape: EncoderShape, logs: Path, repetitions: int = 3) -> float:
    """Return the GOP/s (10^9 operations) of the fastest method, as the median of its repetitions.

    The methods are interleaved, and use one thread on each core. ONNX Runtime is not measured where
    instruction sets are restricted, because the restriction has no effect on it.
    """
    is_restricted = bool(read_machine(CORES).restrictions)
    methods = [name for name in METHODS if not (is_restricted and name == "onnxruntime")]
    with ExitStack() as stack:
        hosts = [
            stack.enter_context(Hosted("roofline", logs / f"roofline-{core}.log", _open, shape))
            for core in range(CORES)
        ]
        passes = {name: partial(_ask_all, hosts, (name, _PASS_SECONDS)) for name in methods}
        for name in methods:
            _ask_all(hosts, (name, _WARM_SECONDS))
        found = measure_interleaved(passes, dict.fromkeys(methods, repetitions))
    return max(statistics.median(rates) for rates in found.values())


def _list_matrices(shape: EncoderShape) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of the matrices of a layer, ordered so that each can feed the next."""
    hidden, intermediate = shape.hidden, shape.intermediate
    return [(hidden, hidden)] * 4 + [(hidden, intermediate), (intermediate, hidden)]


def _draw_weights(shape: EncoderShape) -> Iterator[np.ndarray]:
    """Yield int8 weights of shape (inputs, outputs) for every matrix of every layer."""
    random = np.random.default_rng(0)
    for inputs, outputs in _list_matrices(shape) * shape.layers:
        yield random.integers(-127, 128, (inputs, outputs), dtype=np.int8)


def _draw_activations(shape: EncoderShape) -> dict[int, np.ndarray]:
    """Return uint8 matrices of `ROWS` rows by their width."""
    random = np.random.default_rng(1)
    widths = (shape.hidden, shape.intermediate)
    return {width: random.integers(0, 128, (ROWS, width)).astype(np.uint8) for width in widths}


def _load_torch_qlinear(shape: EncoderShape) -> Iterator[Product]:
    """Yield products by oneDNN's quantised linear layer: uint8 by packed int8 to uint8."""
    import torch

    torch.set_num_threads(1)
    onednn = torch.ops.onednn
    drawn = _draw_activations(shape)
    activations = {width: torch.from_numpy(matrix) for width, matrix in drawn.items()}
    scales = {width: torch.full((width,), _SCALE) for width in activations}
    zeros = {width: torch.zeros(width, dtype=torch.int64) for width in activations}
    result: tuple[Any, ...] = (1.0 / _SCALE, 0, torch.uint8, "none", [], "")
    for matrix in _draw_weights(shape):
        inputs, outputs = matrix.shape
        packed = onednn.qlinear_prepack(torch.from_numpy(matrix.T.copy()), [ROWS, inputs])
        weight = (packed, scales[outputs], zeros[outputs], None)
        arguments = (activations[inputs], _SCALE, 0, *weight, *result)
        yield inputs * outputs, partial(onednn.qlinear_pointwise, *arguments)


def _load_onnxruntime(shape: EncoderShape) -> Iterator[Product]:
    """Yield all products by ONNX Runtime's MatMulInteger: uint8 by constant int8 to int32."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weights = {f"w{i}": matrix for i, matrix in enumerate(_draw_weights(shape))}
    activations = {f"x{k}": matrix for k, matrix in _draw_activations(shape).items()}
    describe = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", [f"x{w.shape[0]}", name], [f"y{name}"])
            for name, w in weights.items()
        ],
        "roofline",
        [describe(name, TensorProto.UINT8, x.shape) for name, x in activations.items()],
        [describe(f"y{name}", TensorProto.INT32, [ROWS, w.shape[1]]) for name, w in weights.items()],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    yield sum(w.size for w in weights.values()), partial(session.run, None, activations)


def _load_openvino(shape: EncoderShape) -> Iterator[Product]:
    """Yield a chain of all products by OpenVINO: uint8 by int8 weights, requantised to uint8."""
    from sentiment.inference.engines.openvino import import_openvino

    openvino = import_openvino()
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    options |= {"INFERENCE_PRECISION_HINT": "f32"}  # for all but int8
    compiled = openvino.Core().compile_model(_build_openvino_chain(openvino, shape), "CPU", options)
    types = {
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str).startswith("FullyConnected")
    }
    if not types <= {"u8", "i8"}:
        raise RuntimeError(f"OpenVINO runs the products in {types}, not in int8")
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ones((ROWS, shape.hidden), dtype=np.float32)))
    yield sum(inputs * outputs for inputs, outputs in _list_matrices(shape)) * shape.layers, request.infer


def _build_openvino_chain(openvino: Any, shape: EncoderShape) -> Any:
    from openvino import opset13 as ops

    def number(value: float) -> Any:
        return ops.constant(np.array(value, dtype=np.float32))

    def quantise(node: Any) -> Any:
        low, high = number(0.0), number(255 * _SCALE)
        return ops.fake_quantize(node, low, high, low, high, 256)

    inputs = ops.parameter([ROWS, shape.hidden], openvino.Type.f32)
    node = quantise(inputs)
    for matrix in _draw_weights(shape):
        integers = ops.convert(ops.constant(matrix.T.copy()), openvino.Type.f32)
        scales = ops.constant(np.full((matrix.shape[1], 1), _SCALE * _SCALE, dtype=np.float32))
        node = quantise(ops.matmul(node, ops.multiply(integers, scales), False, True))
    return openvino.Model([ops.result(node)], [inputs], "roofline")


# Methods for the same products; the fastest rate is the limit. torch._int_mm was never the fastest.
METHODS: Mapping[str, Callable[[EncoderShape], Iterator[Product]]] = {
    "torch_qlinear": _load_torch_qlinear,
    "onnxruntime": _load_onnxruntime,
    "openvino": _load_openvino,
}


@contextmanager
def _open(shape: EncoderShape) -> Iterator[Callable[[tuple[str, float]], float]]:
    load = cache(lambda method: list(METHODS[method](shape)))
    yield lambda question: run_products(load(question[0]), question[1])


def run_products(
    products: Sequence[Product], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Repeat the products until `seconds` have passed, and return GOP/s."""
    done = 0
    begin = clock()
    for size, product in cycle(products):
        product()
        done += 2 * ROWS * size
        if (taken := clock() - begin) >= seconds:
            return done / taken / 1e9
    raise ValueError("no products")


def _ask_all(hosts: Sequence[Hosted], question: tuple[str, float]) -> float:
    return float(sum(answer.result() for answer in [host.send(question) for host in hosts]))
