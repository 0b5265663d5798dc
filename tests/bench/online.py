"""`make bench-online`: our service beside its peers, the bare loop and the bare call, in one run.

All share the cores, the load generator included. A whole run writes `var/bench/online.json`, `online.md` and
`online.png`; one of some sections or clients `online-partial.json` alone.
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
from typing import Any

from . import corpus, online_contenders, online_models, online_report, online_texts, ours
from .online_contenders import BATCHINGS, FRAMEWORK, OURS, SLOW
from .online_processes import Bystanders, Contender, Helper, Server
from .online_session import FULL, LOOP, QUICK, Session, say
from .online_texts import REAL, SHORT
from .trials import Hosted, Trial

FOLDER = corpus.ROOT / "var" / "bench" / "online"
CORES = 2
SECTIONS = (OURS, LOOP, "single", FRAMEWORK, *SLOW)
_TUNING_CLIENTS = 16
_SINGLE_ROUNDS = 5


def main() -> int:
    arguments = _parse_arguments()
    # Told to stop, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
    plan = QUICK if arguments.quick else FULL
    is_partial = bool(arguments.clients or arguments.repetitions or set(arguments.sections) != set(SECTIONS))
    plan = replace(
        plan,
        clients=arguments.clients or plan.clients,
        repetitions=arguments.repetitions or plan.repetitions,
        patience_seconds=plan.patience_seconds if arguments.patience is None else arguments.patience,
    )
    started = time.monotonic()
    load_before = os.getloadavg()[0]
    FOLDER.mkdir(parents=True, exist_ok=True)
    models = online_models.prepare(FOLDER)
    os.environ["MLFLOW_TRACKING_URI"] = models.tracking_uri  # of all that is started from here
    pools = online_texts.load_pools(models.encoder)
    with Helper("online_load", log=FOLDER / "logs" / "load.log") as load:
        session = Session(models, pools, plan, load, Bystanders(plan.patience_seconds))
        report = run(session, arguments.sections, tuple(shlex.split(arguments.serve)))
    report |= {
        "run": {
            "plan": "partial" if is_partial else "quick" if arguments.quick else "full",
            "seconds": round(time.monotonic() - started),
            "load_before": load_before,
            "others_share_of_cores": statistics.mean(session.bystanders.shares),
            "others_share_at_most": max(session.bystanders.shares),
        }
    }
    online_report.write(report, FOLDER.parent, is_partial)
    return 0


def run(session: Session, sections: Sequence[str], serve: tuple[str, ...]) -> dict[str, Any]:
    """Start what the sections name, measure it in turn, and say what was found."""
    found: dict[str, Any] = {}
    batching = None
    if FRAMEWORK in sections:
        batching, found["framework_tried"] = choose_batching(session)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(contender, FOLDER / "logs"))
            for contender in make_contenders(session.models, batching, serve)
            if contender.name in sections or (contender.name == OURS and "single" in sections)
        ]
        kinds = (REAL, SHORT) if LOOP in sections else ()
        loops = {kind: stack.enter_context(open_loop(session, kind)) for kind in kinds}
        for number in range(session.plan.repetitions):
            for kind in (REAL, SHORT):
                timed = [server for server in servers if server.contender.name in sections]
                measure_round(session, timed, loops.get(kind), kind, number)
        if "single" in sections:
            found |= measure_single(session, servers[0])
    return found | online_report.summarise(session.figures, session.loops, describe_run(session, batching))


def make_contenders(
    models: online_models.Models, batching: online_contenders.Batching | None, serve: tuple[str, ...]
) -> list[Contender]:
    return [
        online_contenders.make_ours(models, serve),
        *([online_contenders.make_litserve(models, batching)] if batching else []),
        online_contenders.make_mlflow_pyfunc(models),
        online_contenders.make_mlflow_transformers(models),
        online_contenders.make_fastapi(models),
    ]


def choose_batching(session: Session) -> tuple[online_contenders.Batching, dict[str, float]]:
    """The settings of the framework that did most reviews of real lengths for 16 clients, and all rates."""
    rows = session.plan.tuning_rows
    if not rows:
        return BATCHINGS[0], {}
    rates = {}
    for batching in BATCHINGS:
        contender = online_contenders.make_litserve(session.models, batching)
        say(batching.words)
        with Server(contender, FOLDER / "logs") as server:
            rates[batching] = session.measure(server, REAL, _TUNING_CLIENTS, rows)
    session.figures.clear()
    return max(BATCHINGS, key=rates.__getitem__), {b.words: rate for b, rate in rates.items()}


@contextmanager
def open_loop(session: Session, kind: str) -> Iterator[Hosted]:
    """The batch benchmark's loop over the very texts that are asked: a process a core, sorted by length."""
    cache = session.models.ours.parents[1]
    _, texts = session.pools[kind].draw(session.plan.rows[kind], 0, seed=0)
    table = corpus.write_table(texts, FOLDER / f"{kind}.parquet")
    with Hosted(f"online_{kind}", ours.open_loop, Trial(session.models.encoder, table, cache)) as loop:
        loop()  # to warm up, as each course does
        yield loop


def measure_round(
    session: Session, servers: Sequence[Server], loop: Hosted | None, kind: str, number: int
) -> None:
    """Each number of clients, each contender; every other round in the opposite order, the slow ones once."""
    plan = session.plan
    order = 1 if number % 2 == 0 else -1
    if loop:
        session.measure_loop(kind, loop)
    for n_clients in plan.clients[::order]:
        for server in servers[::order]:
            name = server.contender.name
            if name not in SLOW or number == plan.repetitions // 2:
                session.measure(server, kind, n_clients, plan.count_rows(name, kind, n_clients))
    if loop:
        session.measure_loop(kind, loop)


def measure_single(session: Session, server: Server) -> dict[str, Any]:
    """One sentence by one caller, against the same call without a service, by turns."""
    _, texts = session.pools[SHORT].draw(session.plan.single_calls, 0, seed=0)
    asked: list[float] = []
    called: dict[str, list[float]] = {"predictor_ms": [], "pyfunc_ms": []}
    with Helper("online_engine", session.models.registered_uri, log=FOLDER / "logs" / "engine.log") as engine:
        engine.ask({"texts": texts})
        for _ in range(_SINGLE_ROUNDS):
            asked += session.ask(server, texts[:8], texts, 1)["latencies_ms"]
            engine.ask({"texts": texts[:8]})
            for name, values in engine.ask({"texts": texts}).items():
                called[name] += values
    p50, call, pyfunc = (
        statistics.median(values) for values in (asked, called["predictor_ms"], called["pyfunc_ms"])
    )
    say(f"single: {p50:.2f} ms, the engine's call {call:.2f} ms, the pyfunc's {pyfunc:.2f} ms")
    return {
        "single_p50_to_engine": p50 / call,
        "single": {"p50_ms": p50, "engine_p50_ms": call, "pyfunc_p50_ms": pyfunc, "calls": len(asked)},
    }


def describe_run(session: Session, batching: online_contenders.Batching | None) -> dict[str, Any]:
    plan = session.plan
    return {
        "rows": plan.rows,
        "slow_rows": plan.slow_rows,
        "repetitions": plan.repetitions,
        "tokens": {kind: pool.mean_tokens for kind, pool in session.pools.items()},
        "framework": f"LitServe, {batching.words}" if batching else None,
    }


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few requests, one repetition: for working")
    parser.add_argument("--sections", type=_read_sections, default=SECTIONS, help=",".join(SECTIONS))
    parser.add_argument("--clients", type=_read_numbers, help="numbers of clients: 1,16")
    parser.add_argument("--repetitions", type=int, help="of the fast contenders")
    parser.add_argument("--patience", type=float, help="seconds to spend on repeating what others disturbed")
    parser.add_argument("--serve", default="", help="more arguments of score.py --serve, in one string")
    return parser.parse_args()


def _read_sections(names: str) -> tuple[str, ...]:
    found = tuple(names.split(","))
    if unknown := set(found) - set(SECTIONS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return found


def _read_numbers(numbers: str) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers.split(","))


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.exit(main())
