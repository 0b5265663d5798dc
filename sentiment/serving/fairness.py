"""Choose the texts that are scored next together: rules without a clock, a thread or a socket.

Each request is a flow with a fair share of the engine (start-time fair queueing: Goyal, Vin and Cheng,
SIGCOMM 1996; a text costs its tokens). So a request of one text waits for what is being computed and for one
share of each other request, and not for the thousand texts that came before it.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Owner = TypeVar("Owner")

LOOK_AHEAD = 64
"""Waiting texts, those that are due first, among which company of like length is sought."""
MIN_FILL = 0.7
"""Of the longest row of a mini-batch: a shorter one would be padding for the rest, and waits for its like."""


@dataclass
class Flow(Generic[Owner]):
    """Hold what waits of one request. Only flows of one `kind`, a model, share a mini-batch."""

    owner: Owner
    kind: object
    waiting_tokens: int = 0
    next_due: float = 0.0


@dataclass(frozen=True)
class Item(Generic[Owner]):
    """One text of a flow: its place in the request, and what its row is thought to cost, padding included."""

    flow: Flow[Owner]
    position: int
    n_tokens: int
    due: float


@dataclass
class FairQueue(Generic[Owner]):
    """Texts that wait, by the time at which they are due in tokens of work done for everyone."""

    _heap: list[tuple[float, int, Item[Owner]]] = field(default_factory=list)
    _flows: dict[int, Flow[Owner]] = field(default_factory=dict)
    _now: float = 0.0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    n_texts: int = 0

    @property
    def n_tokens(self) -> int:
        return sum(flow.waiting_tokens for flow in self._flows.values())

    def open(self, owner: Owner, kind: object) -> Flow[Owner]:
        """Return a flow for a request that begins now."""
        return Flow(owner, kind, next_due=self._now)

    def push(self, flow: Flow[Owner], position: int, n_tokens: int) -> None:
        """Let a text of the flow wait; each is due a share later than the one before."""
        item = Item(flow, position, n_tokens, max(flow.next_due, self._now))
        flow.next_due = item.due + n_tokens
        flow.waiting_tokens += n_tokens
        self._flows[id(flow)] = flow
        self.n_texts += 1
        heapq.heappush(self._heap, (item.due, next(self._numbers), item))

    def drop(self, flow: Flow[Owner]) -> None:
        """Forget what waits of a flow."""
        if self._flows.pop(id(flow), None) is None:
            return
        kept = [entry for entry in self._heap if entry[2].flow is not flow]
        self.n_texts -= len(self._heap) - len(kept)
        self._heap = kept
        heapq.heapify(self._heap)

    def count_ahead(self, costs: Sequence[int]) -> int:
        """Tokens of others that are computed before the last of a newcomer's texts, which cost so much each.

        Each other list has its share, and each text that came before is ahead whole, however long it is.
        """
        last_due = self._now + sum(costs[:-1])
        return sum(item.n_tokens for due, _, item in self._heap if due <= last_due)

    def take(self, budget_tokens: int) -> list[Item[Owner]]:
        """Remove and return the next mini-batch: the text that is due first, and ones of its kind and length.

        At most `budget_tokens`, padding to the longest row included; a text that is longer goes alone. Empty
        if nothing waits.
        """
        if not self._heap:
            return []
        ahead = heapq.nsmallest(LOOK_AHEAD, self._heap)
        leader = ahead[0][2]
        likely = [entry[2] for entry in ahead if entry[2].flow.kind is leader.flow.kind]
        chosen = choose_company([item.n_tokens for item in likely], budget_tokens)
        items = [likely[i] for i in chosen]
        taken = {id(item) for item in items}
        self._heap = [entry for entry in self._heap if id(entry[2]) not in taken]
        heapq.heapify(self._heap)
        self._now = max(self._now, leader.due)
        self.n_texts -= len(items)
        for item in items:
            item.flow.waiting_tokens -= item.n_tokens
            if not item.flow.waiting_tokens:
                self._flows.pop(id(item.flow), None)
        return items


def choose_company(lengths: Sequence[int], budget_tokens: int) -> list[int]:
    """Positions of a mini-batch led by position 0: those nearest to its length, while the budget lasts.

    A row is left out if `MIN_FILL` of the longest one is more than it, since it would be padding mostly.
    """
    chosen = [0]
    shortest = longest = lengths[0]
    for i in sorted(range(1, len(lengths)), key=lambda i: (abs(lengths[i] - lengths[0]), i)):
        low, high = min(shortest, lengths[i]), max(longest, lengths[i])
        if low < MIN_FILL * high or (len(chosen) + 1) * high > budget_tokens:
            continue
        chosen.append(i)
        shortest, longest = low, high
    return chosen
