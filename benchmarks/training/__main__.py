"""Compare our fine-tuning with a plain Trainer on the same reviews, by turns (`make bench-train`)."""

import argparse
import os
import statistics
import sys
import time

from .. import CORES, WORK, document
from ..measuring import corpus, encoders, results
from ..measuring.hosting import limit_cores
from ..measuring.interleaving import measure_interleaved
from ..measuring.machine import read_machine
from .contenders import MAX_LENGTH, list_contenders

# With fewer rows our mini-batches could not have similar lengths, as they have in a real run.
ROWS, BATCH_ROWS, REPETITIONS = 256, 16, 2
SECONDS = 270.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn")
    is_quick = parser.parse_args().quick
    limit_cores(CORES)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the job does
    import torch

    torch.set_num_threads(CORES)
    machine = read_machine(CORES)
    print(machine.describe(), flush=True)
    started, load_before = time.monotonic(), os.getloadavg()[0]
    encoder = encoders.build_minilm(WORK / "training" / "minilm")
    known = corpus.load_labelled(corpus.DATED).astype({"label": "int64"})
    n_tokens = corpus.count_tokens(known["text"].tolist(), encoder)
    texts = set(corpus.draw_stratified(known["text"].tolist(), n_tokens, ROWS, seed=0))
    reviews = known[known["text"].isin(texts)].drop_duplicates("text")[["text", "label"]]
    contenders = list_contenders(encoder, reviews.reset_index(drop=True), BATCH_ROWS)
    repetitions = 1 if is_quick else REPETITIONS
    measured = measure_interleaved(contenders, dict.fromkeys(contenders, repetitions), SECONDS)
    section = {
        "rows": len(reviews),
        "batch_rows": BATCH_ROWS,
        "max_length": MAX_LENGTH,
        "tokens_per_review": statistics.mean(n_tokens),
        "repetitions": {name: len(rates) for name, rates in measured.items()},
        "rates": {name: statistics.median(rates) for name, rates in measured.items()},
    }
    run = {"seconds": round(time.monotonic() - started), "load_before": load_before}
    words = results.QUICK if is_quick else results.FULL
    path = results.record("training", words, machine, {"minilm": section, "run": run})
    print(document.write(path, is_rendered=words == results.FULL))
    return 0


if __name__ == "__main__":
    sys.exit(main())
