"""From values to predictions: rejects, tokenisation, cascade, mini-batches, decision, the rows' order."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schema
from .engines import AUTO, load_checked_engine, run_minibatches
from .linear import LINEAR_FILE, LinearStage
from .minibatches import round_up
from .rejects import MAX_TEXT_CHARS, find_reject_reasons
from .settings import load_settings
from .tokenization import TokenizedTexts, Tokenizer

OFF = "off"
CASCADES = (OFF, AUTO)
_PACKED_WINDOW = 4_096
"""Texts that a GPU scores while the next ones are tokenised: packed rows need no longer window to sort in."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Answers:
    """Hold the results of n distinct texts: arrays of n. `positive` is NaN where nothing was read."""

    positive: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray
    is_early: np.ndarray

    def at(self, positions: np.ndarray) -> "_Answers":
        return _Answers(
            *(values[positions] for values in (self.positive, self.n_tokens, self.truncated, self.is_early))
        )


class Predictor:
    """A model folder (encoder, tokenizer, graph, linear stage, settings), ready to score.

    Loads once, then `predict` may be called any number of times, by several threads too. `engine`,
    `threads`, `device` and `streams` are `engines.load_checked_engine`'s. `budget_tokens` bounds the tokens
    of a mini-batch; 0 is the engine's own, and a smaller one than the longest review is raised to it.
    `cascade` is `auto` (the linear stage decides what it is sure of, if the model has one) or `off`. A text
    of more characters than `max_text_chars` is a reject.
    """

    def __init__(
        self,
        folder: Path,
        threads: int = 0,
        budget_tokens: int = 0,
        engine: str = AUTO,
        cascade: str = AUTO,
        device: str = AUTO,
        max_length: int | None = None,
        truncation: str | None = None,
        streams: int = 1,
        max_text_chars: int = MAX_TEXT_CHARS,
    ) -> None:
        if cascade not in CASCADES:
            raise ValueError(f"cascade {cascade!r}: expected one of {', '.join(CASCADES)}")
        self._tokenizer = Tokenizer(folder, truncation or load_settings(folder).truncation, max_length)
        self._checked = load_checked_engine(folder, engine, threads, device, streams)
        self._engine = self._checked.engine
        self._max_text_chars = max_text_chars
        self._budget_tokens = budget_tokens or self._engine.budget_tokens
        has_linear = cascade == AUTO and (folder / LINEAR_FILE).exists()
        self._linear = LinearStage.load(folder / LINEAR_FILE) if has_linear else None

    @property
    def engine(self) -> str:
        """The name of the engine that runs."""
        return self._engine.name

    @property
    def instruction_set(self) -> str:
        """Return the instruction set that the engine runs on (`processor.INSTRUCTION_SETS`, or `cuda`)."""
        return self._checked.instruction_set

    @property
    def engine_warning(self) -> str | None:
        """Return why a faster engine of the model does not run; None if the intended one does."""
        return self._checked.warning

    @property
    def budget_tokens(self) -> int:
        """Tokens of a mini-batch, padding included."""
        return self._budget_tokens

    def row_cost(self, n_tokens: int) -> int:
        """Return what a row of `n_tokens` tokens takes of `budget_tokens`: with its padding, if any."""
        return int(round_up(np.array(n_tokens), self._engine.step_tokens))

    def predict(self, values: Sequence[object], progress: Progress | None = None) -> pd.DataFrame:
        """Score values of any type: one row per value, in order, with a fresh RangeIndex.

        Columns are `schema.PREDICTION_COLUMNS`: `label` (str or None), `score` (float64, probability of
        that label in [0.5, 1], NaN without label), `n_tokens` (int64, tokens that the encoder reads with
        special ones, 0 without label), `truncated` (bool: the review had more tokens), `stage` (which of
        `schema.STAGES` decided, or None), `reject_reason` (None, or a key of `schema.REJECT_REASONS`).
        Equal texts are scored once. `progress` is called with (distinct texts done, distinct texts).
        """
        return pd.DataFrame(self.predict_columns(values, progress))

    def predict_columns(
        self, values: Sequence[object], progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Return the columns of `predict`, each an array of a row per value."""
        reasons = np.array(find_reject_reasons(values, self._max_text_chars), dtype=object)
        positions = np.flatnonzero([reason is None for reason in reasons])
        texts = [str(values[int(i)]) for i in positions]
        numbers = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        answers = self._answer(list(numbers), progress or (lambda done, total: None))
        answers = answers.at(np.array([numbers[text] for text in texts], dtype=np.int64))
        # Control characters and the like survive the rule on white space and leave no token behind.
        is_read = ~np.isnan(answers.positive)
        reasons[positions[~is_read]] = schema.BLANK_TEXT
        return _decide(reasons, positions[is_read], answers.at(np.flatnonzero(is_read)))

    def _answer(self, texts: list[str], progress: Progress) -> _Answers:
        answers: list[_Answers] = []
        for window, tokens in self._tokenize_ahead(texts):
            before = sum(len(answer.positive) for answer in answers)
            report = functools.partial(_report, progress, before, len(texts))
            answers.append(self._answer_window(window, tokens, report))
        if not answers:
            empty = np.empty(0)
            return _Answers(empty, empty.astype(np.int64), empty.astype(bool), empty.astype(bool))
        columns = zip(*((a.positive, a.n_tokens, a.truncated, a.is_early) for a in answers), strict=True)
        return _Answers(*(np.concatenate(column) for column in columns))

    def _tokenize_ahead(self, texts: list[str]) -> Iterator[tuple[list[str], TokenizedTexts]]:
        """Yield the texts in windows; the next one is tokenised while the caller works on this one.

        A padding engine gets all texts at once: the longer the window, the less its rows differ.
        """
        size = _PACKED_WINDOW if self._engine.is_packed else max(1, len(texts))
        windows = [texts[start : start + size] for start in range(0, len(texts), size)]
        if len(windows) < 2:
            yield from ((window, self._tokenizer.encode(window)) for window in windows)
            return
        with ThreadPoolExecutor(1, "tokenizer") as pool:
            ahead = pool.submit(self._tokenizer.encode, windows[0])
            for window, following in itertools.zip_longest(windows, windows[1:]):
                tokens = ahead.result()
                if following is not None:
                    ahead = pool.submit(self._tokenizer.encode, following)
                yield window, tokens

    def _answer_window(
        self, texts: list[str], tokens: TokenizedTexts, progress: Callable[[int], None]
    ) -> _Answers:
        positive = np.full(len(texts), np.nan)
        is_early = np.zeros(len(texts), dtype=bool)
        is_read = tokens.lengths > tokens.n_special_tokens
        if self._linear is not None:
            is_early, probabilities = self._linear.decide(texts, tokens.lengths)
            is_early &= is_read
            positive[is_early] = probabilities[is_early]
        n_early = int(is_early.sum())
        rows = np.flatnonzero(is_read & ~is_early)
        positive[rows] = self._classify(texts, tokens, rows, lambda n: progress(n_early + n))
        progress(len(texts))
        n_tokens = np.where(is_read, tokens.lengths, 0)
        return _Answers(positive, n_tokens, tokens.truncated, is_early)

    def _classify(
        self, texts: list[str], tokens: TokenizedTexts, rows: np.ndarray, progress: Callable[[int], None]
    ) -> np.ndarray:
        """Return the encoder's probability of positive for tokens[rows], in the order of `rows`."""
        probabilities = np.empty(len(rows))
        n_done = 0
        batches = run_minibatches(
            self._engine, [tokens.ids[i] for i in rows], [texts[i] for i in rows], self._budget_tokens
        )
        for chosen, found in batches:
            probabilities[chosen] = found[:, schema.LABELS.index(schema.POSITIVE)]
            n_done += len(chosen)
            progress(n_done)
        return probabilities


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _decide(reasons: np.ndarray, positions: np.ndarray, answers: _Answers) -> dict[str, np.ndarray]:
    """Make one row per reason; the answers belong to the rows at `positions`."""
    n = len(reasons)
    labels = np.full(n, None, dtype=object)
    scores = np.full(n, np.nan)
    n_tokens = np.zeros(n, dtype=np.int64)
    truncated = np.zeros(n, dtype=bool)
    stages = np.full(n, None, dtype=object)

    is_positive = answers.positive >= 0.5
    labels[positions] = np.where(is_positive, schema.POSITIVE, schema.NEGATIVE)
    scores[positions] = np.where(is_positive, answers.positive, 1 - answers.positive)
    n_tokens[positions] = answers.n_tokens
    truncated[positions] = answers.truncated
    stages[positions] = np.where(answers.is_early, schema.LINEAR, schema.ENCODER)
    columns = (labels, scores, n_tokens, truncated, stages, reasons)
    return dict(zip(schema.PREDICTION_COLUMNS, columns, strict=True))
