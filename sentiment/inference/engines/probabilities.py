"""Turn the logits of a classifier into probabilities of its classes."""

import numpy as np


def to_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return float64 probabilities (rows, classes) of logits (rows, outputs).

    Several outputs are classes that exclude each other (softmax). One output is the logit of the second of
    two classes (sigmoid).
    """
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
