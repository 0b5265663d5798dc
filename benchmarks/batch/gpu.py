"""Measure reviews and tokens per second on the GPU of this machine, and the share of its peak."""

import time
from pathlib import Path
from typing import Any

from ..measuring import corpus, encoders
from .roofline import count_done_operations

ROWS = 100_000
# Peak of dense bf16 products of the SXM cards, from NVIDIA's data sheets.
PEAK_BF16_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0}


def measure_gpu(folder: Path) -> dict[str, Any]:
    """Score 100,000 reviews with an encoder of DistilBERT size, which is built in `folder`."""
    from sentiment.inference.predictor import Predictor
    from sentiment.inference.settings import Settings, save_settings
    from sentiment.inference.vocabulary import make_vocabulary

    shape = encoders.read_shape(encoders.build_distilbert(folder))
    settings = Settings("reference", "random weights", 0, shape.hidden, encoders.LABELS)
    save_settings(settings, folder)
    make_vocabulary(folder, unknown_id=None)
    predictor = Predictor(folder, engine="gpu", cascade="off")
    if predictor.engine != "gpu":
        raise SystemExit("error: no GPU that torch can use: nothing was measured")
    import torch

    known = corpus.load_texts()
    texts = [f"{i} {known[i % len(known)]}" for i in range(ROWS)]  # equal texts would be scored once
    predictor.predict(texts[:5_000])
    started = time.perf_counter()
    tokens = int(predictor.predict(texts)["n_tokens"].sum())
    seconds = time.perf_counter() - started
    peak = find_peak()
    achieved = count_done_operations(shape, tokens, ROWS) / seconds
    return {
        "device": torch.cuda.get_device_name(),
        "rows": ROWS,
        "rows_per_second": ROWS / seconds,
        "tokens_per_second": tokens / seconds,
        "share_of_peak": achieved / peak if peak else None,
    }


def find_peak() -> float | None:
    """Return the operations per second of dense bf16 products on the GPU; None without one, or if unknown."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((value * 1e12 for card, value in PEAK_BF16_TFLOPS.items() if card in name), None)
