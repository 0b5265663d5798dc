"""Run all batch benchmarks (`make bench`); write each section to `benchmarks/results/` when it ends."""

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import CORES, WORK, document
from ..measuring import encoders, results
from ..measuring.machine import read_machine
from ..measuring.packaged import find_champion
from . import parity, sections
from .gpu import measure_gpu
from .sections import FULL, QUICK, Plan, say

ENCODERS = WORK / "encoders"
# The sections of a whole run, in order, with the seconds that each needs at least on a slow machine.
SECTIONS = {"distilbert": 0, "minilm": 90, "skew": 30, "cascade": 45, "parity": 30}
OTHERS = ("scale", "gpu")
_MOST_PARITY_SECONDS = 180.0
# Sections that measure a tuned model, and the one that they measure without --minilm.
_OF_TUNED = ("cascade", "parity")
_CHAMPION = "the champion (by default the demo's MiniLM, tuned on short sentences)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, one repetition: for working")
    parser.add_argument("--sections", nargs="+", choices=[*SECTIONS, *OTHERS], default=[*SECTIONS])
    parser.add_argument("--minilm", type=Path, help="folder of a tuned minilm's MLflow model")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    machine = read_machine(CORES)
    print(machine.describe(), flush=True)
    began, load_before = time.monotonic(), os.getloadavg()[0]
    tuned = functools.cache(lambda: arguments.minilm or find_champion())
    left_out: list[str] = []
    for name in arguments.sections:
        started = time.monotonic()
        left = began + plan.limit_seconds - started
        if left < SECTIONS.get(name, 0):
            left_out.append(name)
            say(f"== {name} is left out: of {plan.limit_seconds:.0f} s only {left:.0f} are left")
            continue
        say(f"== {name}")
        found = measure(name, plan, left, tuned)
        kind = name if name in OTHERS else "batch"
        of = (
            replace(read_machine(os.cpu_count() or 1), processor=f"{found['device']}, {machine.processor}")
            if name == "gpu"
            else machine
        )
        if name in _OF_TUNED:
            found["model"] = "a tuned MiniLM" if arguments.minilm else _CHAMPION
        results.record(kind, plan.name, of, {name: found})
        say(f"== {name} took {time.monotonic() - started:.0f} s")
    run = {"seconds": round(time.monotonic() - began), "left_out": left_out, "load_before": load_before}
    path = results.record(kind, plan.name, of, {"run": run})
    print(document.write(path, is_rendered=plan is FULL))
    return 0


def measure(name: str, plan: Plan, left: float, tuned: Callable[[], Path]) -> dict[str, Any]:
    """Measure one section; `left` is the time in seconds until the run should end."""
    if name == "distilbert":
        return sections.compare(name, encoders.build_distilbert(ENCODERS / name), plan, left)
    if name == "minilm":
        return sections.compare(name, encoders.build_minilm(ENCODERS / name), plan, left)
    if name == "skew":
        return sections.measure_skew(plan)
    if name == "cascade":
        # Half of the time is for the passes, without the starts of two sessions.
        return sections.measure_cascade(tuned(), plan, max(0.0, left / 2 - 20))
    if name == "parity":
        seconds = min(_MOST_PARITY_SECONDS, max(10.0, left / 3 - 10))
        return parity.measure_parity(tuned(), plan.parity_rows, seconds)
    return sections.measure_scale() if name == "scale" else measure_gpu(ENCODERS / "distilbert-gpu")


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.exit(main())
