"""Run the encoder in transformers, as the reference for all other engines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..minibatches import pad_rows
from ..settings import load_settings
from .probabilities import to_probabilities


class ReferenceEngine:
    """Run the encoder in torch and float32: correct by definition, slow on a CPU.

    `threads` is the number of CPU cores to use; 0 leaves the choice to torch, which reads OMP_NUM_THREADS.
    """

    name = "reference"
    budget_tokens = 4096
    is_packed = False
    step_tokens = 1

    def __init__(self, folder: Path, threads: int = 0, device: str = "cpu") -> None:
        import torch

        if threads > 0:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._model = load_classifier(folder).to(self._device)
        self._pad_id = load_settings(folder).pad_id

    def classify(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        import torch

        ids, mask = pad_rows(rows, self._pad_id)
        with torch.inference_mode():
            logits = self._model(
                input_ids=torch.from_numpy(ids).to(self._device),
                attention_mask=torch.from_numpy(mask).to(self._device),
            ).logits
        return to_probabilities(logits.double().cpu().numpy())


def load_classifier(folder: Path, **options: Any) -> Any:
    """Load the classifier in a model folder as a float32 transformers model for inference.

    `options` go to `from_pretrained`.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    had_progress_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            **options,
        )
    finally:
        if had_progress_bar:
            logging.enable_progress_bar()
    return model.eval()
