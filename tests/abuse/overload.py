"""R3: four times the load that the service is rated for, and a soak: the accepted are answered in time.

Rated: so many callers, each of which sends a review, waits for its answer and sends the next, that a request
waits `RATED_SHARE` of what one may wait at most; a faster machine is rated for more of them. The model is
MiniLM in its size, int8, with a head of random weights: its work is that of a tuned one.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring.corpus import draw_texts, load_texts
from sentiment.config import ServeConfig, load_config
from tests.conftest import ROOT
from tests.matrix import Case
from tests.servers import Server

from .cells import TOKEN, World
from .clients import Answers, ask

RATED_SHARE = 2 / 3
OVERLOAD = 4
"""Times the rated callers."""
REFUSED_SHARE = 0.6
"""Of the time that an answer takes at the rated load: when one that was refused asks again. With it they make
four times the requests, too; the run says how many."""
_TRIAL_CLIENTS = 32
RECOVERY_SECONDS = 5.0
MAX_RATIO = 2.0
MAX_GROWTH = 0.10
MAX_REFUSED = 0.005
"""Of the requests at the rated load: other programs take the cores for a moment, too."""
_N_TEXTS = 2_000
_MODEL = """
import sys
from pathlib import Path
from benchmarks.measuring.encoders import build_minilm
from benchmarks.measuring.packaged import package
folder = Path(sys.argv[1])
print(package(build_minilm(folder / "encoder"), folder / "cache"))
"""


@dataclass(frozen=True)
class Plan:
    """Seconds of each part; a soak of none is left out."""

    rated: float
    overload: float
    recovery: float
    soak: float


QUICK, SHORT, LONG = Plan(2, 3, 4, 0), Plan(12, 15, 12, 30), Plan(20, 60, 15, 600)


def list_cases() -> list[Case]:
    """R3: a glance with the tiny model, and the whole with one of real size."""
    return [
        Case("an overloaded service says so and recovers", _check_quick, is_quick=True),
        Case(
            "at four times the rated load the accepted are answered in time, and memory stays", _check_whole
        ),
    ]


def _check_quick(world: World, folder: Path) -> None:
    """What says nothing of times: those of the tiny model are the times of HTTP."""
    server = world.serve(token=TOKEN, max_wait_seconds=0.001, reload_seconds=0)
    texts = _draw(world)
    overload = ask(server, texts, OVERLOAD * _TRIAL_CLIENTS, QUICK.overload)
    assert overload.statuses == {200, 429}, overload.statuses
    _check_recovery(server, texts[:4], n_clients=1, seconds=QUICK.recovery)


def _check_whole(world: World, folder: Path) -> None:
    plan = LONG if world.is_long else SHORT
    server = world.serve(token=TOKEN, model_uri=_make_model(world), allow_unverified=True, reload_seconds=0)
    texts = _draw(world)
    # The queue learns how fast the model is here, and so do we.
    rate = len(ask(server, texts, _TRIAL_CLIENTS, plan.rated / 2).accepted.all) / (plan.rated / 2)
    max_wait_seconds = load_config(ServeConfig, ROOT / "conf" / "serve.yaml", {}).max_wait_seconds
    n_rated = max(1, round(RATED_SHARE * max_wait_seconds * rate))
    print(f"  {n_rated} callers", flush=True)
    rated = ask(server, texts, n_rated, plan.rated)
    _tell("rated", rated, plan.rated)
    overload = ask(server, texts, OVERLOAD * n_rated, plan.overload, REFUSED_SHARE * rated.percentile(0.5))
    _tell("overload", overload, plan.overload)
    offered = len(overload.all) / plan.overload / (len(rated.all) / plan.rated)
    print(f"  {offered:.1f} times the requests of the rated load", flush=True)
    ratio = overload.accepted.percentile(0.99) / rated.percentile(0.99)
    recovered = _check_recovery(server, texts, n_rated, plan.recovery, rated.percentile(0.99) * MAX_RATIO)
    print(
        f"  accepted p99 {ratio:.2f} times that at the rated load, recovered after {recovered:.1f} s",
        flush=True,
    )
    _soak(server, texts, n_rated, plan.soak)
    _check_rated(rated)
    assert overload.statuses <= {200, 429, 503}, overload.statuses
    assert ratio <= MAX_RATIO, f"accepted p99 grew by {ratio:.2f}"


def _check_rated(answers: Answers) -> None:
    refused = len(answers.all) - len(answers.accepted.all)
    assert answers.statuses <= {200, 429}, answers.statuses
    assert refused <= MAX_REFUSED * len(answers.all), f"{refused} of {len(answers.all)} were refused"


def _check_recovery(
    server: Server, texts: Sequence[str], n_clients: int, seconds: float, limit: float = 5.0
) -> float:
    """Seconds until no request is refused and none slower than `limit`; AssertionError if that takes long."""
    began = time.monotonic()
    answers = ask(server, texts, n_clients, seconds).all
    late = [answer for answer in answers if answer.status != 200 or answer.seconds > limit]
    # One in a hundred may be that slow at any time.
    n_allowed = len(answers) // 100
    recovered = late[-1 - n_allowed].started - began if len(late) > n_allowed else 0.0
    assert recovered < RECOVERY_SECONDS, f"{recovered:.1f} s after the overload {late[-1]}"
    assert any(answer.started > began + recovered for answer in answers)
    return recovered


def _soak(server: Server, texts: Sequence[str], n_clients: int, seconds: float) -> None:
    before = server.read_memory_bytes()
    answers = ask(server, texts, n_clients, seconds)
    growth = server.read_memory_bytes() / before - 1
    _tell("soak", answers, seconds)
    print(f"  memory {before / 2**20:.0f} MiB, grew by {growth:.1%}", flush=True)
    _check_rated(answers)
    assert growth < MAX_GROWTH, f"memory grew by {growth:.1%}"


def _tell(name: str, answers: Answers, seconds: float) -> None:
    taken = answers.accepted
    others = {status: sum(a.status == status for a in answers.all) for status in answers.statuses - {200}}
    print(
        f"  {name}: {len(taken.all) / seconds:.0f}/s accepted, p50 {taken.percentile(0.5) * 1000:.0f} ms, "
        f"p99 {taken.percentile(0.99) * 1000:.0f} ms; others {others}",
        flush=True,
    )


def _draw(world: World) -> list[str]:
    texts = load_texts()
    return draw_texts(texts, min(_N_TEXTS, len(texts)), seed=0)


def _make_model(world: World) -> str:
    if "minilm" not in world.kept:
        folder = world.folder / "minilm"
        folder.mkdir(parents=True)
        made = subprocess.run(
            [sys.executable, "-c", _MODEL, str(folder)], cwd=ROOT, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr[-2_000:]
        world.kept["minilm"] = made.stdout.split()[-1]
    return str(world.kept["minilm"])
