"""Run the encoder on a CPU as an OpenVINO graph with int8 weights, without torch."""

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
from ..signal_stack import keeping_signal_stack
from .probabilities import to_probabilities

GRAPH_FILE = "graph.xml"
STATIC_GRAPH_FILE = "static.xml"
INT8_STATIC = "int8_static"
INT8 = "int8"
BF16 = "bf16"
F32 = "f32"
# Tokens of a mini-batch per thread: the best of 256 to 4,096 (with AMX, of 512 to 1,024), because the data
# that passes between layers then fits a cache.
_TOKENS_PER_THREAD = 512
_AMX_TOKENS_PER_THREAD = 768
# Widths of mini-batches are multiples of this, because OpenVINO keeps megabytes of kernels and buffers for
# each number of tokens. With AMX, 32 and 768 tokens scored 12 % more reviews than 16 and 512.
_STEP_TOKENS = 16
_AMX_STEP_TOKENS = 32
# With AMX and several streams, OpenVINO 2026.4 computes layers of width 32 wrongly in bfloat16. Widths of 64
# to 768 give exactly the results of one stream.
_MIN_STREAM_WIDTH = 64


class GraphEngine:
    """Run a graph, its weights mapped from disk, on `threads` cores (0: all).

    `precision` is how linear layers are computed; weights are always stored in int8:

    - `int8_static` (static.xml): int8, with activation scales fixed when the graph was made.
    - `int8`: int8, with activation scales computed per token. With AMX, OpenVINO uses bfloat16 instead.
    - `bf16`, `f32`: in that type.

    With int8, the probabilities of a review do not depend on the other rows. Unless `f32`, the rest is
    computed in bfloat16 where the processor has it. `name` is the precision in use: `f32` instead of `int8`
    or `bf16` where the processor does not support these.

    `streams` mini-batches of different threads are computed in parallel, each on a share of the cores, with
    shared weights. A single running mini-batch has all cores, and uses a second copy of the weights.
    """

    is_packed = False

    @keeping_signal_stack()
    def __init__(self, folder: Path, precision: str = INT8, threads: int = 0, streams: int = 1) -> None:
        settings = load_settings(folder)
        processor = find_processor()
        self._pad_id = settings.pad_id
        streams = streams if settings.hidden_size >= _MIN_STREAM_WIDTH else 1
        core = import_openvino().Core()
        # OpenVINO emulates bfloat16, slowly, unless it lists the type here.
        has_bf16 = processor.has_bf16 and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        # OpenVINO itself computes `int8` in float32 where the processor has no VNNI.
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
        # More rows mean fewer shapes and less memory, which matters to the Spark workers of a machine. A
        # service (several streams) has the memory, and padding would only delay its callers.
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
            logits = request.infer([ids, mask], share_inputs=True)[0][: len(rows)]
        return to_probabilities(logits)

    @property
    def has_streams(self) -> bool:
        """Return True if parallel mini-batches use another copy of the graph than a single one."""
        return self._lone is not None

    @contextlib.contextmanager
    def as_if_busy(self) -> Iterator[bool]:
        """Count one more running mini-batch inside the block; yield True if there was none before."""
        with self._lock:
            is_alone = self._n_running == 0
            self._n_running += 1
        try:
            yield is_alone
        finally:
            with self._lock:
                self._n_running -= 1

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[Any]:
        """Yield the request with all cores if nothing else runs, else the next free one."""
        with self.as_if_busy() as is_alone:
            if is_alone and self._lone is not None:
                yield self._lone
                return
            request = self._requests.get()
            try:
                yield request
            finally:
                self._requests.put(request)


def find_graph_file(engine: str) -> str:
    """Return the file name of the graph that an engine of this module runs."""
    return STATIC_GRAPH_FILE if engine == INT8_STATIC else GRAPH_FILE


def import_openvino() -> Any:
    """Import openvino, and keep it and NNCF from sending usage reports."""
    if "openvino" not in sys.modules:
        # They send no reports if this package cannot be imported.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def _choose_options(
    precision: str, threads: int, streams: int, hidden_size: int, has_bf16: bool
) -> dict[str, Any]:
    options: dict[str, Any] = {
        # With int8 products, bfloat16 is faster than float32, and scores vary less with the mini-batch.
        "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 and precision != F32 else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": hidden_size if precision == INT8 else 0,
        "NUM_STREAMS": streams,
        # With pinning, all Spark workers of a machine would use its first cores.
        "ENABLE_CPU_PINNING": False,
    }
    if threads > 0:
        options["INFERENCE_NUM_THREADS"] = threads
    return options
