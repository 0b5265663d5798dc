"""Peers without Spark: sorted by length, on all cores of the trial, tokenisation included."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from .preparation import export_int8_onnx
from .trials import Pass, Trial

BATCH_ROWS = 32
"""What sentence-transformers' `encode` and `predict` take of the texts sorted by length."""
BUDGET_TOKENS = 1024
"""Padded tokens of a mini-batch. Torch is cut by it too, because it is faster so, and sentence-transformers
says to find the best size: one core did 2.3 reviews/s at 32 rows alone, 4.2 at 32 rows of at most 4,096
tokens, 5.8 at these (8 rows: 5.0)."""

Minibatch = list[np.ndarray]
"""Token ids of reviews of similar length."""
Step = Callable[[Minibatch], np.ndarray]
"""A mini-batch to its logits, of shape (rows, classes)."""
Load = Callable[[int], Step]
"""Loads a model that uses so many threads."""

_WARM_MINIBATCH: Minibatch = [np.full(64, 101, dtype=np.int64)] * 2
_LOAD_SECONDS = 300.0

_step: Step | None = None
"""The model of a pool's process."""


@contextmanager
def open_torch_sorted_threads(trial: Trial) -> Iterator[Pass]:
    """Torch in fp32, one process with a thread a core."""
    with _open_threads(trial, partial(_load_torch, trial.encoder)) as run_pass:
        yield run_pass


@contextmanager
def open_torch_sorted_processes(trial: Trial) -> Iterator[Pass]:
    """Torch in fp32, a process of one thread a core."""
    with _open_processes(trial, partial(_load_torch, trial.encoder)) as run_pass:
        yield run_pass


@contextmanager
def open_onnxruntime_int8_threads(trial: Trial) -> Iterator[Pass]:
    """ONNX Runtime, int8 and fused, one process with a thread a core."""
    graph = export_int8_onnx(trial.encoder, trial.cache)
    with _open_threads(trial, partial(_load_onnx, graph)) as run_pass:
        yield run_pass


@contextmanager
def open_onnxruntime_int8_processes(trial: Trial) -> Iterator[Pass]:
    """ONNX Runtime, int8 and fused, a process of one thread a core."""
    graph = export_int8_onnx(trial.encoder, trial.cache)
    with _open_processes(trial, partial(_load_onnx, graph)) as run_pass:
        yield run_pass


def plan_minibatches(ids: Sequence[np.ndarray], max_rows: int, budget_tokens: int) -> list[np.ndarray]:
    """Positions of `ids`, longest first, cut into mini-batches of at most so many rows and padded tokens.

    A row longer than the budget is a mini-batch of its own.
    """
    order = np.argsort([-len(row) for row in ids], kind="stable")
    parts = []
    start = 0
    while start < len(order):
        longest = len(ids[order[start]])
        rows = min(max_rows, max(1, budget_tokens // longest))
        parts.append(order[start : start + rows])
        start += rows
    return parts


@contextmanager
def _open_threads(trial: Trial, load: Load) -> Iterator[Pass]:
    step = load(trial.cores)
    step(_WARM_MINIBATCH)
    yield _make_pass(trial, lambda minibatches: map(step, minibatches))


@contextmanager
def _open_processes(trial: Trial, load: Load) -> Iterator[Pass]:
    context = multiprocessing.get_context("spawn")
    # Else the quickest process would score while another still loads.
    loaded = context.Barrier(trial.cores + 1, timeout=_LOAD_SECONDS)
    with context.Pool(trial.cores, initializer=_load_step, initargs=(load, loaded)) as pool:
        loaded.wait()
        yield _make_pass(trial, partial(_map_evenly, pool))


def _map_evenly(pool: Pool, minibatches: Iterator[Minibatch]) -> Iterator[np.ndarray]:
    # One by one, longest first: processes end together whatever else their cores do.
    return pool.imap(_run_step, minibatches, chunksize=1)


def _make_pass(trial: Trial, apply: Callable[[Iterator[Minibatch]], Iterator[np.ndarray]]) -> Pass:
    """A pass over the trial's texts: tokenise all on all cores, sort, score, put back in order."""
    from tokenizers import Tokenizer

    texts = trial.load_texts()
    os.environ["RAYON_NUM_THREADS"] = str(trial.cores)  # of the tokenizer, read at its first use
    tokenizer = Tokenizer.from_file(str(trial.encoder / "tokenizer.json"))
    tokenizer.no_padding()

    def run_pass() -> float:
        start = time.perf_counter()
        ids = [np.array(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch_fast(texts)]
        parts = plan_minibatches(ids, BATCH_ROWS, BUDGET_TOKENS)
        logits = np.concatenate(list(apply([ids[i] for i in part] for part in parts)))
        ordered = np.empty_like(logits)
        ordered[np.concatenate(parts)] = logits
        return time.perf_counter() - start

    return run_pass


def _load_step(load: Load, loaded: Barrier) -> None:
    global _step
    _step = load(1)
    _step(_WARM_MINIBATCH)
    loaded.wait()


def _run_step(minibatch: Minibatch) -> np.ndarray:
    assert _step is not None, "the pool's initializer loads it"
    return _step(minibatch)


def _load_torch(encoder: Path, threads: int) -> Step:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(threads)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, dtype=torch.float32).eval()
    pad_id = model.config.pad_token_id or 0

    def step(minibatch: Minibatch) -> np.ndarray:
        feeds = _pad(minibatch, pad_id)
        with torch.inference_mode():
            logits: np.ndarray = model(**{k: torch.from_numpy(v) for k, v in feeds.items()}).logits.numpy()
        return logits

    return step


def _load_onnx(graph: Path, threads: int) -> Step:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}

    def step(minibatch: Minibatch) -> np.ndarray:
        feeds = _pad(minibatch, pad_id=0)
        if "token_type_ids" in names:
            feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
        logits: np.ndarray = session.run(None, feeds)[0]
        return logits

    return step


def _pad(minibatch: Minibatch, pad_id: int) -> dict[str, np.ndarray]:
    width = max(len(row) for row in minibatch)
    ids = np.full((len(minibatch), width), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(minibatch):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
