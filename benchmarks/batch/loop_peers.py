"""Run peers without Spark on texts sorted by length; tokenisation is part of the measured time."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from .. import CORES
from ..measuring.corpus import Table
from ..measuring.preparation import export_int8_onnx
from .contenders import Pass, Trial

# The batch size of sentence-transformers' `encode` and `predict`, which also sort the texts by length.
BATCH_ROWS = 32
# Padded tokens of a mini-batch, for torch too: one core scored 2.3 reviews/s with 32 rows, 5.0 with 8 rows,
# 4.2 with at most 4,096 tokens, 5.8 with this limit.
BUDGET_TOKENS = 1024

# Token ids of reviews of similar length.
Minibatch = list[np.ndarray]
# Returns the logits (rows, classes) of a mini-batch.
Step = Callable[[Minibatch], np.ndarray]

_WARM_MINIBATCH: Minibatch = [np.full(64, 101, dtype=np.int64)] * 2
_LOAD_SECONDS = 300.0

_step: Step | None = None


def open_torch_sorted(trial: Trial) -> AbstractContextManager[Pass]:
    """Run torch in float32."""
    return _open_processes(trial, partial(_load_torch, trial.encoder))


def open_onnxruntime_int8(trial: Trial) -> AbstractContextManager[Pass]:
    """Run ONNX Runtime on a fused int8 graph."""
    graph = export_int8_onnx(trial.encoder, trial.cache)
    return _open_processes(trial, partial(_load_onnx, graph))


def plan_minibatches(ids: Sequence[np.ndarray], max_rows: int, budget_tokens: int) -> list[np.ndarray]:
    """Cut the positions of `ids`, longest first, into mini-batches of limited rows and padded tokens.

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
def _open_processes(trial: Trial, load: Callable[[], Step]) -> Iterator[Pass]:
    """Run one process with one thread per core, like our loop; one process with two threads was slower."""
    from tokenizers import Tokenizer

    os.environ["RAYON_NUM_THREADS"] = str(CORES)  # for the tokenizer, which reads it at its first use
    tokenizer = Tokenizer.from_file(str(trial.encoder / "tokenizer.json"))
    tokenizer.no_padding()
    context = multiprocessing.get_context("spawn")
    # All processes load their model before the first one scores.
    loaded = context.Barrier(CORES + 1, timeout=_LOAD_SECONDS)
    with context.Pool(CORES, initializer=_load_step, initargs=(load, loaded)) as pool:
        loaded.wait()

        def run_pass(reviews: Table) -> float:
            texts = reviews.load_texts()
            start = time.perf_counter()
            ids = [np.array(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch_fast(texts)]
            parts = plan_minibatches(ids, BATCH_ROWS, BUDGET_TOKENS)
            # Processes take single mini-batches, the longest first, so that all end at about the same time.
            minibatches = ([ids[i] for i in part] for part in parts)
            logits = np.concatenate(list(pool.imap(_run_step, minibatches, chunksize=1)))
            ordered = np.empty_like(logits)
            ordered[np.concatenate(parts)] = logits
            return time.perf_counter() - start

        yield run_pass


def _load_step(load: Callable[[], Step], loaded: Barrier) -> None:
    global _step
    _step = load()
    _step(_WARM_MINIBATCH)
    loaded.wait()


def _run_step(minibatch: Minibatch) -> np.ndarray:
    assert _step is not None, "the pool's initializer loads it"
    return _step(minibatch)


def _load_torch(encoder: Path) -> Step:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, dtype=torch.float32).eval()
    pad_id = model.config.pad_token_id or 0

    def step(minibatch: Minibatch) -> np.ndarray:
        feeds = _pad(minibatch, pad_id)
        with torch.inference_mode():
            logits: np.ndarray = model(**{k: torch.from_numpy(v) for k, v in feeds.items()}).logits.numpy()
        return logits

    return step


def _load_onnx(graph: Path) -> Step:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
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
