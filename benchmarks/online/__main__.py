"""Compare our service with its peers, with a simple loop and with a direct call (`make bench-online`).

Services and the load generator share the cores. A run of only some sections or clients is printed, not saved.
"""

import argparse
import os
import shlex
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from .. import CORES, RESULTS, WORK, document
from ..batch.contenders import Trial, measure_rate, open_loop
from ..batch.sections import say
from ..measuring import corpus, results
from ..measuring.hosting import Hosted, limit_cores, run_apart
from ..measuring.machine import read_machine
from . import contenders
from .contenders import BATCHINGS, FRAMEWORK, OURS, SLOW, Batching
from .load import open_load
from .servers import Server
from .session import FULL, LOOP, QUICK, Report, Session, open_engine
from .texts import REAL, SHORT, load_pools

FOLDER = WORK / "online"
LOGS = FOLDER / "logs"
SECTIONS = (OURS, LOOP, "single", FRAMEWORK, *SLOW)
_TUNING_CLIENTS = 16
_SINGLE_ROUNDS = 5


def main() -> int:
    arguments = _parse_arguments()
    # On SIGTERM the servers that were started are ended too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    limit_cores(CORES)
    machine = read_machine(CORES)
    print(machine.describe(), flush=True)
    plan = QUICK if arguments.quick else FULL
    plan = replace(plan, clients=tuple(arguments.clients or plan.clients))
    is_partial = bool(arguments.clients or set(arguments.sections) != set(SECTIONS))
    started, load_before = time.monotonic(), os.getloadavg()[0]
    models = run_apart(LOGS / "models.log", contenders.make_models, FOLDER)
    os.environ["MLFLOW_TRACKING_URI"] = models.tracking_uri  # for all processes started below
    with Hosted("load", LOGS / "load.log", open_load) as load:
        session = Session(models, load_pools(models.encoder), plan, load)
        report = run(session, arguments.sections, tuple(shlex.split(arguments.serve)))
    report["run"] = {"seconds": round(time.monotonic() - started), "load_before": load_before}
    words = "partial" if is_partial else results.QUICK if arguments.quick else results.FULL
    folder = FOLDER if is_partial else RESULTS
    path = results.record("online", words, machine, report, folder)
    print(document.write(path, is_rendered=words == results.FULL))
    return 0


def run(session: Session, sections: Sequence[str], serve: tuple[str, ...]) -> dict[str, Report]:
    """Start the contenders of the sections, measure them in turns, and return the results."""
    found: dict[str, Report] = {}
    batching = None
    if FRAMEWORK in sections:
        batching, rates = choose_batching(session)
        found |= {"batchings": rates} if rates else {}
    models = session.models
    described = [contenders.make_ours(models, serve), *contenders.make_slow(models)]
    described[1:1] = [contenders.make_litserve(models, batching)] if batching else []
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(contender, LOGS))
            for contender in described
            if contender.name in sections or (contender.name == OURS and "single" in sections)
        ]
        loop = stack.enter_context(host_loop(session)) if LOOP in sections else None
        for number in range(session.plan.repetitions):
            for kind in (REAL, SHORT):
                timed = [server for server in servers if server.contender.name in sections]
                measure_round(session, timed, loop, kind, number)
        if "single" in sections:
            found["single"] = measure_single(session, servers[0])
    return found | session.summarise()


def choose_batching(session: Session) -> tuple[Batching, dict[str, float]]:
    """Return the fastest settings of LitServe for 16 clients and real reviews, and the rates of all."""
    rows = session.plan.tuning_rows
    if not rows:
        return BATCHINGS[0], {}
    rates = {}
    for batching in BATCHINGS:
        say(str(batching))
        with Server(contenders.make_litserve(session.models, batching), LOGS) as server:
            rates[batching] = session.measure(server, REAL, _TUNING_CLIENTS, rows)
    session.outcomes.clear()
    return max(BATCHINGS, key=rates.__getitem__), {str(b): rate for b, rate in rates.items()}


@contextmanager
def host_loop(session: Session) -> Iterator[Hosted]:
    """Start the loop of the batch benchmark, to score the same texts."""
    cache = session.models.ours.parents[1]
    trial = Trial(session.models.encoder, cache, draw_table(session, REAL))
    with trial.host("online-loop", open_loop) as loop:
        for kind in (REAL, SHORT):
            measure_rate(loop, draw_table(session, kind))  # warm-up, as in each course
        yield loop


def draw_table(session: Session, kind: str) -> corpus.Table:
    _, texts = session.pools[kind].draw(session.plan.rows[kind], 0, seed=0)
    return corpus.write_table(texts, FOLDER / f"{kind}.parquet")


def measure_round(
    session: Session, servers: Sequence[Server], loop: Hosted | None, kind: str, number: int
) -> None:
    """Measure each contender with each number of clients; every second round in the opposite order.

    Slow contenders are measured in one round only.
    """
    plan = session.plan
    order = 1 if number % 2 == 0 else -1
    table = draw_table(session, kind)
    if loop:
        session.measure_loop(kind, loop, table)
    for n_clients in plan.clients[::order]:
        for server in servers[::order]:
            name = server.contender.name
            if name not in SLOW or number == plan.repetitions // 2:
                session.measure(server, kind, n_clients, plan.count_rows(name, kind, n_clients))
    if loop:
        session.measure_loop(kind, loop, table)


def measure_single(session: Session, server: Server) -> Report:
    """Compare requests of one sentence by one client with the same call without a service, in turns."""
    _, texts = session.pools[SHORT].draw(session.plan.single_calls, 0, seed=0)
    asked: list[float] = []
    called: list[float] = []
    with Hosted("engine", LOGS / "engine.log", open_engine, session.models.registered_uri) as engine:
        engine.ask(texts)
        for _ in range(_SINGLE_ROUNDS):
            asked += session.ask(server, texts[:8], texts, 1).latencies_ms
            engine.ask(texts[:8])
            called += engine.ask(texts)
    p50, call = statistics.median(asked), statistics.median(called)
    say(f"single: {p50:.2f} ms, the engine's call {call:.2f} ms")
    return {"to_engine": p50 / call, "p50_ms": p50, "engine_p50_ms": call, "calls": len(asked)}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few requests, one repetition: for working")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--clients", nargs="+", type=int, help="numbers of clients")
    parser.add_argument("--serve", default="", help="more arguments of score.py --serve, in one string")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.exit(main())
