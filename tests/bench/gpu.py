"""`make bench-gpu`: reviews and tokens a second on the GPU that is here, and its share of the card's peak."""

import json
import sys
import time

from sentiment.inference.predictor import Predictor
from sentiment.inference.settings import Settings, save_settings

from . import corpus, encoders, report
from .batch import FOLDER
from .roofline import count_done_operations

ROWS = 100_000
PEAK_BF16_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0}
"""Dense bf16 of the SXM cards, from NVIDIA's data sheets."""


def main() -> int:
    encoder = encoders.build_distilbert(FOLDER / "encoders" / "distilbert-gpu")
    hidden_size = encoders.read_shape(encoder).hidden
    save_settings(Settings("reference", "random weights", pad_id=0, hidden_size=hidden_size), encoder)
    predictor = Predictor(encoder, engine="gpu", cascade="off")
    if predictor.engine != "gpu":
        print("error: no GPU that torch can use: nothing was measured", file=sys.stderr)
        return 2
    import torch

    known = corpus.load_texts()
    texts = [f"{i} {known[i % len(known)]}" for i in range(ROWS)]  # equal texts would be scored once
    predictor.predict(texts[:5_000])
    started = time.perf_counter()
    predictions = predictor.predict(texts)
    seconds = time.perf_counter() - started
    tokens = int(predictions["n_tokens"].sum())
    name = torch.cuda.get_device_name()
    peak = next((value for card, value in PEAK_BF16_TFLOPS.items() if card in name), None)
    achieved = count_done_operations(encoders.read_shape(encoder), tokens, ROWS) / seconds / 1e12
    section = {
        "device": name,
        "rows": ROWS,
        "rows_per_second": ROWS / seconds,
        "tokens_per_second": tokens / seconds,
        "share_of_peak": achieved / peak if peak else None,
    }
    report.merge(FOLDER / "batch.json", {"gpu": section})
    print(json.dumps(section, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
