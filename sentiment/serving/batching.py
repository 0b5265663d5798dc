"""Texts of many callers, scored together: one queue, a few threads, a deadline for each request."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .. import schema
from ..models.predictions import Prediction
from .fairness import FairQueue, Item

Model = TypeVar("Model")
Predict = Callable[[Model, Sequence[Any]], Sequence[Prediction]]
"""A model and texts in; a prediction each, in order, out. It runs in a thread."""

_SPECIAL_TOKENS = 2
_MEMORY_SECONDS = 5.0
"""How long the measured rate remembers."""
_READ_TOKENS = 50
"""Tokens that are read of a text, to be cut off perhaps, in the time in which the model computes one."""
_LENGTH_WEIGHT = 0.01
"""Of one answer in the mean length of a token."""
_N_AHEAD = 1
"""Mini-batches that are tokenised while each thread computes one, so that none is idle between two."""
_GATHER_SECONDS = 0.01
"""How long a free thread waits for a share of the usual texts, while others run. Who was just answered asks
again: two threads do sixteen short texts sooner at eight and eight than at one and fifteen."""


class OverloadedError(Exception):
    """A request that would wait too long; `retry_seconds` is when it would not."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(f"retry in {retry_seconds:.1f} s")
        self.retry_seconds = retry_seconds


@dataclass
class _Request:
    """A caller that waits: its answers so far."""

    texts: Sequence[Any]
    future: "asyncio.Future[None]"
    answers: dict[int, Prediction] = field(default_factory=dict)
    model_seconds: float = 0.0

    def answer(self, position: int, prediction: Prediction, model_seconds: float) -> None:
        self.answers[position] = prediction
        self.model_seconds = max(self.model_seconds, model_seconds)
        if len(self.answers) == len(self.texts) and not self.future.done():
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True)
class Answer(Generic[Model]):
    """The predictions of a request, in its order, all by `model`; `model_seconds`: its slowest mini-batch."""

    predictions: list[Prediction]
    model: Model
    model_seconds: float


@dataclass
class Load:
    """Hold what the queue has learned: characters per token, tokens per second, the longest text."""

    chars_per_token: float = 4.0
    """Of English text in word pieces, about, until the answers say what it is here."""
    tokens_per_second: float = 2_000.0
    max_tokens: int = 512
    row_cost: Callable[[int], int] = int
    """The model's (`loading.LoadedModel.row_cost`); until there is one, a row costs its tokens."""
    noted_seconds: float = 0.0
    """Of work that `tokens_per_second` was learned from."""

    def estimate_tokens(self, text: Any) -> int:
        """Return what a value costs, about: its row, padded. What is no text costs as the shortest row."""
        if not isinstance(text, str):
            return self.row_cost(1)
        n_tokens = math.ceil(len(text) / self.chars_per_token)
        n_read = min(self.max_tokens, _SPECIAL_TOKENS + n_tokens)
        return self.row_cost(n_read + n_tokens // _READ_TOKENS)

    def note(self, n_tokens: int, seconds: float) -> None:
        """Learn from finished work: the newer the more, and the less the shorter it took.

        The first seconds count alike, and what was supposed before them for nothing.
        """
        seconds = max(seconds, 1e-6)
        self.noted_seconds += seconds
        weight = max(1 - math.exp(-seconds / _MEMORY_SECONDS), seconds / self.noted_seconds)
        self.tokens_per_second += weight * (n_tokens / seconds - self.tokens_per_second)

    def note_length(self, text: Any, prediction: Prediction) -> None:
        """Learn from an answer how long a text is to the model."""
        n_tokens = prediction[schema.N_TOKENS]
        if prediction[schema.TRUNCATED]:
            self.max_tokens = n_tokens
        elif n_tokens > _SPECIAL_TOKENS:
            found = len(text) / (n_tokens - _SPECIAL_TOKENS)
            self.chars_per_token += _LENGTH_WEIGHT * (found - self.chars_per_token)


class MicroBatcher(Generic[Model]):
    """Scores texts of all callers in mini-batches of at most `budget_tokens`, `n_threads` at a time.

    One more is handed to `predict` while a whole one waits: it gets ready, and the engine has it wait.
    Use from one event loop. `score` answers a request whole, or raises: OverloadedError at once if it would
    wait longer than `max_wait_seconds`; asyncio.TimeoutError at its deadline; what the model raises. A caller
    that is cancelled takes its waiting texts along. `observe` is told of each mini-batch: texts, tokens.
    """

    def __init__(
        self,
        predict: "Predict[Model]",
        max_wait_seconds: float,
        n_threads: int,
        budget_tokens: int = 512,
        row_cost: Callable[[int], int] = int,
    ) -> None:
        self.load = Load(row_cost=row_cost)
        self._predict = predict
        self.budget_tokens = budget_tokens
        self._max_wait_seconds = max_wait_seconds
        self.observe: Callable[[int, int], None] = lambda n_texts, n_tokens: None
        self._queue: FairQueue[_Request] = FairQueue()
        self._pool = ThreadPoolExecutor(n_threads + _N_AHEAD, "score")
        self._n_threads = n_threads
        self._n_running = 0
        self._running_tokens = 0
        self._usual_tokens = 0  # that ran or waited when something was last finished
        self._gathering: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy_since = time.monotonic()

    @property
    def n_waiting_texts(self) -> int:
        return self._queue.n_texts

    @property
    def n_waiting_tokens(self) -> int:
        return self._queue.n_tokens

    def estimate_wait(self, costs: Sequence[int]) -> float:
        """Seconds until a newcomer's last text has its turn, about; what runs is half done, as a rule."""
        ahead = self._running_tokens / 2 + self._queue.count_ahead(costs)
        return ahead / self.load.tokens_per_second

    async def score(
        self, model: Model, texts: Sequence[Any], timeout_seconds: float, is_patient: bool = False
    ) -> "Answer[Model]":
        """Predictions of `texts` by `model`. A patient caller waits for its turn however long that takes."""
        if not texts:
            return Answer([], model, 0.0)
        costs = [self.load.estimate_tokens(text) for text in texts]
        wait = self.estimate_wait(costs)
        if not is_patient and wait > self._max_wait_seconds:
            raise OverloadedError(wait)
        request = _Request(texts, asyncio.get_running_loop().create_future())
        flow = self._queue.open(request, model)
        for position, cost in enumerate(costs):
            self._queue.push(flow, position, cost)
        self._start_soon()
        try:
            await asyncio.wait_for(request.future, timeout_seconds)
        finally:
            self._queue.drop(flow)
        predictions = [request.answers[position] for position in range(len(texts))]
        return Answer(predictions, model, request.model_seconds)

    async def close(self) -> None:
        """Let what runs end, and the threads."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown()

    def _start_soon(self) -> None:
        """Give free threads work: at once if nothing runs or a share waits, else when more may have come."""
        if not self._running_tokens or self._queue.n_tokens >= self._find_share(self._usual_tokens):
            self._start_waiting()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._start_waiting)

    def _has_room(self) -> bool:
        """Return whether a thread is free, or whether a full mini-batch may get ready."""
        is_full = self._queue.n_tokens >= self.budget_tokens
        return self._n_running < self._n_threads + (_N_AHEAD if is_full else 0)

    def _find_share(self, n_tokens: int) -> int:
        """Of so many tokens that run or wait, those of one thread; no more than a mini-batch has."""
        return min(self.budget_tokens, self.load.row_cost(-(-n_tokens // self._n_threads)))

    def _start_waiting(self) -> None:
        """Give each free thread a mini-batch, while any text waits."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        while self._queue.n_texts and self._has_room():
            budget_tokens = self.budget_tokens
            if self._running_tokens:
                budget_tokens = self._find_share(self._running_tokens + self._queue.n_tokens)
            else:
                self._busy_since = time.monotonic()
            items = self._queue.take(budget_tokens)
            self._n_running += 1
            self._running_tokens += sum(item.n_tokens for item in items)
            task = asyncio.create_task(self._run(items))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, items: "list[Item[_Request]]") -> None:
        model: Any = items[0].flow.kind
        texts = [item.flow.owner.texts[item.position] for item in items]
        started = time.monotonic()
        try:
            predictions = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._predict, model, texts
            )
        # Whatever it is, each caller of this mini-batch is told; none waits for ever.
        except Exception as error:  # noqa: BLE001
            for item in items:
                item.flow.owner.fail(error)
        else:
            self._finish(items, predictions, time.monotonic() - started)
        finally:
            self._n_running -= 1
            self._usual_tokens = self._running_tokens + self._queue.n_tokens
            self._running_tokens -= sum(item.n_tokens for item in items)
            self._start_soon()

    def _finish(
        self, items: "list[Item[_Request]]", predictions: Sequence[Prediction], seconds: float
    ) -> None:
        now = time.monotonic()
        # Threads run beside each other: what counts is the time since anything was finished.
        self.load.note(sum(item.n_tokens for item in items), now - self._busy_since)
        self._busy_since = now
        n_tokens = 0
        for item, prediction in zip(items, predictions, strict=True):
            n_tokens += prediction[schema.N_TOKENS]
            self.load.note_length(item.flow.owner.texts[item.position], prediction)
            item.flow.owner.answer(item.position, prediction, seconds)
        self.observe(len(items), n_tokens)
