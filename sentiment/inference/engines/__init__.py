"""Choose and load the engine that runs the encoder, and check that it computes correctly here."""

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
# In the order in which they are tried: the fastest first.
CPU_ENGINES = (INT8_STATIC, INT8, BF16, F32, REFERENCE)
ENGINES = (AUTO, GPU, *CPU_ENGINES)
# The sentences of the self-check differ in length, so small mini-batches have less padding.
_CHECK_BUDGET_TOKENS = 128
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

# The name is not `__name__`, which differs in each packaged model: a program must be able to switch the
# warning off and report it in its own way.
MODEL_LOGGER = "sentiment.model"

_log = logging.getLogger(MODEL_LOGGER)


class Engine(Protocol):
    """Run the encoder on mini-batches of token ids.

    `budget_tokens` is the best size of a mini-batch. It counts the tokens of all rows if `is_packed`, else
    the number of rows times the longest row, rounded up to a multiple of `step_tokens`.
    """

    name: str
    budget_tokens: int
    is_packed: bool
    step_tokens: int

    def classify(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return class probabilities, float64 (rows, classes), of unpadded int32 ids with special tokens."""
        ...


class EngineUnavailableError(ValueError):
    """This engine cannot run the encoder here; another engine may."""


class NoRightEngineError(RuntimeError):
    """No engine of the model runs and computes correctly on this machine."""


@dataclass(frozen=True)
class CheckedEngine:
    """Hold an engine that computes correctly; `warning` is the reason if faster engines were refused."""

    engine: Engine
    instruction_set: str
    warning: str | None = None


def load_checked_engine(
    folder: Path, engine: str = AUTO, threads: int = 0, device: str = AUTO, streams: int = 1
) -> CheckedEngine:
    """Load the requested engine, or the best one for the hardware, and check that it computes correctly.

    `engine="auto"` chooses the GPU if there is one and torch can use it, else the CPU engine that passed the
    gate, or float32 where int8 products saturate on this processor. `device` is a GPU as torch names it
    (`cuda:1`), `cpu` for no GPU, or `auto`. `streams` affects only a `GraphEngine`.

    If an engine cannot run here or fails the self-check of the model, the next slower one is tried; one
    warning then lists the refused engines. Raises ValueError if `engine` is unknown or the model does not
    carry it, and NoRightEngineError if no engine is left.
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
        # OpenVINO, torch and transformers raise these if they cannot import, read or compute something.
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            refused.append(f"{name}: {_shorten(error)}")
            continue
        warning = None
        if refused:
            warning = f"engine {found.name} runs on processor {processor}; refused: {'; '.join(refused)}"
            _log.warning("%s", warning)
        return CheckedEngine(found, processor.instruction_set if place == CPU else "cuda", warning)
    raise NoRightEngineError(
        f"no engine of the model runs and computes correctly on processor {processor}; refused: "
        f"{'; '.join(refused)}; use another machine, or install torch and transformers for the "
        "reference engine"
    )


def prove_right(engine: Engine, check: SelfCheck | None) -> None:
    """Raise RuntimeError if an engine fails the self-check of the model; do nothing if there is no check."""
    if check is not None:
        deviation = measure_deviation(engine, check)
        if not deviation.is_within_bounds:
            raise RuntimeError(str(deviation))


def load_engine(folder: Path, engine: str, threads: int = 0, device: str = CPU, streams: int = 1) -> Engine:
    """Load an engine without checking its results; `device` is `cpu` or a GPU as torch names it.

    Raises EngineUnavailableError if the engine cannot run here, RuntimeError if its graph cannot be read.
    """
    if engine == GPU:
        from .packed import PackedEngine

        return PackedEngine(folder, device)
    if engine == REFERENCE:
        return _load_reference(folder, threads, device)
    return GraphEngine(folder, engine, threads, streams)


def measure_deviation(engine: Engine, check: SelfCheck) -> Deviation:
    """Compare an engine with the reference on the sentences of the self-check.

    With several streams there are two compiled graphs, for one mini-batch and for several in parallel. Both
    are measured; the larger deviation is returned.
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
    """Return class probabilities, float64 (rows, classes), for any number of rows (see `run_minibatches`)."""
    parts = list(run_minibatches(engine, rows, texts, budget_tokens))
    probabilities = np.empty((len(rows), parts[0][1].shape[1] if parts else 0))
    for chosen, found in parts:
        probabilities[chosen] = found
    return probabilities


def run_minibatches(
    engine: Engine, rows: Sequence[np.ndarray], texts: Sequence[str] | None = None, budget_tokens: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the positions of the rows of each mini-batch, and their class probabilities.

    Rows are sorted by length, and by `texts` where lengths are equal, so that mini-batches do not depend on
    the order of the rows. `budget_tokens` is raised to the longest row if it is smaller; 0 means the
    engine's own budget.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ordered = order_by_length(lengths, texts if texts is not None else [""] * len(rows))
    rounded = round_up(lengths[ordered], engine.step_tokens)
    budget = max(budget_tokens or engine.budget_tokens, int(rounded.max(initial=0)))
    for part in plan_minibatches(rounded, budget, engine.is_packed):
        chosen = ordered[part]
        yield chosen, engine.classify([rows[i] for i in chosen])


def list_cpu_engines(first: str, processor: Processor) -> list[str]:
    """Return the CPU engines that suit a processor, fastest first, none faster than `first`.

    Where int8 products saturate, float32 is correct, and in OpenVINO no slower (docs/decisions/0001).
    """
    unsuited = {BF16} if not processor.has_bf16 else set()
    if processor.instruction_set in SATURATING:
        unsuited |= {INT8_STATIC, INT8}
    return [name for name in CPU_ENGINES[CPU_ENGINES.index(first) :] if name not in unsuited]


def _list_candidates(
    folder: Path, engine: str, device: str, processor: Processor
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the (engine, device) pairs to try, in order, and why the requested engine is not one of them."""
    refused = []
    on_gpu = device != CPU and engine in (AUTO, GPU, REFERENCE) and _has_gpu()
    if engine == GPU and not on_gpu:
        refused.append("gpu: torch finds no GPU, or `device` forbids it")
    first = load_settings(folder).cpu_engine if engine in (AUTO, GPU) else engine
    cpu = list_cpu_engines(first, processor)
    if engine in CPU_ENGINES and engine not in cpu:
        refused.append(f"{engine}: this processor computes it wrongly, or only by emulation")
    place = device if device not in (AUTO, CPU) else "cuda"
    gpu = [
        (name, place) for name in (GPU, REFERENCE) if on_gpu and (name == REFERENCE or engine != REFERENCE)
    ]
    return gpu + [(name, CPU) for name in cpu if _is_carried(folder, name)], refused


def _is_carried(folder: Path, engine: str) -> bool:
    return engine == REFERENCE or (folder / find_graph_file(engine)).exists()


def _shorten(error: Exception) -> str:
    """Return the last line of an error message; earlier lines of OpenVINO are places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def _has_gpu() -> bool:
    # The first tests avoid importing torch, which costs a second and 200 MB, where there is no GPU.
    if not _NVIDIA_DRIVER.exists() or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _load_reference(folder: Path, threads: int, device: str) -> Engine:
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise EngineUnavailableError("torch and transformers are not installed")
    from .reference import ReferenceEngine

    return ReferenceEngine(folder, threads, device)
