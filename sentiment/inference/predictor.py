"""From values to predictions: rejects, tokenisation, mini-batches, the decision, in the rows' order."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schema
from .engines import Engine, ReferenceEngine
from .minibatches import order_by_length, pad_rows, plan_minibatches
from .rejects import find_reject_reasons
from .tokenization import TokenizedTexts, Tokenizer

DEFAULT_BUDGET_TOKENS = 4096
"""Padded tokens of a mini-batch."""


class Predictor:
    """A fine-tuned encoder folder (config.json, model.safetensors, tokenizer.json), ready to score.

    Loads once, then `predict` may be called any number of times. `budget_tokens` bounds the padded
    tokens of a mini-batch and is raised to the tokenizer's maximum length if smaller.
    """

    def __init__(self, folder: Path, threads: int = 0, budget_tokens: int = DEFAULT_BUDGET_TOKENS) -> None:
        self._tokenizer = Tokenizer(folder)
        self._engine: Engine = ReferenceEngine(folder, threads)
        self._budget_tokens = max(budget_tokens, self._tokenizer.max_length)

    def predict(
        self, values: Sequence[object], progress: Callable[[int, int], None] | None = None
    ) -> pd.DataFrame:
        """Score values of any type: one row per value, in order, with a fresh RangeIndex.

        Columns are `schema.PREDICTION_COLUMNS`: `label` (str or None), `score` (float64, probability of
        that label in [0.5, 1], NaN without label), `n_tokens` (int64, tokens read with special ones, 0
        without label), `truncated` (bool: the review had more tokens), `reject_reason` (None, or a key of
        `schema.REJECT_REASONS`). `progress` is called with (rows done, rows to score).
        """
        reasons = np.array(find_reject_reasons(values), dtype=object)
        positions = np.flatnonzero([reason is None for reason in reasons])
        texts = [str(values[int(i)]) for i in positions]
        tokens = self._tokenizer.encode(texts)
        # Control characters and the like survive the rule on white space and leave no token behind.
        is_read = tokens.lengths > tokens.n_special_tokens
        reasons[positions[~is_read]] = schema.BLANK_TEXT

        rows = np.flatnonzero(is_read)
        probabilities = self._classify(tokens, rows, [texts[i] for i in rows], progress)
        return _decide(reasons, positions[rows], probabilities, tokens, rows)

    def _classify(
        self,
        tokens: TokenizedTexts,
        rows: np.ndarray,
        texts: Sequence[str],
        progress: Callable[[int, int], None] | None,
    ) -> np.ndarray:
        """Class probabilities of shape (len(rows), classes) for tokens[rows], in the order of `rows`."""
        order = order_by_length(tokens.lengths[rows], texts)
        probabilities = np.empty((len(rows), len(schema.LABELS)))
        done = 0
        for part in plan_minibatches(tokens.lengths[rows][order], self._budget_tokens):
            chosen = order[part]
            ids, mask = pad_rows([tokens.ids[i] for i in rows[chosen]], self._engine.pad_id)
            probabilities[chosen] = self._engine.classify(ids, mask)
            done += len(chosen)
            if progress is not None:
                progress(done, len(rows))
        return probabilities


def _decide(
    reasons: np.ndarray,
    positions: np.ndarray,
    probabilities: np.ndarray,
    tokens: TokenizedTexts,
    rows: np.ndarray,
) -> pd.DataFrame:
    n = len(reasons)
    labels = np.full(n, None, dtype=object)
    scores = np.full(n, np.nan)
    n_tokens = np.zeros(n, dtype=np.int64)
    truncated = np.zeros(n, dtype=bool)

    is_positive = probabilities[:, 1] >= 0.5
    labels[positions] = np.where(is_positive, schema.POSITIVE, schema.NEGATIVE)
    scores[positions] = np.where(is_positive, probabilities[:, 1], probabilities[:, 0])
    n_tokens[positions] = tokens.lengths[rows]
    truncated[positions] = tokens.truncated[rows]
    return pd.DataFrame(
        dict(zip(schema.PREDICTION_COLUMNS, (labels, scores, n_tokens, truncated, reasons), strict=True))
    )
