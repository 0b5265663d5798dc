"""The encoder as an OpenVINO graph with int8 weights: the engines of a CPU, without torch."""

import contextlib
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..minibatches import pad_rows
from ..processor import AMX, SATURATING, find_processor
from ..settings import load_settings

GRAPH_FILE = "graph.xml"
STATIC_GRAPH_FILE = "static.xml"
INT8_STATIC = "int8_static"
INT8 = "int8"
BF16 = "bf16"
F32 = "f32"
_TOKENS_PER_THREAD = 512
_AMX_TOKENS_PER_THREAD = 768
"""Of a mini-batch: measured best of 256 to 4,096, and with AMX of 512 to 1,024; what passes between the
layers then fits a cache."""
_STEP_TOKENS = 16
_AMX_STEP_TOKENS = 32
"""Widths of mini-batches are multiples. OpenVINO keeps kernels and buffers, megabytes, for each number of
tokens that it has met: let there be few. With AMX 32 and 768 tokens did 12 % more reviews than 16 and 512."""

_MIN_STREAM_WIDTH = 64
"""Of the layers: with several streams OpenVINO 2026.4 computes narrower ones (32) wrongly in bfloat16, on
a processor with AMX; 64 to 768 give exactly what one stream gives."""


class GraphEngine:
    """Runs a graph (weights in a .bin beside it, mapped from disk) on `threads` cores; 0 means all.

    `streams` mini-batches of callers in threads are computed side by side, each on its share of the cores,
    with the same weights. One that comes while none is computed has all cores, and a second copy of the
    weights.

    `int8_static` (static.xml): linear layers are int8, by scales that were fixed when the graph was made.
    `int8`: their activations are quantised as they come, each token by a scale of its own. Either way a
    review's probabilities do not depend on its neighbours. `bf16` and `f32`: only the weights are kept in
    int8, and products are of that type; with AMX, OpenVINO computes `int8` in bfloat16 too. What else there
    is to compute is bfloat16 where the processor has it, else float32. `name` is what runs: `f32` where the
    processor has neither int8 products that are right nor bfloat16.
    """

    is_packed = False

    def __init__(self, folder: Path, precision: str = INT8, threads: int = 0, streams: int = 1) -> None:
        settings = load_settings(folder)
        processor = find_processor()
        self._pad_id = settings.pad_id
        streams = streams if settings.hidden_size >= _MIN_STREAM_WIDTH else 1
        core = import_openvino().Core()
        has_bf16 = processor.has_bf16 and _computes_bf16(core)
        # Without VNNI, OpenVINO computes `int8` in float32.
        is_f32 = precision == INT8 and processor.instruction_set in SATURATING
        self.name = F32 if is_f32 or (precision == BF16 and not has_bf16) else precision
        graph = core.read_model(folder / find_graph_file(precision))

        def compile_graph(n_streams: int) -> Any:
            width = settings.hidden_size
            options = _choose_options(self.name, threads, n_streams, width, has_bf16)
            return core.compile_model(graph, "CPU", options)

        compiled = compile_graph(streams)
        n_threads = compiled.get_property("INFERENCE_NUM_THREADS")
        has_amx = processor.instruction_set == AMX
        per_thread = _AMX_TOKENS_PER_THREAD if has_amx else _TOKENS_PER_THREAD
        self.budget_tokens = per_thread * max(1, n_threads // streams)
        self.step_tokens = _AMX_STEP_TOKENS if has_amx else _STEP_TOKENS
        # A worker shares the memory with others. A service does not, and its callers wait for padding.
        self._adds_rows = streams == 1
        self._lone = compile_graph(1).create_infer_request() if streams > 1 else None
        # A request runs one computation at a time.
        self._requests: queue.Queue[Any] = queue.Queue()
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())
        self._n_running = 0
        self._lock = threading.Lock()

    def classify(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        ids, mask = pad_rows(rows, self._pad_id, self.step_tokens, self._adds_rows)
        with self._borrow() as request:
            logits = request.infer([ids, mask], share_inputs=True)[0][: len(rows)].astype(np.float64)
        return _softmax(logits)

    @property
    def has_streams(self) -> bool:
        """Return whether mini-batches that come together are computed by another copy than a lone one."""
        return self._lone is not None

    @contextlib.contextmanager
    def as_if_busy(self) -> Iterator[None]:
        """Compute inside the block as if another mini-batch were running."""
        with self._lock:
            self._n_running += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_running -= 1

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[Any]:
        """Yield a free request, waiting if none is; the one with all cores if nothing else runs."""
        with self._lock:
            is_alone = self._n_running == 0
            self._n_running += 1
        try:
            if is_alone and self._lone is not None:
                yield self._lone
            else:
                request = self._requests.get()
                try:
                    yield request
                finally:
                    self._requests.put(request)
        finally:
            with self._lock:
                self._n_running -= 1


def find_graph_file(engine: str) -> str:
    """Return the name of the graph that an engine of this module runs."""
    return STATIC_GRAPH_FILE if engine == INT8_STATIC else GRAPH_FILE


def import_openvino() -> Any:
    """Import openvino without the usage reports that its tools and NNCF send by default."""
    if "openvino" not in sys.modules:
        # Both go without where the package that sends is not there to import.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def _choose_options(
    precision: str, threads: int, streams: int, hidden_size: int, has_bf16: bool
) -> dict[str, Any]:
    options: dict[str, Any] = {
        # Stated, because OpenVINO would choose by itself. Next to int8 products, bfloat16 is both faster than
        # float32 and nearer to the same score in any company.
        "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 and precision != F32 else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": hidden_size if precision == INT8 else 0,
        "NUM_STREAMS": streams,
        # Pinned, the workers of one machine would all sit on its first cores.
        "ENABLE_CPU_PINNING": False,
    }
    if threads > 0:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def _computes_bf16(core: Any) -> bool:
    """Return whether OpenVINO takes bfloat16 for a native type: it would emulate it elsewhere, slowly."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
