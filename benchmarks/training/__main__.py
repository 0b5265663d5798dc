"""Compare our fine-tuning with a plain Trainer on the same reviews, by turns (`make bench-train`)."""

import argparse
import os
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import CORES, WORK, document
from ..batch.gpu import find_peak
from ..batch.roofline import count_linear_operations
from ..measuring import corpus, encoders, results
from ..measuring.hosting import limit_cores
from ..measuring.interleaving import measure_interleaved
from ..measuring.machine import read_machine
from .contenders import MAX_LENGTH, Plan, list_contenders, plan_cpu, plan_gpu

REPETITIONS = 2
SECONDS = 270.0
# A step has three products where scoring has one: outputs, gradients of inputs, gradients of weights.
_PRODUCTS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn")
    is_quick = parser.parse_args().quick
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the job does
    import torch

    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        limit_cores(CORES)
        torch.set_num_threads(CORES)
    machine = read_machine(len(os.sched_getaffinity(0)))
    builders = {"minilm": encoders.build_minilm}
    if has_gpu:
        machine = replace(machine, processor=f"{torch.cuda.get_device_name()}, {machine.processor}")
        builders["distilbert"] = encoders.build_distilbert
    print(machine.describe(), flush=True)
    started, load_before = time.monotonic(), os.getloadavg()[0]
    plan, repetitions = plan_gpu() if has_gpu else plan_cpu(), 1 if is_quick else REPETITIONS
    sections = {
        name: compare(build(WORK / "training" / name), plan, repetitions) for name, build in builders.items()
    }
    run = {"seconds": round(time.monotonic() - started), "load_before": load_before}
    words = results.QUICK if is_quick else results.FULL
    path = results.record("training", words, machine, {**sections, "run": run})
    print(document.write(path, is_rendered=words == results.FULL))
    return 0


def compare(encoder: Path, plan: Plan, repetitions: int) -> dict[str, Any]:
    """Return the sizes, and the reviews per second of each contender; on a GPU the shares of its peak too."""
    known = corpus.load_labelled(corpus.DATED).astype({"label": "int64"})
    n_tokens = corpus.count_tokens(known["text"].tolist(), encoder)
    texts = set(corpus.draw_stratified(known["text"].tolist(), n_tokens, plan.rows, seed=0))
    reviews = known[known["text"].isin(texts)].drop_duplicates("text")[["text", "label"]]
    contenders = list_contenders(encoder, reviews.reset_index(drop=True), plan)
    measured = measure_interleaved(contenders, dict.fromkeys(contenders, repetitions), SECONDS)
    rates = {name: statistics.median(values) for name, values in measured.items()}
    section = {
        **asdict(plan),
        "rows": len(reviews),
        "max_length": MAX_LENGTH,
        "tokens_per_review": statistics.mean(n_tokens),
        "repetitions": {name: len(values) for name, values in measured.items()},
        "rates": rates,
    }
    if peak := find_peak():
        read = float(np.minimum(n_tokens, MAX_LENGTH).mean())
        operations = _PRODUCTS * count_linear_operations(encoders.read_shape(encoder), read)
        section["shares_of_peak"] = {name: rate * operations / peak for name, rate in rates.items()}
    return section


if __name__ == "__main__":
    sys.exit(main())
