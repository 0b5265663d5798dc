"""Measure courses of requests, and collect their results."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..batch.contenders import measure_rate
from ..batch.sections import say
from ..measuring.corpus import Table
from ..measuring.hosting import Hosted
from ..measuring.packaged import load_model
from .contenders import SLOW, Models
from .load import Course, Outcome
from .servers import Server
from .texts import REAL, SHORT, Pool

LOOP = "loop"
Report = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Hold the number of requests of a run by kind of text, and the number of repetitions."""

    clients: tuple[int, ...]
    rows: dict[str, int]
    slow_rows: dict[str, int]
    tuning_rows: int
    single_calls: int
    repetitions: int

    def count_rows(self, name: str, kind: str, n_clients: int) -> int:
        """Return the number of requests: fewer for slow contenders, and for one or two clients."""
        return (self.slow_rows if name in SLOW else self.rows)[kind] // (1 if n_clients > 2 else 2)


FULL = Plan((1, 2, 4, 8, 16, 32), {REAL: 384, SHORT: 960}, {REAL: 48, SHORT: 96}, 256, 60, 3)
QUICK = Plan((1, 4, 16), {REAL: 96, SHORT: 288}, {REAL: 32, SHORT: 48}, 0, 20, 1)


@dataclass
class Session:
    """Hold the input of all measurements of a run, and their results."""

    models: Models
    pools: dict[str, Pool]
    plan: Plan
    load: Hosted
    outcomes: dict[tuple[str, str, int], list[tuple[float, Outcome]]] = field(default_factory=dict)
    loops: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, server: Server, kind: str, n_clients: int, rows: int) -> float:
        """Run one course with `n_clients`, keep its outcome, and return reviews/s."""
        warm, texts = self.pools[kind].draw(rows, max(8, 2 * n_clients), seed=n_clients)
        found = self.ask(server, warm, texts, n_clients)
        name, rate = server.contender.name, rows / found.seconds
        self.outcomes.setdefault((name, kind, n_clients), []).append((rate, found))
        p50 = statistics.median(found.latencies_ms or [float("nan")])
        say(f"{name:<20}{kind:<6}{n_clients:3d} clients{rate:9.1f} reviews/s  p50 {p50:8.1f} ms")
        if found.errors:
            say(f"  {found.errors} errors, the last one {found.example}")
        return rate

    def ask(self, server: Server, warm: Sequence[str], texts: Sequence[str], n_clients: int) -> Outcome:
        """Return the outcome of one course."""
        contender = server.contender
        bodies = [json.dumps(contender.make_body(text), ensure_ascii=False) for text in (*warm, *texts)]
        with server.awake():
            course = Course(server.port, contender.path, bodies, n_clients, len(warm))
            outcome: Outcome = self.load.ask(course)
        return outcome

    def measure_loop(self, kind: str, loop: Hosted, table: Table) -> None:
        """Measure the simple loop on the texts of a kind."""
        self.loops.setdefault(kind, []).append(measure_rate(loop, table))
        say(f"{LOOP:<20}{kind:<17}{self.loops[kind][-1]:9.1f} reviews/s")

    def summarise(self) -> dict[str, Report]:
        """Return the results by kind of text, contender and number of clients."""
        report: dict[str, Report] = {}
        for (name, kind, n_clients), outcomes in sorted(self.outcomes.items()):
            plan, loops = self.plan, self.loops.get(kind)
            head: Report = {
                "tokens": statistics.mean(self.pools[kind].lengths),
                "repetitions": plan.repetitions,
            }
            head |= {"rows": plan.rows[kind], "slow_rows": plan.slow_rows[kind], "contenders": {}}
            of = report.setdefault(kind, head | ({"loop": statistics.median(loops)} if loops else {}))
            of["contenders"].setdefault(name, {})[str(n_clients)] = _summarise(outcomes)
        return report


@contextmanager
def open_engine(uri: str) -> Iterator[Callable[[Sequence[str]], list[float]]]:
    """Yield a function that calls the model directly, text by text, and returns the milliseconds of each."""
    model = load_model(uri, cascade="off")  # like the service, on all cores
    predict = model._predictor.predict

    def time_call(text: str) -> float:
        start = time.perf_counter()
        predict([text])
        return (time.perf_counter() - start) * 1000

    yield lambda texts: [time_call(text) for text in texts]


def _summarise(outcomes: Sequence[tuple[float, Outcome]]) -> Report:
    """Return the median rate of the repetitions, and the percentiles of all their requests."""
    rates = [rate for rate, _ in outcomes]
    latencies = [value for _, outcome in outcomes for value in outcome.latencies_ms]
    values = np.percentile(latencies, (50, 95)).tolist() if latencies else []
    return {
        "reviews_per_second": statistics.median(rates),
        "rates": rates,
        **dict(zip(("p50_ms", "p95_ms"), values, strict=False)),
        "requests": len(latencies),
        "errors": sum(outcome.errors for _, outcome in outcomes),
    }
