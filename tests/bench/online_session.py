"""One run of the online benchmark: how much is asked, and what is kept of each measurement."""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .online_contenders import SLOW
from .online_models import Models
from .online_processes import Bystanders, Helper, Server
from .online_texts import REAL, SHORT, Pool
from .trials import Hosted

LOOP = "loop"


@dataclass(frozen=True)
class Plan:
    """Requests of a run by kind of text, and how often it is repeated.

    `patience_seconds` may go into repeating what others disturbed, and into waiting until they are done.
    """

    clients: tuple[int, ...]
    rows: dict[str, int]
    slow_rows: dict[str, int]
    tuning_rows: int
    single_calls: int
    repetitions: int
    patience_seconds: float

    def count_rows(self, name: str, kind: str, n_clients: int) -> int:
        """Fewer for the slow, and for one or two clients, which no batch makes faster."""
        rows = (self.slow_rows if name in SLOW else self.rows)[kind]
        return rows if n_clients > 2 else rows // 2


FULL = Plan((1, 2, 4, 8, 16, 32), {REAL: 384, SHORT: 960}, {REAL: 48, SHORT: 96}, 256, 60, 3, 60.0)
QUICK = Plan((1, 4, 16), {REAL: 96, SHORT: 288}, {REAL: 32, SHORT: 48}, 0, 20, 1, 0.0)


@dataclass
class Figures:
    """All that was measured of one contender with one kind of text and so many clients."""

    rates: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0
    refused: int = 0


@dataclass
class Session:
    """What every measurement of a run needs, and what it has found."""

    models: Models
    pools: dict[str, Pool]
    plan: Plan
    load: Helper
    bystanders: Bystanders
    figures: dict[tuple[str, str, int], Figures] = field(default_factory=dict)
    loops: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, server: Server, kind: str, n_clients: int, rows: int) -> float:
        """One course of so many clients; keeps its figures and returns reviews/s."""
        n_warm = max(8, 2 * n_clients)
        warm, texts = self.pools[kind].draw(rows, n_warm, seed=n_clients)
        found = self.ask(server, warm, texts, n_clients)
        name = server.contender.name
        figures = self.figures.setdefault((name, kind, n_clients), Figures())
        rate = rows / found["seconds"]
        figures.rates.append(rate)
        figures.latencies_ms += found["latencies_ms"]
        figures.errors += found["errors"]
        figures.refused += found["refused"]
        p50 = statistics.median(found["latencies_ms"] or [float("nan")])
        self._say(f"{name:<20}{kind:<6}{n_clients:3d} clients{rate:9.1f} reviews/s  p50 {p50:8.1f} ms")
        if found["errors"]:
            say(f"  {found['errors']} errors, the last one {found['example']}")
        return rate

    def ask(
        self, server: Server, warm: Sequence[str], texts: Sequence[str], n_clients: int
    ) -> dict[str, Any]:
        """What the load generator says of one course (`online_load.Outcome`)."""
        make_body = server.contender.make_body
        course = {
            "port": server.port,
            "path": server.contender.path,
            "bodies": [json.dumps(make_body(text), ensure_ascii=False) for text in (*warm, *texts)],
            "n_clients": n_clients,
            "n_warm": len(warm),
        }
        with server.awake():
            return self.bystanders.watch(lambda: self.load.ask(course))

    def measure_loop(self, kind: str, loop: Hosted) -> None:
        rate = self.bystanders.watch(loop)
        self.loops.setdefault(kind, []).append(rate)
        self._say(f"{LOOP:<20}{kind:<17}{rate:9.1f} reviews/s{'':16}")

    def _say(self, line: str) -> None:
        say(f"{line}  ({self.bystanders.shares[-1]:.0%} of the cores to others)")


def say(line: str) -> None:
    """A line of progress."""
    print(f"  {time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
