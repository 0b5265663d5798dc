"""Serve our model by LitServe, with its documented dynamic batching.

Arguments are MODEL, PORT, `max_batch_size`, `batch_timeout` and `workers_per_device`. Each worker is a
process with a share of the cores.
"""

import os
import sys
from typing import Any

import litserve

from ..measuring.packaged import load_model

_KEYS = ("label", "score", "n_tokens", "truncated", "stage", "reject_reason")


class SentimentAPI(litserve.LitAPI):  # type: ignore[misc]
    """Read one text per request, and pass a list of texts to the model."""

    def __init__(self, uri: str, threads: int, **batching: Any) -> None:
        super().__init__(**batching)
        self._uri = uri
        self._threads = threads

    def setup(self, device: str) -> None:
        self._model = load_model(self._uri, cascade="off", threads=self._threads)
        self._model.predict_columns(["The first review warms it up."])

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        found = self._model.predict_columns(texts)
        columns = [found[name] for name in _KEYS]
        return [dict(zip(_KEYS, row, strict=True)) for row in zip(*columns, strict=True)]


def main() -> None:
    uri, port, rows, seconds, workers = sys.argv[1:]
    threads = len(os.sched_getaffinity(0)) // int(workers)
    api = SentimentAPI(uri, threads, max_batch_size=int(rows), batch_timeout=float(seconds))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(workers), timeout=120)
    options = {"num_api_servers": 1, "log_level": "warning", "generate_client_file": False}
    server.run(host="127.0.0.1", port=int(port), **options)


if __name__ == "__main__":
    main()
