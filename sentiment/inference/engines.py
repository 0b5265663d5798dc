"""A token mini-batch in, class probabilities out: what every engine does, and which one runs."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .graph import BF16, INT8, INT8_STATIC, GraphEngine
from .settings import load_settings

AUTO = "auto"
GPU = "gpu"
REFERENCE = "reference"
CPU = "cpu"
CPU_ENGINES = (INT8_STATIC, INT8, BF16, REFERENCE)
ENGINES = (AUTO, GPU, *CPU_ENGINES)
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """What runs the encoder.

    `budget_tokens` is the size of a mini-batch that suits it. `is_packed` says that a mini-batch costs the
    sum of its rows' tokens, and not its rows times the longest, which is rounded up to `step_tokens`.
    """

    name: str
    budget_tokens: int
    is_packed: bool
    step_tokens: int

    def classify(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities, float64 (rows, classes), of unpadded int32 ids with special tokens."""
        ...


def load_engine(
    folder: Path, engine: str = AUTO, threads: int = 0, device: str = AUTO, streams: int = 1
) -> Engine:
    """The engine that was asked for, or that suits the hardware.

    `auto` is the GPU where there is one and torch to use it, else what the model's settings say for a CPU.
    `device` names a GPU as torch does (`cuda:1`), forbids it (`cpu`), or leaves the choice (`auto`).
    `streams` is `GraphEngine`'s; the others compute one mini-batch at a time.
    A GPU that was asked for and is not there is a warning, and the CPU's engine runs.
    Raises ValueError for an engine that nobody knows or that the model does not carry.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    settings = load_settings(folder)
    on_gpu = device != CPU and engine in (AUTO, GPU, REFERENCE) and _has_gpu()
    place = device if device not in (AUTO, CPU) else "cuda" if on_gpu else CPU
    if engine == GPU and not on_gpu:
        _log.warning("no GPU that torch can use: the model runs its CPU engine %s", settings.cpu_engine)
    if on_gpu and engine != REFERENCE:
        return _load_gpu_engine(folder, place)
    chosen = settings.cpu_engine if engine in (AUTO, GPU) else engine
    if chosen == REFERENCE:
        return _load_reference(folder, threads, place if on_gpu else CPU)
    return GraphEngine(folder, chosen, threads, streams)


def _has_gpu() -> bool:
    # Importing torch costs a second and 200 MB, which a process without a GPU need not spend.
    if not _NVIDIA_DRIVER.exists() or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _load_gpu_engine(folder: Path, device: str) -> Engine:
    from .packed import PackedEngine, PackingUnavailableError

    try:
        return PackedEngine(folder, device)
    except PackingUnavailableError as error:
        _log.warning("%s: the GPU runs the reference engine", error)
        return _load_reference(folder, 0, device)


def _load_reference(folder: Path, threads: int, device: str) -> Engine:
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise ValueError("engine 'reference' needs torch and transformers, which are not installed here")
    from .reference import ReferenceEngine

    return ReferenceEngine(folder, threads, device)
