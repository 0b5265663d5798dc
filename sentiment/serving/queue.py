"""Score the texts of all callers together: one queue, a few threads, a fair share for each request."""

import asyncio
import bisect
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .. import schema
from ..config import ServeConfig
from ..models.loading import LoadedModel
from ..models.predictions import Prediction, list_predictions
from .problems import Problem

Predict = Callable[[LoadedModel, Sequence[Any]], Sequence[Prediction]]

# Approximate characters per token of English text. The speed has the same unit, so errors cancel out.
_CHARS_PER_TOKEN = 4
# Tokenising this many tokens takes as long as the model needs for one; a text is tokenised whole.
_READ_TOKENS = 50
# The measured speed forgets with this time constant.
_MEMORY_SECONDS = 5.0
# A mini-batch is chosen from this many waiting texts, the ones due first.
_LOOK_AHEAD = 64
# Rows share a mini-batch only if the shortest has this share of the longest's tokens, because of the padding.
MIN_FILL = 0.7
# A free thread waits this many seconds for more texts while other threads run. Callers often send
# the next request at once, and two threads score sixteen short texts sooner as eight and eight than as one
# and fifteen.
_GATHER_SECONDS = 0.01


@dataclass(eq=False)
class Call:
    """Hold the texts of a caller, and what is found so far; `model_seconds` is of the slowest mini-batch."""

    model: LoadedModel
    texts: Sequence[Any]
    done: "asyncio.Future[None]"
    found: dict[int, Prediction] = field(default_factory=dict)
    model_seconds: float = 0.0

    @property
    def predictions(self) -> list[Prediction]:
        """Return the predictions in the order of the texts."""
        return [self.found[position] for position in range(len(self.texts))]


@dataclass(frozen=True, eq=False)
class Item:
    """Hold one text: its place in its request, its estimated cost, and the work after which it is due."""

    call: Call
    position: int
    n_tokens: int
    due: int


class FairQueue:
    """Order waiting texts by the work (tokens scored for all callers) after which each is due.

    Each request has a fair share (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996). A request of
    one text waits for one share of each other request, not for the thousand texts that came before it.
    """

    def __init__(self) -> None:
        self._items: list[Item] = []
        # Virtual time in tokens: the `due` of the latest text taken.
        self._virtual_now = 0

    @property
    def n_texts(self) -> int:
        return len(self._items)

    @property
    def n_tokens(self) -> int:
        return sum(item.n_tokens for item in self._items)

    def push(self, call: Call, costs: Sequence[int]) -> None:
        """Add the texts of a request; each is due later than the one before it by that one's tokens."""
        due = self._virtual_now
        for position, n_tokens in enumerate(costs):
            bisect.insort(self._items, Item(call, position, n_tokens, due), key=lambda item: item.due)
            due += n_tokens

    def drop(self, call: Call) -> None:
        """Remove the waiting texts of a request."""
        self._items = [item for item in self._items if item.call is not call]

    def count_ahead(self, costs: Sequence[int]) -> int:
        """Return the tokens that are scored before the last text of a newcomer with these costs."""
        last_due = self._virtual_now + sum(costs[:-1])
        return sum(item.n_tokens for item in self._items if item.due <= last_due)

    def take(self, share_tokens: float) -> list[Item]:
        """Remove and return the next mini-batch: the text that is due first, and the nearest to its length.

        They have one model. Together, with padding, they cost at most `share_tokens` and the budget of that
        model, except that the first text is always taken.
        """
        leader = self._items[0]
        budget_tokens = min(share_tokens, leader.call.model.budget_tokens)
        alike = [i for i in self._items[:_LOOK_AHEAD] if i.call.model is leader.call.model]
        chosen: list[Item] = []
        for item in sorted(alike, key=lambda item: abs(item.n_tokens - leader.n_tokens)):
            costs = [item.n_tokens, *(other.n_tokens for other in chosen)]
            is_like = min(costs) >= MIN_FILL * max(costs)
            if not chosen or (is_like and len(costs) * max(costs) <= budget_tokens):
                chosen.append(item)
        self._items[:_LOOK_AHEAD] = [item for item in self._items[:_LOOK_AHEAD] if item not in chosen]
        self._virtual_now = max(self._virtual_now, leader.due)
        return chosen


class Queue:
    """Score texts in mini-batches, `n_threads` at a time. Use from one event loop.

    `observe` gets the texts and the tokens of each mini-batch.
    """

    def __init__(
        self,
        config: ServeConfig,
        n_threads: int,
        observe: Callable[[int, int], None] = lambda n_texts, n_tokens: None,
        predict: Predict = list_predictions,
    ) -> None:
        self.waiting = FairQueue()
        self._config = config
        self._n_threads = n_threads
        self._observe = observe
        self._predict = predict
        self._pool = ThreadPoolExecutor(n_threads, "score")
        # The tokens of each mini-batch that runs.
        self._running: dict[asyncio.Future[Sequence[Prediction]], int] = {}
        self._gathering: asyncio.TimerHandle | None = None
        self._busy_since = 0.0
        # Their ratio is the speed. The first mini-batch outweighs this guess.
        self._done_tokens, self._done_seconds = 2.0, 0.001
        self._max_tokens = 512

    async def score(self, model: LoadedModel, texts: Sequence[Any], is_patient: bool = False) -> Call:
        """Return when all `texts` are scored by `model`.

        Raises Problem `overloaded` at once if its last text would wait longer than `max_wait_seconds` (unless
        the caller is patient), Problem `deadline` after `request_seconds`, and any error of the model. A call
        that is cancelled leaves no text in the queue.
        """
        call = Call(model, texts, asyncio.get_running_loop().create_future())
        if not texts:
            return call
        costs = [self.estimate_tokens(model, text) for text in texts]
        wait_seconds = self.estimate_wait(costs)
        if wait_seconds > self._config.max_wait_seconds and not is_patient:
            raise Problem("overloaded", retry_seconds=wait_seconds)
        self.waiting.push(call, costs)
        self._start_soon()
        try:
            await asyncio.wait_for(call.done, self._config.request_seconds)
        except TimeoutError:
            raise Problem("deadline") from None
        finally:
            self.waiting.drop(call)
        return call

    def estimate_tokens(self, model: LoadedModel, text: Any) -> int:
        """Return the estimated cost of a value with padding; one that is no text costs the shortest row."""
        if not isinstance(text, str):
            return model.row_cost(1)
        n_tokens = 2 + len(text) // _CHARS_PER_TOKEN
        return model.row_cost(min(self._max_tokens, n_tokens) + n_tokens // _READ_TOKENS)

    def estimate_wait(self, costs: Sequence[int]) -> float:
        """Return the estimated wait of a new request's last text in seconds; running work is half done."""
        ahead = sum(self._running.values()) / 2 + self.waiting.count_ahead(costs)
        return ahead * self._done_seconds / self._done_tokens

    async def close(self) -> None:
        """Wait for the mini-batches that run, and end the threads."""
        await asyncio.gather(*self._running, return_exceptions=True)
        self._pool.shutdown()

    def _start_soon(self) -> None:
        """Start mini-batches at once if nothing runs or a thread's share waits, else a moment later."""
        if not self._running or self.waiting.n_tokens >= self._find_share():
            self._start()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._start)

    def _find_share(self) -> float:
        """Return one thread's share of the tokens that run and wait."""
        return (sum(self._running.values()) + self.waiting.n_tokens) / self._n_threads

    def _start(self) -> None:
        """Give each free thread a mini-batch, while any text waits."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        while self.waiting.n_texts and len(self._running) < self._n_threads:
            now = time.monotonic()
            if not self._running:
                self._busy_since = now
            # If other mini-batches run, take only this thread's part. If none runs, this one gets all cores.
            items = self.waiting.take(self._find_share() if self._running else math.inf)
            texts = [item.call.texts[item.position] for item in items]
            running = asyncio.get_running_loop().run_in_executor(
                self._pool, self._predict, items[0].call.model, texts
            )
            self._running[running] = sum(item.n_tokens for item in items)
            running.add_done_callback(partial(self._finish, items, now))

    def _finish(
        self, items: list[Item], started: float, running: "asyncio.Future[Sequence[Prediction]]"
    ) -> None:
        now = time.monotonic()
        self._note_speed(self._running.pop(running), now)
        error = running.exception()
        predictions = [] if error else running.result()
        for item, prediction in zip([] if error else items, predictions, strict=True):
            item.call.found[item.position] = prediction
            item.call.model_seconds = max(item.call.model_seconds, now - started)
            if prediction[schema.TRUNCATED]:
                self._max_tokens = prediction[schema.N_TOKENS]
        for call in {item.call for item in items}:
            if error and not call.done.done():
                call.done.set_exception(error)
            elif len(call.found) == len(call.texts) and not call.done.done():
                call.done.set_result(None)
        if not error:
            self._observe(len(items), sum(prediction[schema.N_TOKENS] for prediction in predictions))
        self._start_soon()

    def _note_speed(self, n_tokens: int, now: float) -> None:
        """Add a mini-batch to the sums of tokens and seconds, in which older ones count less."""
        # Threads overlap, so the time since the last mini-batch ended counts, not the time of this one.
        seconds = max(now - self._busy_since, 1e-6)
        self._busy_since = now
        kept = math.exp(-seconds / _MEMORY_SECONDS)
        self._done_tokens = kept * self._done_tokens + n_tokens
        self._done_seconds = kept * self._done_seconds + seconds
