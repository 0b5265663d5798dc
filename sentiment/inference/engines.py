"""A token mini-batch in, class probabilities out. The one place of inference that touches torch."""

from pathlib import Path
from typing import Protocol

import numpy as np


class Engine(Protocol):
    """What runs the encoder. `pad_id` fills a mini-batch up."""

    name: str
    pad_id: int

    def classify(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Class probabilities, float64 of shape (rows, classes), of int64 ids and mask (rows, tokens)."""
        ...


class ReferenceEngine:
    """The encoder in torch, float32, as transformers defines it: right by definition, on CPU or GPU.

    `threads` is the number of cores a CPU step may use; 0 leaves torch's own choice, which follows
    OMP_NUM_THREADS.
    """

    name = "reference"

    def __init__(self, folder: Path, threads: int = 0) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        if threads > 0:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        had_progress_bar = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # every worker would draw one
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
            )
        finally:
            if had_progress_bar:
                logging.enable_progress_bar()
        self._model = model.to(self._device).eval()
        self.pad_id: int = model.config.pad_token_id or 0

    def classify(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            logits = self._model(
                input_ids=torch.from_numpy(ids).to(self._device),
                attention_mask=torch.from_numpy(mask).to(self._device),
            ).logits
            probabilities: np.ndarray = torch.softmax(logits.double(), dim=-1).cpu().numpy()
        return probabilities
