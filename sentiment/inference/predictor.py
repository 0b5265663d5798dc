"""Turn values into predictions: reject, tokenise, run the cascade in mini-batches, and decide the label."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schema
from .calibration import find_min_score
from .engines import AUTO, load_checked_engine, run_minibatches
from .linear import LINEAR_FILE, LinearStage, OpinionPool, with_first_class
from .minibatches import round_up
from .rejects import MAX_TEXT_CHARS, find_reject_reasons
from .settings import Settings, find_embedding_rows, load_settings
from .tokenization import TokenizedTexts, Tokenizer
from .vocabulary import load_vocabulary

OFF = "off"
CASCADES = (OFF, AUTO)
# With an engine that packs rows (no padding), this many texts are tokenised while the GPU scores the ones
# before. More would gain nothing, because packed rows need no sorting by length.
_PACKED_TEXTS = 4_096

# Called with the number of texts done, and of all texts.
TextProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Results:
    """Hold arrays with a row per distinct text.

    `probabilities` (n, classes) is NaN for a text without a score: the model can read too little of it
    (`is_unknown`), or failed on it.
    """

    probabilities: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray
    stages: np.ndarray
    is_unknown: np.ndarray

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        return (self.probabilities, self.n_tokens, self.truncated, self.stages, self.is_unknown)

    def at(self, positions: np.ndarray) -> "_Results":
        return _Results(*(column[positions] for column in self.columns))


class Predictor:
    """Score texts with the model in a folder (encoder, tokenizer, graphs, linear stage, settings).

    Threads may share a predictor. `engine`, `threads`, `device` and `streams` go to
    `engines.load_checked_engine`, `budget_tokens` to `engines.run_minibatches`. With `cascade="auto"` the
    linear stage of the model, if it has one, decides clear reviews, and may count in other long ones; with
    `off` the encoder decides all. `max_length` and `truncation` replace the values of the model. A text
    longer than `max_text_chars` is rejected. A score below `min_score` is unsure; `target_accuracy` finds the
    value that fine-tuning proved to reach it. Neither of them: as the model states. `probabilities` adds a
    column to the predictions.
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
        min_score: float | None = None,
        target_accuracy: float | None = None,
        probabilities: bool = False,
    ) -> None:
        if cascade not in CASCADES:
            raise ValueError(f"cascade {cascade!r}: expected one of {', '.join(CASCADES)}")
        settings = load_settings(folder)
        self.labels = settings.labels
        self.columns = tuple(schema.list_prediction_types(settings.labels, probabilities))
        self._min_score = _choose_min_score(settings, min_score, target_accuracy)
        self._calibration = settings.calibration
        self._vocabulary = load_vocabulary(folder)
        self._tokenizer = Tokenizer(folder, truncation or settings.truncation, max_length)
        self._checked = load_checked_engine(folder, engine, threads, device, streams)
        self._engine = self._checked.engine
        self._embedding_rows = find_embedding_rows(folder)
        self._max_text_chars = max_text_chars
        self._budget_tokens = budget_tokens or self._engine.budget_tokens
        has_linear = cascade == AUTO and (folder / LINEAR_FILE).exists()
        self._linear = LinearStage.load(folder / LINEAR_FILE) if has_linear else None

    @property
    def engine(self) -> str:
        """Name of the engine in use."""
        return self._engine.name

    @property
    def instruction_set(self) -> str:
        """Instruction set that the engine uses: one of `processor.INSTRUCTION_SETS`, or `cuda`."""
        return self._checked.instruction_set

    @property
    def engine_warning(self) -> str | None:
        """Reason why faster engines of the model were refused; None if none was."""
        return self._checked.warning

    @property
    def budget_tokens(self) -> int:
        """Largest number of tokens in a mini-batch, padding included."""
        return self._budget_tokens

    def row_cost(self, n_tokens: int) -> int:
        """Return how many tokens of `budget_tokens` a row of `n_tokens` tokens uses, padding included."""
        return int(round_up(np.array(n_tokens), self._engine.step_tokens))

    def predict(self, values: Sequence[object], progress: TextProgress | None = None) -> pd.DataFrame:
        """Score values of any type; return one row per value, in order, with a RangeIndex.

        Columns are those of `columns`; after a semicolon stands the value of a reject. `label` (str, the
        likeliest of `labels`; None), `score` (float64, calibrated probability of the label, at least 1
        divided by the number of labels; NaN), `unsure` (bool, the score is below `min_score`; False),
        `n_tokens` (int64, tokens that the encoder reads, special tokens included; 0), `truncated` (bool, the
        review has more tokens; False), `stage` (the one of `schema.STAGES` that decided; None),
        `reject_reason` (a key of `schema.REJECT_REASONS`, None for a scored review), `expected` (float64,
        only with ordinal labels: the mean of their values; NaN), `probabilities` (list of float, in the order
        of `labels`; None). Equal texts are scored once, and `progress` counts distinct texts.
        """
        return pd.DataFrame(self.predict_columns(values, progress))

    def predict_columns(
        self, values: Sequence[object], progress: TextProgress | None = None
    ) -> dict[str, np.ndarray]:
        """Return the columns of `predict` as arrays."""
        reasons = np.array(find_reject_reasons(values, self._max_text_chars), dtype=object)
        positions = np.flatnonzero([reason is None for reason in reasons])
        texts = [str(values[int(i)]) for i in positions]
        numbers = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        results = self._score(list(numbers), progress or (lambda done, total: None))
        results = results.at(np.array([numbers[text] for text in texts], dtype=np.int64))
        has_score = ~np.isnan(results.probabilities).any(axis=1)
        reasons[positions[~has_score]] = schema.MODEL_FAILED
        reasons[positions[results.is_unknown]] = schema.UNKNOWN_TEXT
        # A text of control characters, for example, is not white space, but has no token.
        reasons[positions[results.n_tokens == 0]] = schema.BLANK_TEXT
        return self._decide(reasons, positions[has_score], results.at(np.flatnonzero(has_score)))

    def _score(self, texts: list[str], progress: TextProgress) -> _Results:
        none, stages = np.empty(0, dtype=bool), np.empty(0, dtype=object)
        results = [_Results(np.empty((0, len(self.labels))), none.astype(np.int64), none, stages, none)]
        n_done = 0
        for window, tokens in self._tokenize_ahead(texts):

            def report(done: int, before: int = n_done) -> None:
                progress(before + done, len(texts))

            results.append(self._score_window(window, tokens, report))
            n_done += len(window)
        columns = zip(*(part.columns for part in results), strict=True)
        return _Results(*(np.concatenate(column) for column in columns))

    def _tokenize_ahead(self, texts: list[str]) -> Iterator[tuple[list[str], TokenizedTexts]]:
        """Yield windows of texts with their tokens; the next window is tokenised while the caller works.

        An engine that pads gets all texts at once, because rows of similar length need less padding.
        """
        size = _PACKED_TEXTS if self._engine.is_packed else max(1, len(texts))
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

    def _score_window(
        self, texts: list[str], tokens: TokenizedTexts, progress: Callable[[int], None]
    ) -> _Results:
        probabilities = np.full((len(texts), len(self.labels)), np.nan)
        stages = np.full(len(texts), schema.ENCODER, dtype=object)
        is_early = np.zeros(len(texts), dtype=bool)
        by_linear = np.full(len(texts), np.nan)
        has_tokens = tokens.lengths > tokens.n_special_tokens
        is_unknown = has_tokens & self._vocabulary.find_unknown(texts, tokens)
        is_known = has_tokens & ~is_unknown
        if self._linear is not None:
            is_early, by_linear = self._linear.decide(texts, tokens.lengths)
            is_early &= is_known
            probabilities[is_early] = with_first_class(by_linear[is_early])
            stages[is_early] = schema.LINEAR
        n_early = int(is_early.sum())
        rows = np.flatnonzero(is_known & ~is_early & self._find_embedded(tokens))
        probabilities[rows] = self._classify(texts, tokens, rows, lambda n: progress(n_early + n))
        if self._linear is not None and self._linear.pool != OpinionPool():
            both = rows[~np.isnan(by_linear[rows])]
            second = self._linear.pool.apply(probabilities[both, 1], by_linear[both])
            probabilities[both] = with_first_class(second)
            stages[both] = schema.BOTH
        progress(len(texts))
        n_tokens = np.where(has_tokens, tokens.lengths, 0)
        return _Results(probabilities, n_tokens, tokens.truncated, stages, is_unknown)

    def _find_embedded(self, tokens: TokenizedTexts) -> np.ndarray:
        """Return for each text whether the embedding has all its tokens; one without fails a mini-batch."""
        n_rows = self._embedding_rows
        if n_rows is None or not tokens.ids or np.concatenate(tokens.ids).max(initial=0) < n_rows:
            return np.ones(len(tokens.ids), dtype=bool)
        return np.array([row.max(initial=0) < n_rows for row in tokens.ids])

    def _classify(
        self, texts: list[str], tokens: TokenizedTexts, rows: np.ndarray, progress: Callable[[int], None]
    ) -> np.ndarray:
        """Return the calibrated probabilities of the encoder for these rows, (rows, classes), in order."""
        probabilities = np.empty((len(rows), len(self.labels)))
        n_done = 0
        batches = run_minibatches(
            self._engine, [tokens.ids[i] for i in rows], [texts[i] for i in rows], self._budget_tokens
        )
        for chosen, found in batches:
            probabilities[chosen] = self._calibration.apply(found)
            n_done += len(chosen)
            progress(n_done)
        return probabilities

    def _decide(self, reasons: np.ndarray, positions: np.ndarray, results: _Results) -> dict[str, np.ndarray]:
        """Make one row per reason; `results` belong to the rows at `positions`."""
        n = len(reasons)

        def fill(missing: object, values: np.ndarray) -> np.ndarray:
            column = np.full(n, missing, dtype=object if missing is None else type(missing))
            column[positions] = values
            return column

        scores = results.probabilities.max(axis=1, initial=0)
        columns = {
            schema.LABEL: fill(
                None, np.array(self.labels, dtype=object)[results.probabilities.argmax(axis=1)]
            ),
            schema.SCORE: fill(np.nan, scores),
            schema.UNSURE: fill(False, scores < self._min_score),
            schema.N_TOKENS: fill(0, results.n_tokens),
            schema.TRUNCATED: fill(False, results.truncated),
            schema.STAGE: fill(None, results.stages),
            schema.REJECT_REASON: reasons,
        }
        if schema.EXPECTED in self.columns:
            values = schema.find_label_values(self.labels)
            columns[schema.EXPECTED] = fill(np.nan, results.probabilities @ np.array(values))
        if schema.PROBABILITIES in self.columns:
            rows = np.empty(len(positions), dtype=object)
            rows[:] = results.probabilities.tolist()
            columns[schema.PROBABILITIES] = fill(None, rows)
        return columns


def _choose_min_score(settings: Settings, min_score: float | None, target_accuracy: float | None) -> float:
    if min_score is not None and target_accuracy is not None:
        raise ValueError("min_score and target_accuracy both set the bound of unsure; pass one of them")
    if target_accuracy is not None:
        return find_min_score(settings.coverage, target_accuracy)
    return settings.min_score if min_score is None else min_score
