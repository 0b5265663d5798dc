"""The bare engine call, in a process of its own: `python -m tests.bench.online_engine MODEL`.

It reads `{"texts": [...]}` a line from stdin and answers with the milliseconds of each text alone, in order.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    # Libraries print; only answers go where they are read.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from sentiment import loading

    # As the service loads it: all cores.
    model: Any = loading.load_model(sys.argv[1], {"cascade": "off", "device": "cpu"})
    predictor = model._predictor
    for line in sys.stdin:
        texts = json.loads(line)["texts"]
        found = {
            "predictor_ms": [_time(predictor.predict, text) for text in texts],
            "pyfunc_ms": [_time(model.predict_columns, text) for text in texts],
        }
        print(json.dumps(found), file=answers, flush=True)


def _time(predict: Callable[[list[str]], Any], text: str) -> float:
    start = time.perf_counter()
    predict([text])
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
