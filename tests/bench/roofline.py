"""The limit: int8 matrix products of the encoder's shapes, and nothing else, on the same cores."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from .corpus import ROOT
from .encoders import EncoderShape
from .measure import Measured, measure_interleaved
from .trials import prepare_process

LOGS = ROOT / "var" / "bench" / "cache" / "logs"
ROWS = 1024
"""Tokens of the activation matrix."""
_PASS_SECONDS = 1.5
_LOAD_SECONDS = 300.0
_SCALE = 0.01

Step = Callable[[], object]
"""All products of one encoder, once, on one thread."""


def count_linear_operations(shape: EncoderShape, n_tokens: int) -> int:
    """Operations (a multiplication and an addition are two) of the linear layers over so many tokens.

    Per token and layer: four H x H matrices of the attention, H x I and I x H of the feed-forward part.
    Neither the attention's own products nor the head, which is once a review, are counted.
    """
    return _count_layer_operations(shape) * shape.layers * n_tokens


def count_done_operations(shape: EncoderShape, n_tokens: int, n_rows: int) -> int:
    """Of these, those that ours does: in the last layer only keys and values are made of all tokens."""
    keys_and_values = 2 * 2 * shape.hidden * shape.hidden
    skipped = (_count_layer_operations(shape) - keys_and_values) * (n_tokens - n_rows)
    return count_linear_operations(shape, n_tokens) - skipped


def _count_layer_operations(shape: EncoderShape) -> int:
    return sum(2 * inputs * outputs for inputs, outputs in _list_matrices(shape))


@contextmanager
def open_roofline(method: str, shape: EncoderShape, cores: int, logs: Path) -> Iterator[Callable[[], float]]:
    """A contender whose rate is GOP/s (10^9 operations): a process of one thread a core, all at once.

    `method` is one of `METHODS`. Every layer has weights of its own, as in the encoder.
    """
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(cores, timeout=_LOAD_SECONDS)
    pipes = [context.Pipe() for _ in range(cores)]
    processes = [
        context.Process(
            target=_serve, args=(theirs, start, method, shape, logs / f"roofline-{method}-{i}.log")
        )
        for i, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, theirs in pipes:
        theirs.close()  # else nobody would notice that a process died

    def run_pass() -> float:
        for ours, _ in pipes:
            ours.send(True)
        return sum(_receive(ours, method, logs) for ours, _ in pipes)

    try:
        for ours, _ in pipes:
            _receive(ours, method, logs)
        yield run_pass
    finally:
        for ours, _ in pipes:
            ours.close()
        for process in processes:
            process.join(_PASS_SECONDS * 2)
            process.kill()
            process.join()


def measure(shape: EncoderShape, cores: int = 2, logs: Path = LOGS, repetitions: int = 3) -> float:
    """GOP/s of the fastest method: the median of its repetitions."""
    measured = measure_methods(shape, cores, logs, repetitions)
    return max(method.median for method in measured.values())


def measure_methods(
    shape: EncoderShape, cores: int = 2, logs: Path = LOGS, repetitions: int = 3
) -> dict[str, Measured]:
    """GOP/s of each method, interleaved; each by processes of its own, which wait while others run."""
    with ExitStack() as stack:
        contenders = {
            method: stack.enter_context(open_roofline(method, shape, cores, logs)) for method in METHODS
        }
        return measure_interleaved(contenders, repetitions, unit="GOP/s")


def _list_matrices(shape: EncoderShape) -> list[tuple[int, int]]:
    """(inputs, outputs) of a layer's matrices, in an order in which one could feed the next."""
    hidden, intermediate = shape.hidden, shape.intermediate
    return [(hidden, hidden)] * 4 + [(hidden, intermediate), (intermediate, hidden)]


def _draw_weights(shape: EncoderShape) -> Iterator[np.ndarray]:
    """int8 of shape (inputs, outputs), for every matrix of every layer."""
    random = np.random.default_rng(0)
    for inputs, outputs in _list_matrices(shape) * shape.layers:
        yield random.integers(-127, 128, (inputs, outputs), dtype=np.int8)


def _draw_activations(shape: EncoderShape, kind: type[Any]) -> dict[int, np.ndarray]:
    """Matrices of `ROWS` rows by their width; values that are legal in int8 and in uint8."""
    random = np.random.default_rng(1)
    widths = (shape.hidden, shape.intermediate)
    return {width: random.integers(0, 128, (ROWS, width)).astype(kind) for width in widths}


def _load_torch_int_mm(shape: EncoderShape) -> Step:
    """torch._int_mm: int8 by int8 to int32, in oneDNN."""
    import torch

    torch.set_num_threads(1)
    activations = {
        width: torch.from_numpy(matrix) for width, matrix in _draw_activations(shape, np.int8).items()
    }
    weights = [torch.from_numpy(matrix) for matrix in _draw_weights(shape)]
    # A fresh result of megabytes for each product would time the kernel's zeroing of pages.
    results = {w.shape[1]: torch.empty(ROWS, w.shape[1], dtype=torch.int32) for w in weights}

    def step() -> None:
        for matrix in weights:
            torch._int_mm(activations[matrix.shape[0]], matrix, out=results[matrix.shape[1]])

    return step


def _load_torch_qlinear(shape: EncoderShape) -> Step:
    """oneDNN's quantised linear layer, as torch calls it: uint8 by packed int8 to uint8."""
    import torch

    torch.set_num_threads(1)
    onednn = torch.ops.onednn
    activations = {
        width: torch.from_numpy(matrix) for width, matrix in _draw_activations(shape, np.uint8).items()
    }
    weights = [
        (matrix.shape, onednn.qlinear_prepack(torch.from_numpy(matrix.T.copy()), [ROWS, matrix.shape[0]]))
        for matrix in _draw_weights(shape)
    ]
    scales = {width: torch.full((width,), _SCALE) for width in activations}
    zeros = {width: torch.zeros(width, dtype=torch.int64) for width in activations}

    def step() -> None:
        for (inputs, outputs), packed in weights:
            weight = (packed, scales[outputs], zeros[outputs], None)
            result: tuple[Any, ...] = (1.0 / _SCALE, 0, torch.uint8, "none", [], "")
            onednn.qlinear_pointwise(activations[inputs], _SCALE, 0, *weight, *result)

    return step


def _load_onnxruntime(shape: EncoderShape) -> Step:
    """ONNX Runtime's MatMulInteger: uint8 by constant int8 to int32."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weights = list(_draw_weights(shape))
    activations = {f"x{k}": matrix for k, matrix in _draw_activations(shape, np.uint8).items()}
    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", [f"x{w.shape[0]}", f"w{i}"], [f"y{i}"])
            for i, w in enumerate(weights)
        ],
        "roofline",
        [helper.make_tensor_value_info(k, TensorProto.UINT8, m.shape) for k, m in activations.items()],
        [
            helper.make_tensor_value_info(f"y{i}", TensorProto.INT32, [ROWS, w.shape[1]])
            for i, w in enumerate(weights)
        ],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, activations)


def _load_openvino(shape: EncoderShape) -> Step:
    """OpenVINO: a chain of products with uint8 activations and int8 weights, requantised to uint8."""
    from sentiment.inference.graph import import_openvino

    openvino = import_openvino()
    compiled = openvino.Core().compile_model(
        _build_openvino_chain(openvino, shape),
        "CPU",
        {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "f32",  # of what is not int8
        },
    )
    types = {
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str).startswith("FullyConnected")
    }
    if not types <= {"u8", "i8"}:
        raise RuntimeError(f"OpenVINO runs the products in {types}, not in int8")
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ones((ROWS, shape.hidden), dtype=np.float32)))
    return request.infer  # type: ignore[no-any-return]


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


METHODS: Mapping[str, Callable[[EncoderShape], Step]] = {
    "torch_int_mm": _load_torch_int_mm,
    "torch_qlinear": _load_torch_qlinear,
    "onnxruntime": _load_onnxruntime,
    "openvino": _load_openvino,
}
"""Ways to the same products; the fastest one's rate is the limit."""


def _serve(connection: Connection, start: Barrier, method: str, shape: EncoderShape, log: Path) -> None:
    prepare_process(log)
    step = METHODS[method](shape)
    operations = count_linear_operations(shape, ROWS)
    step()
    connection.send(0.0)
    try:
        while connection.recv():
            start.wait()
            connection.send(_count_rate(step) * operations / 1e9)
    except EOFError:
        pass  # the other side has what it wanted


def _count_rate(step: Step) -> float:
    """Steps a second, for as long as a pass takes."""
    steps = 0
    begin = time.perf_counter()
    while (seconds := time.perf_counter() - begin) < _PASS_SECONDS:
        step()
        steps += 1
    return steps / seconds


def _receive(connection: Connection, method: str, logs: Path) -> float:
    if not connection.poll(_LOAD_SECONDS):
        raise RuntimeError(f"roofline by {method}: no answer; see {logs}")
    try:
        return float(connection.recv())
    except EOFError:
        raise RuntimeError(f"roofline by {method}: its process died; see {logs}") from None
