"""Choose what runs the encoder: the engine that suits the processor, and that computes right on it."""

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..minibatches import order_by_length, plan_minibatches, round_up
from ..processor import SATURATING, Processor, find_processor
from ..selfcheck import Deviation, SelfCheck, load_self_check
from ..settings import load_settings
from .openvino import BF16, F32, INT8, INT8_STATIC, GraphEngine, find_graph_file

AUTO = "auto"
GPU = "gpu"
REFERENCE = "reference"
CPU = "cpu"
# The order in which a processor tries them: the fastest first.
CPU_ENGINES = (INT8_STATIC, INT8, BF16, F32, REFERENCE)
ENGINES = (AUTO, GPU, *CPU_ENGINES)
# Sentences of one line differ much in length: in small mini-batches less of the check is padding.
_CHECK_BUDGET_TOKENS = 128
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

# One name for every model, whatever its package is called, so that a program can turn the warning off and
# report it in its own way.
MODEL_LOGGER = "sentiment.model"

_log = logging.getLogger(MODEL_LOGGER)


class Engine(Protocol):
    """Runs the encoder.

    `budget_tokens` is the size of a mini-batch that suits it. `is_packed` means that a mini-batch costs the
    sum of its rows' tokens, and not its rows times the longest, which is rounded up to `step_tokens`.
    """

    name: str
    budget_tokens: int
    is_packed: bool
    step_tokens: int

    def classify(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return class probabilities, float64 (rows, classes), of unpadded int32 ids with special tokens."""
        ...


class EngineUnavailableError(ValueError):
    """This engine cannot run here: a library or a file is missing."""


class NoRightEngineError(RuntimeError):
    """No engine of the model both runs on this machine and computes right."""


@dataclass(frozen=True)
class CheckedEngine:
    """Hold an engine, the instruction set that it runs on, and a warning if a preferred one was refused."""

    engine: Engine
    instruction_set: str
    warning: str | None = None


def load_checked_engine(
    folder: Path, engine: str = AUTO, threads: int = 0, device: str = AUTO, streams: int = 1
) -> CheckedEngine:
    """Load the engine that was asked for, or that suits the hardware, and prove that it computes right.

    `auto` is the GPU where there is one and torch to use it, else the CPU engine that passed the gate, or
    float32 where the processor's int8 products saturate. `device` names a GPU as torch does (`cuda:1`),
    forbids it (`cpu`), or leaves the choice (`auto`). `streams` is `GraphEngine`'s; the other engines compute
    one mini-batch at a time.

    An engine that cannot run here, or that fails the model's self-check, gives way to the next slower one
    with one warning. Raises ValueError for an engine that nobody knows or that the model does not carry,
    NoRightEngineError, which names the processor's flags, if no engine is left.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if engine in CPU_ENGINES and not _is_carried(folder, engine):
        raise ValueError(f"engine {engine!r}: the model carries no graph for it; use engine 'auto'")
    processor = find_processor()
    candidates, refused = _list_candidates(folder, engine, device, processor)
    for name, place in candidates:
        try:
            found = load_engine(folder, name, threads, place, streams)
            prove_right(found, load_self_check(folder))
        # OpenVINO, torch and transformers raise these for what they cannot import, read or compute.
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            refused.append(f"{name}: {_shorten(error)}")
            continue
        warning = None
        if refused:
            warning = f"engine {found.name} runs, processor {processor}; refused were {'; '.join(refused)}"
            _log.warning("%s", warning)
        return CheckedEngine(found, processor.instruction_set if place == CPU else "cuda", warning)
    raise NoRightEngineError(
        f"no engine of the model runs and computes right here, processor {processor}; refused were "
        f"{'; '.join(refused)}; score on another machine, or install torch and transformers for the "
        "reference engine"
    )


def prove_right(engine: Engine, check: SelfCheck | None) -> None:
    """Raise RuntimeError if an engine fails the model's self-check; without one nothing is proved."""
    if check is None:
        return
    deviation = measure_deviation(engine, check)
    if not deviation.is_within_bounds:
        raise RuntimeError(str(deviation))


def load_engine(folder: Path, engine: str, threads: int = 0, device: str = CPU, streams: int = 1) -> Engine:
    """Load an engine by its name, unchecked; `device` is `cpu` or a GPU as torch names it.

    Raises EngineUnavailableError if it cannot run here, RuntimeError if its graph cannot be read.
    """
    if engine == GPU:
        from .packed import PackedEngine, PackingUnavailableError

        try:
            return PackedEngine(folder, device)
        except PackingUnavailableError as error:
            raise EngineUnavailableError(str(error)) from error
    if engine == REFERENCE:
        return _load_reference(folder, threads, device)
    return GraphEngine(folder, engine, threads, streams)


def measure_deviation(engine: Engine, check: SelfCheck) -> Deviation:
    """Return how far an engine is from the reference on the sentences of the model's self-check.

    A graph with several streams is compiled twice, for a lone mini-batch and for several at once: both are
    measured, and the farther one counts.
    """

    def measure() -> Deviation:
        return check.compare(lambda rows: run_engine(engine, rows, budget_tokens=_CHECK_BUDGET_TOKENS))

    found = [measure()]
    if isinstance(engine, GraphEngine) and engine.has_streams:
        with engine.as_if_busy():
            found.append(measure())
    return max(found, key=lambda deviation: (deviation.flips, deviation.mean_shift))


def run_engine(
    engine: Engine, rows: Sequence[np.ndarray], texts: Sequence[str] | None = None, budget_tokens: int = 0
) -> np.ndarray:
    """Return class probabilities, float64 (rows, classes), of any number of rows, in their order."""
    parts = list(run_minibatches(engine, rows, texts, budget_tokens))
    probabilities = np.empty((len(rows), parts[0][1].shape[1] if parts else 0))
    for chosen, found in parts:
        probabilities[chosen] = found
    return probabilities


def run_minibatches(
    engine: Engine, rows: Sequence[np.ndarray], texts: Sequence[str] | None = None, budget_tokens: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions of rows and their class probabilities, a mini-batch at a time.

    Rows are sorted by length; `texts` order rows of equal length, so that the neighbours of a row depend on
    the rows only. A `budget_tokens` of 0 is the engine's own; one that is smaller than the longest row is
    raised to it.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ordered = order_by_length(lengths, texts if texts is not None else [""] * len(rows))
    rounded = round_up(lengths[ordered], engine.step_tokens)
    budget = max(budget_tokens or engine.budget_tokens, int(rounded.max(initial=0)))
    for part in plan_minibatches(rounded, budget, engine.is_packed):
        chosen = ordered[part]
        yield chosen, engine.classify([rows[i] for i in chosen])


def list_cpu_engines(first: str, processor: Processor) -> list[str]:
    """Return the CPU engines that suit a processor, from `first` on, the fastest first.

    Where int8 products saturate, float32 is right and, in OpenVINO, no slower (docs/decisions).
    """
    unsuited = {BF16} if not processor.has_bf16 else set()
    if processor.instruction_set in SATURATING:
        unsuited |= {INT8_STATIC, INT8}
    return [name for name in CPU_ENGINES[CPU_ENGINES.index(first) :] if name not in unsuited]


def _list_candidates(
    folder: Path, engine: str, device: str, processor: Processor
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return (engine, device) pairs in the order in which to try them, and why one asked for is not there."""
    refused = []
    on_gpu = device != CPU and engine in (AUTO, GPU, REFERENCE) and _has_gpu()
    if engine == GPU and not on_gpu:
        refused.append("gpu: no GPU that torch can use, or none that this process may use")
    first = load_settings(folder).cpu_engine if engine in (AUTO, GPU) else engine
    cpu = list_cpu_engines(first, processor)
    if engine in CPU_ENGINES and engine not in cpu:
        refused.append(f"{engine}: this processor does not compute it right, or not natively")
    place = device if device not in (AUTO, CPU) else "cuda"
    gpu = [
        (name, place) for name in (GPU, REFERENCE) if on_gpu and (name == REFERENCE or engine != REFERENCE)
    ]
    return gpu + [(name, CPU) for name in cpu if _is_carried(folder, name)], refused


def _is_carried(folder: Path, engine: str) -> bool:
    return engine == REFERENCE or (folder / find_graph_file(engine)).exists()


def _shorten(error: Exception) -> str:
    """Return the last line of an error's message: OpenVINO's begin with places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def _has_gpu() -> bool:
    # Importing torch costs a second and 200 MB, which a process without a GPU need not spend.
    if not _NVIDIA_DRIVER.exists() or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _load_reference(folder: Path, threads: int, device: str) -> Engine:
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise EngineUnavailableError("it needs torch and transformers, which are not installed here")
    from .reference import ReferenceEngine

    return ReferenceEngine(folder, threads, device)
